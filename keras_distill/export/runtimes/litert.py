"""LiteRT: the interpreter of TFLite files on phones, with the kernels that it takes there, and with plain ones."""

import numpy as np

from keras_distill._core.litert import dequantized, interpreter_class, quantized
from keras_distill.export.runtimes.runtime import Runtime


class LiteRTRuntime(Runtime):
    """LiteRT with XNNPACK, one sample at a time."""

    takes_threads = True
    _resolver = "AUTO"

    @staticmethod
    def require():
        """Import LiteRT."""
        interpreter_class()

    def __init__(self, path, threads=1):
        from ai_edge_litert.interpreter import OpResolverType

        self._interpreter = interpreter_class()(
            model_path=str(path), num_threads=threads, experimental_op_resolver_type=OpResolverType[self._resolver]
        )
        self._interpreter.allocate_tensors()
        runner = self._interpreter.get_signature_runner("serving_default")
        self._inputs, self._outputs = runner.get_input_details(), runner.get_output_details()
        self.input_dtypes = _dtypes(self._inputs)
        self.output_dtypes = _dtypes(self._outputs)

    def __call__(self, inputs):
        """Run a batch, sample by sample."""
        count = len(next(iter(inputs.values())))
        rows = [self._run({name: array[row : row + 1] for name, array in inputs.items()}) for row in range(count)]
        return {name: np.concatenate([row[name] for row in rows]) for name in self._outputs}

    def prepared(self, inputs):
        """Return a function of no arguments that runs these inputs and nothing else, for timing."""
        for name, detail in self._inputs.items():
            self._interpreter.set_tensor(detail["index"], quantized(inputs[name], detail))
        return self._interpreter.invoke

    def facts(self):
        """Return in how many pieces the delegate runs the graph; between them, plain kernels run."""
        operators = [operator["op_name"] for operator in self._interpreter._get_ops_details()]
        return {"partitions": operators.count("DELEGATE")}

    def _run(self, inputs):
        self.prepared(inputs)()
        get = self._interpreter.get_tensor
        return {name: dequantized(get(detail["index"]), detail) for name, detail in self._outputs.items()}


class ReferenceRuntime(LiteRTRuntime):
    """LiteRT with its reference kernels: slow, plain, and those that other runtimes are held against."""

    _resolver = "BUILTIN_REF"


def _dtypes(details):
    return {name: np.dtype(detail["dtype"]).name for name, detail in sorted(details.items())}
