"""TensorFlow's own loader, which runs the graph in the file without Keras and the student's Python code."""

import os
from collections.abc import Callable
from typing import Any

from keras_distill.export.arrays import Arrays
from keras_distill.export.runtimes.runtime import Runtime


class SavedModelRuntime(Runtime):
    """A SavedModel's signature `serving_default`."""

    def __init__(self, path: str | os.PathLike, threads: int = 1):
        import tensorflow as tf

        # TensorFlow starts its threads at the first operation and refuses changes afterwards.
        tf.config.threading.set_intra_op_parallelism_threads(threads)
        tf.config.threading.set_inter_op_parallelism_threads(threads)
        self._tf = tf
        self._loaded = tf.saved_model.load(str(path))
        self._function = self._loaded.signatures["serving_default"]
        outputs = self._function.structured_outputs
        self.output_dtypes = {name: spec.dtype.name for name, spec in sorted(outputs.items())}
        inputs = self._function.structured_input_signature[1]
        self.input_dtypes = {name: spec.dtype.name for name, spec in sorted(inputs.items())}

    def __call__(self, inputs: Arrays) -> Arrays:
        return {name: tensor.numpy() for name, tensor in self.prepared(inputs)().items()}

    def prepared(self, inputs: Arrays) -> Callable[[], Any]:
        tensors = {name: self._tf.constant(inputs[name]) for name in self.input_dtypes}
        return lambda: self._function(**tensors)
