"""A multiplication and an addition per channel: a batch normalization or rescaling that no layer before it takes in."""

import keras
import numpy as np
from keras import ops

from keras_distill.quantization.builder import refuse
from keras_distill.quantization.fake import fake_quantize_kernel
from keras_distill.quantization.folding import folded
from keras_distill.quantization.graph import copy
from keras_distill.quantization.kernels import QuantizedDepthwiseConv2D

# The converter writes a wrong bias where all channels have the same one but scales of their own. This share makes
# them differ, by less than the rounding of a bias.
_RAMP = 1e-6


@keras.saving.register_keras_serializable(package="keras_distill")
class QuantizedAffine(QuantizedDepthwiseConv2D):
    """A `keras.layers.BatchNormalization` or `keras.layers.Rescaling` as a depthwise convolution of size 1.

    One operation of the file then does both the product and the sum, exactly as any depthwise convolution.
    Normalizes by the moving statistics. The weights, one per channel, always have 8 bits.
    """

    def build(self, input_shape):
        """Build the layer within."""
        self._input_shape = input_shape
        if not self.layer.built:
            self.layer.build(input_shape)

    def folded(self):
        """Return what each channel is multiplied with, as a depthwise kernel, and what is added."""
        if isinstance(self.layer, keras.layers.BatchNormalization):
            scale, shift = folded(None, self.layer)
        else:
            scale, shift = (self._per_channel(each) for each in (self.layer.scale, self.layer.offset))
            shift = self.told_apart(shift)
        return ops.reshape(scale, (1, 1, -1, 1)), shift

    def told_apart(self, shift):
        """Return what is added to each channel with no two the same, unless they are zero."""
        return shift * np.linspace(1.0, 1.0 + _RAMP, self._input_shape[-1], dtype="float32")

    def rounded(self, kernel):
        """Return the kernel, exact as each channel has a range of its own."""
        flat = ops.reshape(kernel, (1, 1, self._input_shape[-1]))
        return ops.reshape(fake_quantize_kernel(flat), kernel.shape)

    def compute(self, inputs, kernel):
        """Return the products."""
        shape = inputs.shape
        if len(shape) == 4:
            return ops.depthwise_conv(inputs, kernel)
        maps = ops.reshape(inputs, (-1, 1, int(np.prod(shape[1:-1], dtype=int)), shape[-1]))
        return ops.reshape(ops.depthwise_conv(maps, kernel), (-1, *shape[1:]))

    def _per_channel(self, numbers):
        return ops.convert_to_tensor(np.broadcast_to(np.asarray(numbers, "float32"), self._input_shape[-1:]))

    def float_layer(self, name):
        """Return the float layer itself, a copy."""
        return copy(self.layer, name)

    @property
    def activation(self):
        """None of its own."""
        return keras.activations.linear

    def compute_output_shape(self, input_shape):
        """Return the shape of what goes in."""
        return input_shape


def check_affine(step):
    """Raise a `ValueError` for a normalization or rescaling that is not one of channels, the last axis."""
    layer, shape = step.operation, step.node.input_tensors[0].shape
    if isinstance(layer, keras.layers.BatchNormalization):
        if layer.axis not in (-1, len(shape) - 1):
            refuse(step, "a batch normalization over the last axis", f"axis={layer.axis}")
    elif any(np.shape(each) not in ((), (1,), (shape[-1],)) for each in (layer.scale, layer.offset)):
        refuse(step, "one scale and offset, or one per channel", f"{np.shape(layer.scale)}, {np.shape(layer.offset)}")
    if len(shape) != 4 and None in shape[1:]:
        refuse(step, "a known size", f"inputs of shape {shape}")
