"""Layers with the weights of the file: batch normalization is folded into them, then they are rounded."""

from typing import Any

import keras

from keras_distill._core.messages import expected
from keras_distill.quantization.fake import fake_quantize_kernel
from keras_distill.quantization.folding import fold, fold_by_batch

ops: Any = keras.ops  # Keras infers `None` among the types of its operations.

WEIGHT_BITS = (8, 4)


class QuantizedKernel(keras.layers.Layer):
    """Compute a layer and the batch normalization after it, with rounded weights.

    The variables are those of the two layers, in float32. Every call folds the normalization into kernel and bias, and
    rounds the kernel. The bias is not rounded, since the file stores it in 32 bits.

    Args:
        layer: The float layer, of the class that the subclass supports. Its activation is computed too.
        normalization: `keras.layers.BatchNormalization` over the output channels. Defaults to `None`.
        weight_bits: Bits of the weights, 8 or 4. Defaults to 8.
        batch_statistics: Whether training normalizes by the statistics of its batches and updates the moving ones, as
            the float layer does, instead of using the moving statistics. Costs a second convolution. Defaults to
            `False`.
        **kwargs: Passed to `keras.layers.Layer`.
    """

    per_channel = True

    def __init__(
        self,
        layer: Any,
        normalization: Any = None,
        weight_bits: int = 8,
        batch_statistics: bool = False,
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        self.weight_bits = check_weight_bits(weight_bits)
        self.layer, self.normalization, self.batch_statistics = layer, normalization, batch_statistics

    def build(self, input_shape: Any) -> None:
        """Build the wrapped layers."""
        self._input_shape = input_shape
        if not self.layer.built:
            self.layer.build(input_shape)
        if self.normalization is not None and not self.normalization.built:
            self.normalization.build(self.layer.compute_output_shape(input_shape))

    def call(self, inputs: Any, training: bool = False) -> Any:
        """Compute a batch."""
        updates = self.normalization is not None and self.batch_statistics and self.normalization.trainable
        if training and updates:
            outputs = self._normalize_by_batch(inputs)
        else:
            kernel, bias = self.folded()
            outputs, bias = self.compute(inputs, self.rounded(kernel)), self.make_convertible(bias)
            outputs = outputs if bias is None else ops.add(outputs, bias)
        return self.activation(outputs)

    def _normalize_by_batch(self, inputs: Any) -> Any:
        raw = self.compute(inputs, self.kernel)
        scale, ratio, bias = fold_by_batch(raw, self.bias, self.normalization)
        return self.compute(inputs, self.rounded(self.scaled(self.kernel, scale))) * ratio + bias

    def folded(self) -> tuple[Any, Any]:
        """Return float32 kernel and bias (or `None`) with the normalization folded into them."""
        if self.normalization is None:
            return self.kernel, self.bias
        scale, bias = fold(self.bias, self.normalization)
        return self.scaled(self.kernel, scale), bias

    def make_convertible(self, bias: Any) -> Any:
        """Return the bias, or `None`, in a form that the converter accepts."""
        return bias

    def rounded(self, kernel: Any) -> Any:
        """Return a kernel rounded to the values that the file stores."""
        return fake_quantize_kernel(kernel, self.weight_bits, self.per_channel)

    def scaled(self, kernel: Any, scale: Any) -> Any:
        """Return the kernel with each output channel multiplied by its scale."""
        return kernel * scale

    def compute(self, inputs: Any, kernel: Any) -> Any:
        """Return the layer's outputs for a kernel, without bias and activation."""
        raise NotImplementedError(f"{type(self).__name__} must implement `compute(inputs, kernel)`.")

    def float_layer(self, name: str) -> Any:
        """Return the equivalent float layer, with the normalization folded into the unrounded weights."""
        kernel, bias = self.folded()
        config = {**self.layer.get_config(), "name": name, "use_bias": bias is not None}
        layer = type(self.layer).from_config(config)
        layer.build(self._input_shape)
        layer.set_weights([ops.convert_to_numpy(each) for each in (kernel, bias) if each is not None])
        return layer

    @property
    def kernel(self) -> Any:
        """The float layer's kernel."""
        return self.layer.kernel

    @property
    def bias(self) -> Any:
        """The float layer's bias, or `None`."""
        return self.layer.bias if self.layer.use_bias else None

    @property
    def activation(self) -> Any:
        """The float layer's activation."""
        return self.layer.activation

    def compute_output_shape(self, input_shape: Any) -> Any:
        """Return the float layer's output shape."""
        return self.layer.compute_output_shape(input_shape)

    def get_config(self) -> dict[str, Any]:
        """Return the arguments of the constructor."""
        serialize = keras.saving.serialize_keras_object
        within = {"layer": serialize(self.layer), "normalization": serialize(self.normalization)}
        own = {"weight_bits": self.weight_bits, "batch_statistics": self.batch_statistics}
        return {**super().get_config(), **within, **own}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "QuantizedKernel":
        """Make a layer from the config that `get_config` returned."""
        deserialize = keras.saving.deserialize_keras_object
        within = {name: deserialize(config[name]) for name in ("layer", "normalization")}
        return cls(**{**config, **within})


def check_weight_bits(weight_bits: Any) -> int:
    """Return the bits of the weights; raise a `ValueError` unless the converter supports them."""
    if isinstance(weight_bits, bool) or weight_bits not in WEIGHT_BITS:
        raise ValueError(expected("weight_bits to be 8 or 4", f"weight_bits={weight_bits!r}"))
    return int(weight_bits)


@keras.saving.register_keras_serializable(package="keras_distill")
class QuantizedDense(QuantizedKernel):
    """A `keras.layers.Dense` with rounded weights, one range for all, since the converter fails on one per channel."""

    per_channel = False

    def __init__(self, *args: Any, **kwargs: Any):
        super().__init__(*args, **kwargs)
        self.supports_masking = True

    def compute(self, inputs: Any, kernel: Any) -> Any:
        """Return the product."""
        return ops.matmul(inputs, kernel)


@keras.saving.register_keras_serializable(package="keras_distill")
class QuantizedConv2D(QuantizedKernel):
    """A `keras.layers.Conv2D` with rounded weights, a range for each output channel."""

    def compute(self, inputs: Any, kernel: Any) -> Any:
        """Return the convolution."""
        layer = self.layer
        return ops.conv(inputs, kernel, layer.strides, layer.padding, "channels_last", layer.dilation_rate)


@keras.saving.register_keras_serializable(package="keras_distill")
class QuantizedConv1D(QuantizedKernel):
    """A `keras.layers.Conv1D` with rounded weights, a range for each output channel."""

    def rounded(self, kernel: Any) -> Any:
        """Return the rounded kernel of the two-dimensional convolution that the file computes."""
        return super().rounded(ops.expand_dims(kernel, 0))

    def compute(self, inputs: Any, kernel: Any) -> Any:
        """Return the convolution, computed in two dimensions as in the file."""
        (stride,), (dilation,) = self.layer.strides, self.layer.dilation_rate
        inputs, padding = expand_sequence(inputs, self.layer)
        kernel = kernel if len(kernel.shape) == 4 else ops.expand_dims(kernel, 0)
        outputs = ops.conv(inputs, kernel, (1, stride), padding, "channels_last", (1, dilation))
        return ops.squeeze(outputs, 1)


def expand_sequence(inputs: Any, layer: Any) -> tuple[Any, str]:
    """Return sequences as images of one row, padded if the layer's padding is causal, and the padding that is left."""
    padding = layer.padding
    if padding == "causal":
        before = layer.dilation_rate[0] * (layer.kernel_size[0] - 1)
        inputs, padding = ops.pad(inputs, ((0, 0), (before, 0), (0, 0))), "valid"
    return ops.expand_dims(inputs, 1), padding


@keras.saving.register_keras_serializable(package="keras_distill")
class QuantizedDepthwiseConv2D(QuantizedKernel):
    """A `keras.layers.DepthwiseConv2D` with rounded weights, a range for each output channel."""

    def scaled(self, kernel: Any, scale: Any) -> Any:
        """Return the kernel with each output channel multiplied by its scale."""
        return kernel * ops.reshape(scale, kernel.shape[2:])

    def rounded(self, kernel: Any) -> Any:
        """Return the kernel rounded by output channel; each input channel has `depth_multiplier` of them."""
        height, width, channels, multiplier = kernel.shape
        flat = ops.reshape(kernel, (height, width, channels * multiplier))
        return ops.reshape(super().rounded(flat), kernel.shape)

    def compute(self, inputs: Any, kernel: Any) -> Any:
        """Return the convolution."""
        layer = self.layer
        return ops.depthwise_conv(inputs, kernel, layer.strides, layer.padding, "channels_last", layer.dilation_rate)
