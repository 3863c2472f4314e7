"""The table of layers and their rules: how each is built into a quantization-aware model. A new layer is one new row.

A rule is a function of the `Builder`, the `Step` that calls the float layer, and the `Value`s of its inputs; it returns
the `Value` of its output.
"""

from collections.abc import Callable
from typing import Any

import keras
from keras import layers, ops

from keras_distill.quantization.activations import UNIT, Activation, find_activation
from keras_distill.quantization.affine import QuantizedAffine, check_affine
from keras_distill.quantization.attention import build_attention
from keras_distill.quantization.augmentation import build_augmentation
from keras_distill.quantization.builder import Builder, Value, raise_unsupported
from keras_distill.quantization.embedding import build_embedding
from keras_distill.quantization.graph import Step
from keras_distill.quantization.kernels import (
    QuantizedConv1D,
    QuantizedConv2D,
    QuantizedDense,
    QuantizedDepthwiseConv2D,
)
from keras_distill.quantization.normalization import build_layer_normalization
from keras_distill.quantization.resizing import build_repetition, build_resizing, build_upsampling
from keras_distill.quantization.rounding import build_average_pooling, own_range, same_range
from keras_distill.quantization.transposed import (
    QuantizedConv1DTranspose,
    QuantizedConv2DTranspose,
    QuantizedDepthwiseConv1D,
    check_transposed,
)
from keras_distill.quantization.weights import build_prelu

_SEPARABLE = ("strides", "padding", "data_format", "depth_multiplier", "kernel_size", "dilation_rate")


def _pairwise(builder: Builder, step: Step, values: list[Value]) -> Value:
    """Apply the layer to two inputs at a time, as in the file, and round each result."""
    name, range_name = builder.names(step)
    value, *others = values
    for count, other in enumerate(others, start=2):
        is_last = count == len(values)
        partial = name if is_last else f"{name}_of_{count}"
        layer = type(step.operation)(name=builder.unique(partial), dtype="float32")
        outputs = layer([builder.rounded(value), builder.rounded(other)])
        # The file computes a ReLU that follows in the same operation as the last pair.
        fusable = is_last and len(step.following) == 1
        value = Value(outputs, range_name if is_last else f"{partial}_range", fusable)
    return value


def build_concatenation(builder: Builder, step: Step, values: list[Value]) -> Value:
    """Keep the layer; inputs that nothing else uses are rounded only once, to the range of the result."""
    name, range_name = builder.names(step)
    outputs = builder.call(builder.copy(step, name), step, [builder.fused(value) for value in values])
    return Value(outputs, range_name)


def _make_kernel_rule(quantized: type) -> Callable[[Builder, Step, list[Value]], Value]:
    def rule(builder: Builder, step: Step, values: list[Value]) -> Value:
        return _build_kernel(builder, step, step.operation, quantized, values[0])

    return rule


def _separable(builder: Builder, step: Step, values: list[Value]) -> Value:
    first, second = _split_separable(step.operation)
    name = f"{step.name}_depthwise"
    is_image = isinstance(step.operation, layers.SeparableConv2D)
    kind = QuantizedDepthwiseConv2D if is_image else QuantizedDepthwiseConv1D
    depthwise = builder.kernel(kind, step, first, name, is_last=False)
    value = Value(depthwise(builder.rounded(values[0])), f"{name}_range")
    return _build_kernel(builder, step, second, QuantizedConv2D if is_image else QuantizedConv1D, value)


