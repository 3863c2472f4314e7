"""Custom layers with weights of their own, as position embeddings are, computed with these rounded."""

import keras

from keras_distill.quantization.builder import Value
from keras_distill.quantization.fake import fake_quantize_kernel
from keras_distill.quantization.graph import copy


@keras.saving.register_keras_serializable(package="keras_distill")
class RoundedWeights(keras.layers.Layer):
    """Compute what a layer computes, with each of its trainable weights rounded, one range for each.

    Args:
        layer: The float layer, built.
        **kwargs: Passed to `keras.layers.Layer`.
    """

    def __init__(self, layer, **kwargs):
        super().__init__(**kwargs)
        self.layer = layer

    def build(self, input_shape):
        """Build the layer within."""
        if not self.layer.built:
            self.layer.build(input_shape)

    def call(self, inputs):
        """Compute a batch."""
        rounded = [fake_quantize_kernel(each, per_channel=False) for each in self.layer.trainable_variables]
        return self.layer.stateless_call(rounded, self.layer.non_trainable_variables, inputs)[0]

    def get_config(self):
        """Return the arguments of the constructor."""
        return {**super().get_config(), "layer": keras.saving.serialize_keras_object(self.layer)}

    @classmethod
    def from_config(cls, config):
        """Make a layer from what `get_config` returned."""
        return cls(**{**config, "layer": keras.saving.deserialize_keras_object(config["layer"])})


def _rounded(layer, name):
    return RoundedWeights(copy(layer, layer.name), name=name, dtype="float32")


def rounded_weights(builder, step, values):
    """Keep a layer that adds or multiplies weights of its own, and round these as well as what it gives."""
    name, range_name = builder.names(step)
    layer = builder.once(step, lambda: _rounded(step.operation, builder.unique(name)))
    return Value(layer(builder.rounded(values[0])), range_name)
