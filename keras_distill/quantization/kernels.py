"""Layers with weights as the file has them: batch normalization folded into the weights, then the weights rounded."""

import keras
from keras import ops

from keras_distill._core.messages import expected
from keras_distill.quantization.fake import fake_quantize_kernel
from keras_distill.quantization.folding import folded, folded_for_batch

WEIGHT_BITS = (8, 4)


class QuantizedKernel(keras.layers.Layer):
    """Compute what a layer and the batch normalization behind it compute, with rounded weights.

    The variables are those of the two layers, in float32; every call folds the normalization into kernel and bias and
    rounds the kernel. The bias stays float: in the file it is an integer of 32 bits.

    Args:
        layer: The float layer, of the class that the subclass is for. Its activation is computed with it.
        normalization: `keras.layers.BatchNormalization` over the output channels. Defaults to `None`.
        weight_bits: Bits of the weights, 8 or 4. Defaults to 8.
        batch_statistics: Whether training normalizes by the statistics of its batches and moves the moving ones, as
            the float layer does, rather than by the moving ones as they stand. Costs a second convolution. Defaults
            to `False`.
        **kwargs: Passed to `keras.layers.Layer`.
    """

    per_channel = True

    def __init__(self, layer, normalization=None, weight_bits=8, batch_statistics=False, **kwargs):
        super().__init__(**kwargs)
        self.weight_bits = check_weight_bits(weight_bits)
        self.layer, self.normalization, self.batch_statistics = layer, normalization, batch_statistics

    def build(self, input_shape):
        """Build the layers within."""
        self._input_shape = input_shape
        if not self.layer.built:
            self.layer.build(input_shape)
        if self.normalization is not None and not self.normalization.built:
            self.normalization.build(self.layer.compute_output_shape(input_shape))

    def call(self, inputs, training=False):
        """Compute a batch."""
        moves = self.normalization is not None and self.batch_statistics and self.normalization.trainable
        if training and moves:
            outputs = self._normalized_by_batch(inputs)
        else:
            kernel, bias = self.folded()
            outputs = self.compute(inputs, self.rounded(kernel))
            outputs = outputs if bias is None else ops.add(outputs, bias)
        return self.activation(outputs)

    def _normalized_by_batch(self, inputs):
        raw = self.compute(inputs, self.kernel)
        scale, ratio, bias = folded_for_batch(raw, self.bias, self.normalization)
        return self.compute(inputs, self.rounded(self.scaled(self.kernel, scale))) * ratio + bias

    def folded(self):
        """Return kernel and bias (or `None`) with the normalization in them, float32."""
        if self.normalization is None:
            return self.kernel, self.bias
        scale, bias = folded(self.bias, self.normalization)
        return self.scaled(self.kernel, scale), bias

    def rounded(self, kernel):
        """Return a kernel with the values that the file has."""
        return fake_quantize_kernel(kernel, self.weight_bits, self.per_channel)

    def scaled(self, kernel, scale):
        """Return the kernel with each output channel multiplied by its own number."""
        return kernel * scale

    def compute(self, inputs, kernel):
        """Return the layer's outputs for a kernel, without bias and activation."""
        raise NotImplementedError(f"{type(self).__name__} must implement `compute(inputs, kernel)`.")

    def float_layer(self, name):
        """Return the equivalent float layer, with the normalization folded in and the weights as they are."""
        kernel, bias = self.folded()
        config = {**self.layer.get_config(), "name": name, "use_bias": bias is not None}
        layer = type(self.layer).from_config(config)
        layer.build(self._input_shape)
        layer.set_weights([ops.convert_to_numpy(each) for each in (kernel, bias) if each is not None])
        return layer

    @property
    def kernel(self):
        """The float layer's kernel."""
        return self.layer.kernel

    @property
    def bias(self):
        """The float layer's bias, or `None`."""
        return self.layer.bias if self.layer.use_bias else None

    @property
    def activation(self):
        """The float layer's activation."""
        return self.layer.activation

    def compute_output_shape(self, input_shape):
        """Return the float layer's output shape."""
        return self.layer.compute_output_shape(input_shape)

    def get_config(self):
        """Return the arguments of the constructor."""
        serialize = keras.saving.serialize_keras_object
        within = {"layer": serialize(self.layer), "normalization": serialize(self.normalization)}
        own = {"weight_bits": self.weight_bits, "batch_statistics": self.batch_statistics}
        return {**super().get_config(), **within, **own}

    @classmethod
    def from_config(cls, config):
        """Make a layer from what `get_config` returned."""
        deserialize = keras.saving.deserialize_keras_object
        within = {name: deserialize(config[name]) for name in ("layer", "normalization")}
        return cls(**{**config, **within})