def _split_separable(layer: Any) -> tuple[Any, Any]:
    """Split a separable convolution into the two that the file computes, with copies of its weights.

    Args:
        layer: Built `keras.layers.SeparableConv2D` or `keras.layers.SeparableConv1D`.

    Returns:
        A depthwise convolution without a bias and a convolution of size 1 with the bias and the activation, both built.
    """
    config = layer.get_config()
    depthwise = {name: value for name, value in config.items() if name in _SEPARABLE or name.startswith("depthwise_")}
    is_image = isinstance(layer, layers.SeparableConv2D)
    one, other = (layers.DepthwiseConv2D, layers.Conv2D) if is_image else (layers.DepthwiseConv1D, layers.Conv1D)
    first = one.from_config({**depthwise, "use_bias": False, "name": f"{layer.name}_depthwise"})
    pointwise = {
        name.replace("pointwise", "kernel"): value for name, value in config.items() if name.startswith("pointwise_")
    }
    biases = {name: value for name, value in config.items() if "bias" in name}
    settings = {"filters": config["filters"], "kernel_size": 1, "activation": config["activation"], "name": layer.name}
    second = other.from_config(settings | pointwise | biases)
    free = (None,) * (len(layer.depthwise_kernel.shape) - 1)
    channels = layer.depthwise_kernel.shape[-2]
    first.build((*free, channels))
    second.build((*free, channels * layer.depth_multiplier))
    first.set_weights([ops.convert_to_numpy(layer.depthwise_kernel)])
    rest = [layer.pointwise_kernel, *([layer.bias] if layer.use_bias else [])]
    second.set_weights([ops.convert_to_numpy(weight) for weight in rest])
    return first, second


def _build_kernel(builder: Builder, step: Step, layer: Any, quantized: type, value: Value) -> Value:
    """Build a layer with weights, the normalization after it, and its activation."""
    if hasattr(layer, "output_padding"):
        check_transposed(step)
    row, function = find_activation(layer.activation, step), layer.activation
    name, range_name = builder.names(step)
    kernel = builder.kernel(quantized, step, layer, name)
    if not row.fused:
        kernel.layer.activation = keras.activations.linear
    outputs = kernel(builder.rounded(value))
    if row.fused:
        alone = len(step.following) == 1 and function is keras.activations.linear
        return Value(outputs, range_name, fusable=alone)
    return build_activation(builder, step, row, function, Value(outputs, f"{name}_range"))


def _activation(builder: Builder, step: Step, values: list[Value]) -> Value:
    row, function = find_activation(step.operation.activation, step), step.operation.activation
    return build_activation(builder, step, row, function, values[0])


def build_activation(builder: Builder, step: Step, row: Activation, function: Callable, value: Value) -> Value:
    """Build an activation function as a layer of its own."""
    is_argument = isinstance(step.operation, layers.Layer) and not isinstance(step.operation, layers.Activation)
    name, range_name = builder.names(step)
    if row.limits is not None and step.is_output:
        name = step.name
    elif is_argument:
        name, range_name = f"{step.name}_{function.__name__}", f"{step.name}_{function.__name__}_range"
        range_name = step.name if step.is_output else range_name
    name = builder.unique(name)
    layer = row.layer(name=name, dtype="float32") if row.layer else layers.Activation(function, name=name)
    before = builder.fused(value) if row.fused else builder.rounded(value)
    return Value(layer(before), range_name, limits=row.limits)


def _relu(builder: Builder, step: Step, values: list[Value]) -> Value:
    layer = step.operation
    plain = layer.threshold == 0 and not layer.negative_slope and layer.max_value in (None, 6)
    if not plain and (layer.threshold or layer.max_value is not None):
        given = f"max_value={layer.max_value}, negative_slope={layer.negative_slope}, threshold={layer.threshold}"
        raise_unsupported(step, "a ReLU, a ReLU6 or a leaky ReLU", given)
    if not plain:
        return own_range(builder, step, values)
    name, range_name = builder.names(step)
    return Value(builder.copy(step, name)(builder.fused(values[0])), range_name)


def _softmax(builder: Builder, step: Step, values: list[Value]) -> Value:
    if step.operation.axis not in (-1, len(values[0].tensor.shape) - 1):
        raise_unsupported(step, "a softmax over the last axis", f"axis={step.operation.axis}")
    return Value(builder.call_copy(step, values), f"{step.name}_range", limits=UNIT)


