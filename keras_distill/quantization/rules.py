"""The table of layers: how each is built into a quantization-aware model. A new layer is one new row.

A rule is a function of the `Builder`, the `Step` that calls the float layer, and the `Value`s that go in; it returns
the `Value` that comes out.
"""

import keras
from keras import layers

from keras_distill.quantization.activations import row_of
from keras_distill.quantization.affine import QuantizedAffine, check_affine
from keras_distill.quantization.attention import attention
from keras_distill.quantization.builder import Value, refuse
from keras_distill.quantization.kernels import (
    QuantizedConv1D,
    QuantizedConv2D,
    QuantizedDense,
    QuantizedDepthwiseConv2D,
)
from keras_distill.quantization.normalization import layer_normalization
from keras_distill.quantization.separable import depthwise_and_pointwise


def own_range(builder, step, values):
    """Keep the layer; what it gives is rounded to a range of its own."""
    name, range_name = builder.names(step)
    return Value(builder.kept(step, values, name), range_name)


def same_range(builder, step, values):
    """Keep the layer, which only moves or drops values: they stay rounded as they were."""
    outputs = builder.kept(step, values[:1])
    return Value(outputs, f"{step.name}_range", range=values[0].range, rounded=outputs)


def _same_range_rounded(builder, step, values):
    """Keep the layer, whose means the file rounds to the range of what goes in."""
    value = same_range(builder, step, values)
    if value.range is not None:
        value.rounded = value.range(value.tensor, observe=False)
    return value


def _pairwise(builder, step, values):
    """Keep the layer, two inputs at a time as in the file, each result rounded."""
    name, range_name = builder.names(step)
    value, *others = values
    for count, other in enumerate(others, start=2):
        is_last = count == len(values)
        partial = name if is_last else f"{name}_of_{count}"
        layer = type(step.operation)(name=builder.unique(partial), dtype="float32")
        outputs = layer([builder.rounded(value), builder.rounded(other)])
        # The file computes a ReLU that follows in the operation of the last.
        fusable = is_last and len(step.following) == 1
        value = Value(outputs, range_name if is_last else f"{partial}_range", fusable)
    return value


def _concatenation(builder, step, values):
    """Keep the layer; what goes nowhere else is computed to the range of the whole at once."""
    name, range_name = builder.names(step)
    outputs = builder.call(builder.twin(step, name), step, [builder.fused(value) for value in values])
    return Value(outputs, range_name)


def _kernel(quantized):
    def rule(builder, step, values):
        return _weighted(builder, step, step.operation, quantized, values[0])

    return rule


def _separable(builder, step, values):
    first, second = depthwise_and_pointwise(step.operation)
    name = f"{step.name}_depthwise"
    depthwise = builder.kernel(QuantizedDepthwiseConv2D, step, first, name, is_last=False)
    value = Value(depthwise(builder.rounded(values[0])), f"{name}_range")
    return _weighted(builder, step, second, QuantizedConv2D, value)


def _weighted(builder, step, layer, quantized, value):
    """Build a layer with weights, the normalization behind it, and its activation."""
    _check_groups(step)
    row, function = row_of(layer.activation, step), layer.activation
    name, range_name = builder.names(step)
    kernel = builder.kernel(quantized, step, layer, name)
    if not row.fused:
        kernel.layer.activation = keras.activations.linear
    outputs = kernel(builder.rounded(value))
    if row.fused:
        alone = len(step.following) == 1 and function is keras.activations.linear
        return Value(outputs, range_name, fusable=alone)
    return _activated(builder, step, row, function, Value(outputs, f"{name}_range"))


def _check_groups(step):
    if getattr(step.operation, "groups", 1) != 1:
        fix = "Use a DepthwiseConv2D, or a Conv2D for each group."
        refuse(step, "one group", f"groups={step.operation.groups}", fix)


def _activation(builder, step, values):
    row, function = row_of(step.operation.activation, step), step.operation.activation
    return _activated(builder, step, row, function, values[0])


def _activated(builder, step, row, function, value):
    is_argument = not isinstance(step.operation, layers.Activation)
    name, range_name = builder.names(step)
    if row.limits is not None and step.is_output:
        name = step.name
    elif is_argument:
        name, range_name = f"{step.name}_{function.__name__}", f"{step.name}_{function.__name__}_range"
        range_name = step.name if step.is_output else range_name
    layer = row.layer(name=name, dtype="float32") if row.layer else layers.Activation(function, name=name)
    before = builder.fused(value) if row.fused else builder.rounded(value)
    return Value(layer(before), range_name, limits=row.limits)


def _relu(builder, step, values):
    layer = step.operation
    plain = layer.threshold == 0 and not layer.negative_slope and layer.max_value in (None, 6)
    if not plain and (layer.threshold or layer.max_value is not None):
        given = f"max_value={layer.max_value}, negative_slope={layer.negative_slope}, threshold={layer.threshold}"
        refuse(step, "a ReLU, a ReLU6 or a leaky ReLU", given)
    if not plain:
        return own_range(builder, step, values)
    name, range_name = builder.names(step)
    return Value(builder.twin(step, name)(builder.fused(values[0])), range_name)


def _softmax(builder, step, values):
    if step.operation.axis not in (-1, len(values[0].tensor.shape) - 1):
        refuse(step, "a softmax over the last axis", f"axis={step.operation.axis}")
    return Value(builder.kept(step, values), f"{step.name}_range", limits=(0.0, 255.0 / 256.0))


def _affine(builder, step, values):
    """Build a normalization or scaling that follows no layer which could take it in."""
    check_affine(step)
    name, range_name = builder.names(step)
    layer = builder.kernel(QuantizedAffine, step, step.operation, name)
    return Value(layer(builder.rounded(values[0])), range_name, fusable=len(step.following) == 1)


_SAME_RANGE = (
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
_PAIRWISE = (layers.Add, layers.Maximum, layers.Minimum, layers.Multiply, layers.Subtract)
LAYERS = {
    **dict.fromkeys(_SAME_RANGE, same_range),
    **dict.fromkeys(_OWN_RANGE, own_range),
    **dict.fromkeys(_PAIRWISE, _pairwise),
    layers.Activation: _activation,
    layers.AveragePooling1D: _same_range_rounded,
    layers.AveragePooling2D: _same_range_rounded,
    layers.BatchNormalization: _affine,
    layers.Concatenate: _concatenation,
    layers.Conv1D: _kernel(QuantizedConv1D),
    layers.Conv2D: _kernel(QuantizedConv2D),
    layers.Dense: _kernel(QuantizedDense),
    layers.DepthwiseConv2D: _kernel(QuantizedDepthwiseConv2D),
    layers.LayerNormalization: layer_normalization,
    layers.MultiHeadAttention: attention,
    layers.ReLU: _relu,
    layers.Rescaling: _affine,
    layers.SeparableConv2D: _separable,
    layers.Softmax: _softmax,
}
"""Layer class to rule."""