def check_weight_bits(weight_bits):
    """Return the bits of the weights; raise a `ValueError` unless the converter takes them."""
    if isinstance(weight_bits, bool) or weight_bits not in WEIGHT_BITS:
        raise ValueError(expected("weight_bits to be 8 or 4", f"weight_bits={weight_bits!r}"))
    return int(weight_bits)


@keras.saving.register_keras_serializable(package="keras_distill")
class QuantizedDense(QuantizedKernel):
    """A `keras.layers.Dense` with rounded weights. One range for all: the converter fails on one per channel."""

    per_channel = False

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.supports_masking = True

    def compute(self, inputs, kernel):
        """Return the product."""
        return ops.matmul(inputs, kernel)


@keras.saving.register_keras_serializable(package="keras_distill")
class QuantizedConv2D(QuantizedKernel):
    """A `keras.layers.Conv2D` with rounded weights, a range for each output channel."""

    def compute(self, inputs, kernel):
        """Return the convolution."""
        layer = self.layer
        return ops.conv(inputs, kernel, layer.strides, layer.padding, "channels_last", layer.dilation_rate)


@keras.saving.register_keras_serializable(package="keras_distill")
class QuantizedConv1D(QuantizedKernel):
    """A `keras.layers.Conv1D` with rounded weights, a range for each output channel."""

    def rounded(self, kernel):
        """Return the kernel of the convolution in two dimensions that it becomes in the file."""
        return super().rounded(ops.expand_dims(kernel, 0))

    def compute(self, inputs, kernel):
        """Return the convolution, in two dimensions as in the file."""
        (stride,), (dilation,) = self.layer.strides, self.layer.dilation_rate
        padding = self.layer.padding
        if padding == "causal":
            before = dilation * (self.layer.kernel_size[0] - 1)
            inputs, padding = ops.pad(inputs, ((0, 0), (before, 0), (0, 0))), "valid"
        kernel = kernel if len(kernel.shape) == 4 else ops.expand_dims(kernel, 0)
        inputs = ops.expand_dims(inputs, 1)
        outputs = ops.conv(inputs, kernel, (1, stride), padding, "channels_last", (1, dilation))
        return ops.squeeze(outputs, 1)


@keras.saving.register_keras_serializable(package="keras_distill")
class QuantizedDepthwiseConv2D(QuantizedKernel):
    """A `keras.layers.DepthwiseConv2D` with rounded weights, a range for each output channel."""

    def scaled(self, kernel, scale):
        """Return the kernel with each output channel multiplied by its own number."""
        return kernel * ops.reshape(scale, kernel.shape[2:])

    def rounded(self, kernel):
        """Return the kernel rounded by output channel, of which each input channel has `depth_multiplier`."""
        height, width, channels, multiplier = kernel.shape
        flat = ops.reshape(kernel, (height, width, channels * multiplier))
        return ops.reshape(super().rounded(flat), kernel.shape)

    def compute(self, inputs, kernel):
        """Return the convolution."""
        layer = self.layer
        return ops.depthwise_conv(inputs, kernel, layer.strides, layer.padding, "channels_last", layer.dilation_rate)