def _affine(builder: Builder, step: Step, values: list[Value]) -> Value:
    """Build a normalization or rescaling that does not fold into a layer before it."""
    check_affine(step)
    name, range_name = builder.names(step)
    layer = builder.kernel(QuantizedAffine, step, step.operation, name)
    return Value(layer(builder.rounded(values[0])), range_name, fusable=len(step.following) == 1)


_SAME_RANGE = (
    layers.CenterCrop,
    layers.Cropping1D,
    layers.Cropping2D,
    layers.Dropout,
    layers.Flatten,
    layers.GlobalMaxPooling1D,
    layers.GlobalMaxPooling2D,
    layers.Identity,
    layers.MaxPooling1D,
    layers.MaxPooling2D,
    layers.Permute,
    layers.RandomCrop,
    layers.Reshape,
    layers.SpatialDropout1D,
    layers.SpatialDropout2D,
    layers.ZeroPadding1D,
    layers.ZeroPadding2D,
)
_OWN_RANGE = (
    layers.GlobalAveragePooling1D,
    layers.GlobalAveragePooling2D,
    layers.LeakyReLU,
)
_AUGMENTATION_NAMES = (
    *("ActivityRegularization", "AlphaDropout", "AugMix", "GaussianDropout", "GaussianNoise", "RandAugment"),
    *("RandomBrightness", "RandomColorDegeneration", "RandomColorJitter", "RandomContrast", "RandomElasticTransform"),
    *("RandomErasing", "RandomFlip", "RandomGaussianBlur", "RandomGrayscale", "RandomHue", "RandomInvert"),
    *("RandomPerspective", "RandomPosterization", "RandomRotation", "RandomSaturation", "RandomSharpness"),
    *("RandomShear", "RandomTranslation", "RandomZoom"),
)
# Not every version of Keras has all of them.
AUGMENTATION = tuple(getattr(layers, name) for name in _AUGMENTATION_NAMES if hasattr(layers, name))
_PAIRWISE = (layers.Add, layers.Maximum, layers.Minimum, layers.Multiply, layers.Subtract)
LAYERS: dict[type, Callable[[Builder, Step, list[Value]], Value]] = {
    **dict.fromkeys(_SAME_RANGE, same_range),
    **dict.fromkeys(_OWN_RANGE, own_range),
    **dict.fromkeys(_PAIRWISE, _pairwise),
    **dict.fromkeys(AUGMENTATION, build_augmentation),
    layers.Activation: _activation,
    layers.AveragePooling1D: build_average_pooling,
    layers.AveragePooling2D: build_average_pooling,
    layers.BatchNormalization: _affine,
    layers.Concatenate: build_concatenation,
    layers.Conv1D: _make_kernel_rule(QuantizedConv1D),
    layers.Conv1DTranspose: _make_kernel_rule(QuantizedConv1DTranspose),
    layers.Conv2D: _make_kernel_rule(QuantizedConv2D),
    layers.Conv2DTranspose: _make_kernel_rule(QuantizedConv2DTranspose),
    layers.Dense: _make_kernel_rule(QuantizedDense),
    layers.DepthwiseConv1D: _make_kernel_rule(QuantizedDepthwiseConv1D),
    layers.DepthwiseConv2D: _make_kernel_rule(QuantizedDepthwiseConv2D),
    layers.Embedding: build_embedding,
    layers.LayerNormalization: build_layer_normalization,
    layers.MultiHeadAttention: build_attention,
    layers.Normalization: _affine,
    layers.PReLU: build_prelu,
    layers.ReLU: _relu,
    layers.RepeatVector: build_repetition,
    layers.Rescaling: _affine,
    layers.Resizing: build_resizing,
    layers.SeparableConv1D: _separable,
    layers.SeparableConv2D: _separable,
    layers.Softmax: _softmax,
    layers.UpSampling1D: build_repetition,
    layers.UpSampling2D: build_upsampling,
}
"""Layer class to the rule that builds it."""
