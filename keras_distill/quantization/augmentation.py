"""Layers that change their inputs in training only, such as augmentation and noise."""

from typing import Any

import keras
from keras import ops

from keras_distill.quantization.builder import Builder, Value
from keras_distill.quantization.graph import Step, copy_layer


@keras.saving.register_keras_serializable(package="keras_distill")
class TrainingOnly(keras.layers.Layer):
    """Call a layer in training, and return the inputs otherwise, without the random state that some layers read.

    Args:
        layer: The layer.
        **kwargs: Passed to `keras.layers.Layer`.
    """

    def __init__(self, layer: Any, **kwargs: Any):
        super().__init__(**kwargs)
        self.layer = layer

    def build(self, input_shape: Any) -> None:
        """Build the layer."""
        if not self.layer.built:
            self.layer.build(input_shape)

    def call(self, inputs: Any, training: bool = False) -> Any:
        """Compute a batch."""
        inputs = ops.cast(inputs, "float32")
        return self.layer(inputs, training=True) if training else inputs

    def compute_output_shape(self, input_shape: Any) -> Any:
        """Return the input shape."""
        return input_shape

    def get_config(self) -> dict[str, Any]:
        """Return the arguments of the constructor."""
        return {**super().get_config(), "layer": keras.saving.serialize_keras_object(self.layer)}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "TrainingOnly":
        """Make a layer from the config that `get_config` returned."""
        return cls(**{**config, "layer": keras.saving.deserialize_keras_object(config["layer"])})


def build_augmentation(builder: Builder, step: Step, values: list[Value]) -> Value:
    """Build a layer that changes values in training only, before they are rounded."""
    (value,) = values
    name, range_name = builder.names(step)

    def make() -> TrainingOnly:
        copy = copy_layer(step.operation, step.operation.name)
        return TrainingOnly(copy, name=builder.unique(name), dtype="float32")

    outputs = builder.make_once(step, make)(value.tensor)
    return Value(outputs, range_name, fusable=value.fusable and len(step.following) == 1, limits=value.limits)
