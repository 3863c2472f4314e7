"""Transposed convolutions, and depthwise convolutions of sequences, with the weights of the file."""

from typing import Any

import keras

from keras_distill.quantization.builder import raise_unsupported
from keras_distill.quantization.graph import Step
from keras_distill.quantization.kernels import QuantizedDepthwiseConv2D, QuantizedKernel

ops: Any = keras.ops  # Keras infers `None` among the types of its operations.

_TINY = 1e-12


@keras.saving.register_keras_serializable(package="keras_distill")
class QuantizedConv2DTranspose(QuantizedKernel):
    """A `keras.layers.Conv2DTranspose` with rounded weights, one range for all."""

    # The converter expects a range per channel along an axis that the kernel of this operation does not have last.
    per_channel = False

    def make_convertible(self, bias: Any) -> Any:
        """Return a bias that is not zero: the converter drops zeros, and then writes a file without a kernel."""
        return ops.full((self.layer.filters,), _TINY) if bias is None else bias + _TINY

    def scaled(self, kernel: Any, scale: Any) -> Any:
        """Return the kernel with each output channel, the last axis but one, multiplied by its scale."""
        return kernel * ops.expand_dims(scale, -1)

    def compute(self, inputs: Any, kernel: Any) -> Any:
        """Return the transposed convolution."""
        layer = self.layer
        return ops.conv_transpose(inputs, kernel, layer.strides, layer.padding, layer.output_padding, "channels_last")


@keras.saving.register_keras_serializable(package="keras_distill")
class QuantizedConv1DTranspose(QuantizedConv2DTranspose):
    """A `keras.layers.Conv1DTranspose` with rounded weights, one range for all."""

    def compute(self, inputs: Any, kernel: Any) -> Any:
        """Return the transposed convolution, computed in two dimensions as in the file."""
        layer = self.layer
        padding = layer.output_padding if layer.output_padding is None else (0, *layer.output_padding)
        images, kernel = ops.expand_dims(inputs, 1), ops.expand_dims(kernel, 0)
        outputs = ops.conv_transpose(images, kernel, (1, *layer.strides), layer.padding, padding, "channels_last")
        return ops.squeeze(outputs, 1)


@keras.saving.register_keras_serializable(package="keras_distill")
class QuantizedDepthwiseConv1D(QuantizedDepthwiseConv2D):
    """A `keras.layers.DepthwiseConv1D` with rounded weights, a range for each output channel."""

    def scaled(self, kernel: Any, scale: Any) -> Any:
        """Return the kernel with each output channel multiplied by its scale."""
        return kernel * ops.reshape(scale, kernel.shape[-2:])

    def rounded(self, kernel: Any) -> Any:
        """Return the rounded kernel of the two-dimensional convolution that the file computes."""
        return super().rounded(ops.expand_dims(kernel, 1))

    def compute(self, inputs: Any, kernel: Any) -> Any:
        """Return the convolution, computed in two dimensions as in the file."""
        layer = self.layer
        # Not the axis before the sequence: where a pooling adds that one to the same inputs, the converter shares them
        # and leaves this operation in floating point.
        images, kernel = ops.expand_dims(inputs, 2), kernel if len(kernel.shape) == 4 else ops.expand_dims(kernel, 1)
        # TensorFlow's depthwise kernels stride alike in both directions; the second has one column.
        dilation = (*layer.dilation_rate, 1)
        outputs = ops.depthwise_conv(images, kernel, layer.strides[0], layer.padding, "channels_last", dilation)
        return ops.squeeze(outputs, 2)


def check_transposed(step: Step) -> None:
    """Raise a `ValueError` if a transposed convolution is dilated, for which there is no kernel."""
    if any(rate != 1 for rate in step.operation.dilation_rate):
        raise_unsupported(step, "a dilation rate of 1", f"dilation_rate={step.operation.dilation_rate}")
