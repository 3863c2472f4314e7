"""ONNX Runtime: ONNX files on processors of every kind."""

from keras_distill._core.messages import expected
from keras_distill.export.runtimes.runtime import Runtime

_TYPES = {"float": "float32", "double": "float64"}


class OnnxRuntime(Runtime):
    """ONNX Runtime on the CPU; the batch is given to it as it comes."""

    takes_threads = True

    @staticmethod
    def require():
        """Import ONNX Runtime."""
        try:
            import onnxruntime  # noqa: F401
        except ImportError as error:
            fix = 'pip install "keras_distill[onnx]"'
            raise ImportError(expected("onnxruntime to be installed", str(error), fix)) from error

    def __init__(self, path, threads=1):
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        self._session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        self.input_dtypes = _dtypes(self._session.get_inputs())
        self.output_dtypes = _dtypes(self._session.get_outputs())

    def __call__(self, inputs):
        """Run a batch."""
        return dict(zip(self.output_dtypes, self.prepared(inputs)(), strict=True))

    def prepared(self, inputs):
        """Return a function of no arguments that runs these inputs and nothing else, for timing."""
        feed = {name: inputs[name] for name in self.input_dtypes}
        names = list(self.output_dtypes)
        return lambda: self._session.run(names, feed)


def _dtypes(ends):
    kinds = {end.name: end.type.removeprefix("tensor(").removesuffix(")") for end in ends}
    return {name: _TYPES.get(kind, kind) for name, kind in sorted(kinds.items())}
