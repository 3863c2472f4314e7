"""A batch normalization or rescaling that is not folded into a layer before it: a product and a sum per channel."""

from typing import Any

import keras
import numpy as np
from keras import ops

from keras_distill.quantization.builder import raise_unsupported
from keras_distill.quantization.fake import fake_quantize_kernel
from keras_distill.quantization.folding import fold
from keras_distill.quantization.graph import Step, copy_layer
from keras_distill.quantization.kernels import QuantizedDepthwiseConv2D

# The converter writes a wrong bias if all channels have the same bias but different scales. This share makes the
# biases differ, by less than their rounding.
_RAMP = 1e-6


@keras.saving.register_keras_serializable(package="keras_distill")
class QuantizedAffine(QuantizedDepthwiseConv2D):
    """A `BatchNormalization`, `Normalization` or `Rescaling` of `keras.layers` as a depthwise convolution of size 1.

    One operation of the file then computes both the product and the sum. It normalizes by the moving statistics. The
    weights, one per channel, always have 8 bits.
    """

    def build(self, input_shape: Any) -> None:
        """Build the wrapped layer."""
        self._input_shape = input_shape
        if not self.layer.built:
            self.layer.build(input_shape)

    def folded(self) -> tuple[Any, Any]:
        """Return the factor of each channel, as a depthwise kernel, and the summand."""
        if isinstance(self.layer, keras.layers.BatchNormalization):
            scale, shift = fold(None, self.layer)
        elif isinstance(self.layer, keras.layers.Normalization):
            scale, shift = (self._broadcast(each) for each in _read_statistics(self.layer))
            shift = self.make_distinct(shift)
        else:
            scale, shift = (self._broadcast(each) for each in (self.layer.scale, self.layer.offset))
            shift = self.make_distinct(shift)
        return ops.reshape(scale, (1, 1, -1, 1)), shift

    def make_distinct(self, shift: Any) -> Any:
        """Return the summands of the channels, made slightly different from each other unless they are zero."""
        return shift * np.linspace(1.0, 1.0 + _RAMP, self._input_shape[-1], dtype="float32")

    def rounded(self, kernel: Any) -> Any:
        """Return the kernel, which is exact since each channel has a range of its own."""
        flat = ops.reshape(kernel, (1, 1, self._input_shape[-1]))
        return ops.reshape(fake_quantize_kernel(flat), kernel.shape)

    def compute(self, inputs: Any, kernel: Any) -> Any:
        """Return the products."""
        shape = inputs.shape
        if len(shape) == 4:
            return ops.depthwise_conv(inputs, kernel)
        maps = ops.reshape(inputs, (-1, 1, int(np.prod(shape[1:-1], dtype=int)), shape[-1]))
        return ops.reshape(ops.depthwise_conv(maps, kernel), (-1, *shape[1:]))

    def _broadcast(self, numbers: Any) -> Any:
        numbers = ops.reshape(ops.convert_to_tensor(numbers, "float32"), (-1,))
        return ops.broadcast_to(numbers, self._input_shape[-1:])

    def float_layer(self, name: str) -> keras.layers.Layer:
        """Return a copy of the float layer."""
        return copy_layer(self.layer, name)

    @property
    def activation(self) -> Any:
        """The identity."""
        return keras.activations.linear

    def compute_output_shape(self, input_shape: Any) -> Any:
        """Return the input shape."""
        return input_shape


def _read_statistics(layer: Any) -> tuple[Any, Any]:
    """Return the factor and the summand of a `keras.layers.Normalization`."""
    adapted = layer.input_mean is None
    mean = layer.adapt_mean if adapted else np.asarray(layer.input_mean, "float32")
    variance = layer.adapt_variance if adapted else np.asarray(layer.input_variance, "float32")
    deviation = ops.maximum(ops.sqrt(variance), keras.config.epsilon())
    return (deviation, mean) if layer.invert else (1.0 / deviation, -mean / deviation)


def check_affine(step: Step) -> None:
    """Raise a `ValueError` unless a normalization or rescaling acts on channels, the last axis."""
    layer, shape = step.operation, step.node.input_tensors[0].shape
    if isinstance(layer, keras.layers.BatchNormalization):
        if layer.axis not in (-1, len(shape) - 1):
            raise_unsupported(step, "a batch normalization over the last axis", f"axis={layer.axis}")
    elif isinstance(layer, keras.layers.Normalization):
        if layer.axis not in ((), (-1,), (len(shape) - 1,)) and layer.axis not in (None, -1, len(shape) - 1):
            raise_unsupported(step, "a normalization over the last axis", f"axis={layer.axis}")
    elif any(np.shape(each) not in ((), (1,), (shape[-1],)) for each in (layer.scale, layer.offset)):
        raise_unsupported(
            step, "one scale and offset, or one per channel", f"{np.shape(layer.scale)}, {np.shape(layer.offset)}"
        )
    if len(shape) != 4 and None in shape[1:]:
        raise_unsupported(step, "a known size", f"inputs of shape {shape}")
