"""TensorFlow's own loader: the graph in the file, without Keras and without the student's Python code."""

from keras_distill.export.runtimes.runtime import Runtime


class SavedModelRuntime(Runtime):
    """A SavedModel's signature `serving_default`."""

    @staticmethod
    def require():
        """Import TensorFlow, which is there."""
        import tensorflow  # noqa: F401

    def __init__(self, path, threads=1):
        import tensorflow as tf

        # Before TensorFlow starts its threads, at the first operation; later it refuses.
        tf.config.threading.set_intra_op_parallelism_threads(threads)
        tf.config.threading.set_inter_op_parallelism_threads(threads)
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
        tensors = {name: self._tf.constant(inputs[name]) for name in self.input_dtypes}
        return lambda: self._function(**tensors)
