"""Embeddings, whose table the file stores in int8."""

from typing import Any

import keras

from keras_distill.quantization.builder import Builder, Value, raise_unsupported
from keras_distill.quantization.fake import fake_quantize_kernel
from keras_distill.quantization.graph import Step, copy_layer
from keras_distill.quantization.weights import RoundedWeights

ops: Any = keras.ops  # Keras infers `None` among the types of its operations.


@keras.saving.register_keras_serializable(package="keras_distill")
class QuantizedEmbedding(RoundedWeights):
    """A `keras.layers.Embedding` with a rounded table; the file looks up rows of integers."""

    def call(self, inputs: Any) -> Any:
        """Look up a batch."""
        import tensorflow as tf

        # `ops.take` also serves negative numbers, by an operation that no int8 kernel computes.
        table = fake_quantize_kernel(self.layer.embeddings, per_channel=False)
        return tf.gather(table, ops.cast(inputs, "int32"))

    def compute_output_shape(self, input_shape: Any) -> Any:
        """Return the output shape of the float layer."""
        return self.layer.compute_output_shape(input_shape)


def build_embedding(builder: Builder, step: Step, values: list[Value]) -> Value:
    """Build an embedding of integers; its outputs are as rounded as its table."""
    if "int" not in values[0].tensor.dtype or values[0].limits is not None:
        dtype = values[0].tensor.dtype
        raise_unsupported(step, "int32 tokens", f"inputs of dtype {dtype!r}", "Use keras.Input(shape, dtype='int32').")
    name = builder.names(step)[0]

    def make() -> QuantizedEmbedding:
        copy = copy_layer(step.operation, step.operation.name)
        return QuantizedEmbedding(copy, name=builder.unique(name), dtype="float32")

    outputs = builder.make_once(step, make)(values[0].tensor)
    if step.is_output:
        return Value(outputs, step.name)
    return Value(outputs, f"{step.name}_range", rounded=outputs)
