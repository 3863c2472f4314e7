"""Other programs than Keras that run the files: each takes a dict of arrays and returns a dict of float arrays."""

import numpy as np

from keras_distill._litert import dequantized, interpreter_class, quantized


class SavedModelRuntime:
    """TensorFlow's own loader: the graph in the file, without Keras and without the student's Python code."""

    @staticmethod
    def require():
        """Raise nothing: TensorFlow is there."""

    def __init__(self, path):
        import tensorflow as tf

        self._tf = tf
        self._loaded = tf.saved_model.load(str(path))
        self._function = self._loaded.signatures["serving_default"]
        outputs = self._function.structured_outputs
        self.output_dtypes = {name: spec.dtype.name for name, spec in sorted(outputs.items())}
        inputs = self._function.structured_input_signature[1]
        self.input_dtypes = {name: spec.dtype.name for name, spec in sorted(inputs.items())}

    def __call__(self, inputs):
        """Run a batch."""
        return {name: tensor.numpy() for name, tensor in self.prepared(inputs)().items()}

    def prepared(self, inputs):
        """Return a function of no arguments that runs these inputs and nothing else, for timing."""

        def run():
            # As the student is run on, so that a graphics card's shortened floats are not taken for a fault.
            with self._tf.device("CPU:0"):
                return self._function(**tensors)

        tensors = {name: self._tf.constant(inputs[name]) for name in self.input_dtypes}
        return run


class LiteRTRuntime:
    """The LiteRT interpreter on one thread, one sample at a time."""

    @staticmethod
    def require():
        """Raise ImportError if the interpreter is not installed."""
        interpreter_class()

    def __init__(self, path):
        self._interpreter = interpreter_class()(model_path=str(path), num_threads=1)
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

    def _run(self, inputs):
        self.prepared(inputs)()
        get = self._interpreter.get_tensor
        return {name: dequantized(get(detail["index"]), detail) for name, detail in self._outputs.items()}


def _dtypes(details):
    return {name: np.dtype(detail["dtype"]).name for name, detail in sorted(details.items())}
