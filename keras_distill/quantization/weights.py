"""Custom layers with weights of their own, such as position embeddings, computed with rounded weights."""

from typing import Any

import keras

from keras_distill.quantization.builder import Builder, Value
from keras_distill.quantization.fake import fake_quantize_kernel
from keras_distill.quantization.graph import Step, copy_layer

ops: Any = keras.ops  # Keras infers `None` among the types of its operations.

_LEAST_SLOPE = 1e-6


@keras.saving.register_keras_serializable(package="keras_distill")
class RoundedWeights(keras.layers.Layer):
    """Compute a layer with its trainable weights rounded, each to a range of its own.

    Args:
        layer: The float layer, built.
        **kwargs: Passed to `keras.layers.Layer`.
    """

    def __init__(self, layer: Any, **kwargs: Any):
        super().__init__(**kwargs)
        self.layer = layer

    def build(self, input_shape: Any) -> None:
        """Build the wrapped layer."""
        if not self.layer.built:
            self.layer.build(input_shape)

    def call(self, inputs: Any) -> Any:
        """Compute a batch."""
        rounded = [fake_quantize_kernel(each, per_channel=False) for each in self.layer.trainable_variables]
        return self.layer.stateless_call(rounded, self.layer.non_trainable_variables, inputs)[0]

    def get_config(self) -> dict[str, Any]:
        """Return the arguments of the constructor."""
        return {**super().get_config(), "layer": keras.saving.serialize_keras_object(self.layer)}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "RoundedWeights":
        """Make a layer from the config that `get_config` returned."""
        return cls(**{**config, "layer": keras.saving.deserialize_keras_object(config["layer"])})


@keras.saving.register_keras_serializable(package="keras_distill")
class QuantizedPReLU(RoundedWeights):
    """A `keras.layers.PReLU` with rounded slopes."""

    def call(self, inputs: Any) -> Any:
        """Compute a batch."""
        # The converter joins these operations to one, and then loses the range of TensorFlow's own fake quantization.
        slopes = ops.convert_to_tensor(self.layer.alpha)
        step = ops.maximum(ops.max(ops.abs(slopes)), _LEAST_SLOPE) / 127.0
        rounded = slopes + ops.stop_gradient(ops.round(slopes / step) * step - slopes)
        return ops.relu(inputs) + -rounded * ops.relu(-inputs)


def build_prelu(builder: Builder, step: Step, values: list[Value]) -> Value:
    """Build a PReLU with rounded slopes and a range of its own."""
    return _round_weights(builder, step, values, QuantizedPReLU)


def rounded_weights(builder: Builder, step: Step, values: list[Value]) -> Value:
    """Keep a layer that adds or multiplies weights of its own, and round the weights and the outputs."""
    return _round_weights(builder, step, values, RoundedWeights)


def _round_weights(builder: Builder, step: Step, values: list[Value], kind: type[RoundedWeights]) -> Value:
    name, range_name = builder.names(step)

    def make() -> RoundedWeights:
        wrapped = copy_layer(step.operation, step.operation.name)
        return kind(wrapped, name=builder.unique(name), dtype="float32")

    layer = builder.make_once(step, make)
    return Value(layer(builder.rounded(values[0])), range_name)
