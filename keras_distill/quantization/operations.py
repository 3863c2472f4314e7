"""The table of Keras operations, such as `x + y`, `keras.ops.reshape` and slices, and their rules."""

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
from keras import layers

from keras_distill.quantization.activations import find_activation, gelu_tanh
from keras_distill.quantization.builder import Builder, Value, raise_unsupported
from keras_distill.quantization.constants import WithConstant
from keras_distill.quantization.graph import Step
from keras_distill.quantization.rounding import build_average_pooling, own_range, same_range
from keras_distill.quantization.rules import build_activation, build_concatenation


def _arithmetic(builder: Builder, step: Step, values: list[Value]) -> Value:
    """Apply the operation to two tensors, or to a tensor and a constant."""
    first, second = step.arguments(values)[0]
    function = type(step.operation).__name__.lower()
    if isinstance(first, Value) and isinstance(second, Value):
        return _compute(builder, step, builder.copy(step, builder.names(step)[0]), first, second)
    value, constant = (first, second) if isinstance(first, Value) else (second, first)
    return _with_constant(builder, step, function, value, constant, value is second)


def _with_constant(
    builder: Builder, step: Step, function: str, value: Value, constant: Any, first: bool = False
) -> Value:
    if getattr(constant, "dtype", None) == "bool" or isinstance(constant, keras.Variable):
        raise_unsupported(step, "numbers as constants", repr(constant), "Add weights in a layer of their own.")
    name = builder.unique(builder.names(step)[0])
    numbers = np.asarray(keras.ops.convert_to_numpy(constant), "float32")
    return _compute(builder, step, WithConstant(function, numbers, first, name=name, dtype="float32"), value)


def _compute(builder: Builder, step: Step, layer: Any, *values: Value) -> Value:
    outputs = layer(*[builder.rounded(value) for value in values])
    # The file computes a ReLU that follows in the same operation.
    return Value(outputs, builder.names(step)[1], fusable=len(step.following) == 1)


def _divide(builder: Builder, step: Step, values: list[Value]) -> Value:
    """Multiply by the inverse of a constant, since no kernel divides integers."""
    first, second = step.arguments(values)[0]
    if isinstance(second, Value):
        raise_unsupported(step, "a constant to divide by", "a tensor", "No kernel divides tensors of int8.")
    return _with_constant(builder, step, "multiply", first, 1.0 / np.asarray(second, "float32"))


def _negative(builder: Builder, step: Step, values: list[Value]) -> Value:
    return _with_constant(builder, step, "multiply", values[0], -1.0)


def _square(builder: Builder, step: Step, values: list[Value]) -> Value:
    """Multiply a tensor with itself, since int8 has no square."""
    exponent = step.arguments(values)[0][1:]
    if exponent not in ((), (2,)):
        raise_unsupported(step, "the power 2", f"{exponent[0]!r}")
    name, range_name = builder.names(step)
    tensor = builder.rounded(values[0])
    return Value(layers.Multiply(name=builder.unique(name), dtype="float32")([tensor, tensor]), range_name)


def _make_activation_rule(function: Callable) -> Callable:
    def rule(builder: Builder, step: Step, values: list[Value]) -> Value:
        _check_plain(step)
        return build_activation(builder, step, find_activation(function, step), function, values[0])

    return rule


def _check_plain(step: Step) -> None:
    """Raise a `ValueError` unless an activation has the arguments that its row of the table assumes."""
    config, shape = step.operation.get_config(), step.node.input_tensors[0].shape
    given = (
        config | dict(zip(("x", "approximate"), step.node.arguments.args, strict=False)) | step.node.arguments.kwargs
    )
    if config.get("axis", -1) not in (-1, len(shape) - 1):
        raise_unsupported(step, "a softmax over the last axis", f"axis={config['axis']}")
    if given.get("approximate", True) is not True:
        raise_unsupported(step, "GELU with approximate=True", "exact GELU", "Use kd.quantization.gelu_tanh.")
    wanted = {"negative_slope": (0.0, 0.2), "max_value": (None, 6, 6.0), "threshold": (0, 0.0)}
    for name, plain in wanted.items():
        if config.get(name, plain[0]) not in plain:
            raise_unsupported(step, f"{name} of {plain[-1]}", f"{name}={config[name]!r}", "Use keras.layers.ReLU.")


def _sum(builder: Builder, step: Step, values: list[Value]) -> Value:
    """Compute a sum as a mean times a number, since the plain kernel of a sum overflows."""
    config, (tensor,) = step.operation.get_config(), step.node.input_tensors
    if None in tensor.shape[1:]:
        raise_unsupported(step, "a known size", f"inputs of shape {tensor.shape}")
    mean = keras.ops.mean(builder.rounded(values[0]), axis=config["axis"], keepdims=config["keepdims"])
    count = np.prod(tensor.shape[1:]) / np.prod(step.node.outputs[0].shape[1:])
    return _with_constant(builder, step, "multiply", Value(mean, f"{step.name}_mean_range"), count)


def _keep_several(builder: Builder, step: Step, values: list[Value]) -> Any:
    """Keep an operation with several outputs that only moves values."""
    outputs = builder.call_copy(step, values)
    return [Value(each, f"{step.name}_range", range=values[0].range, rounded=each) for each in outputs]


def _cast(builder: Builder, step: Step, values: list[Value]) -> Value:
    """Keep a change between floating-point types, which the file has not."""
    if "float" not in values[0].tensor.dtype:
        raise_unsupported(step, "a cast of floats", f"dtype {values[0].tensor.dtype!r}")
    return same_range(builder, step, values)


_SAME_RANGE = (
    *("Copy", "ExpandDims", "Flatten", "GetItem", "Max", "MaxPool", "Moveaxis", "Ravel", "Reshape"),
    *("Squeeze", "StopGradient", "Swapaxes", "Transpose"),
)
_OWN_RANGE = ("Absolute", "Abs", "Matmul", "Mean")
_ACTIVATIONS = {
    "Gelu": gelu_tanh,
    "HardSilu": keras.activations.hard_silu,
    "LeakyRelu": keras.activations.leaky_relu,
    "Relu": keras.activations.relu,
    "ReLU": keras.activations.relu,
    "Relu6": keras.activations.relu6,
    "Sigmoid": keras.activations.sigmoid,
    "Silu": keras.activations.silu,
    "Softmax": keras.activations.softmax,
    "Tanh": keras.activations.tanh,
}
OPERATIONS: dict[str, Callable[[Builder, Step, list[Value]], Any]] = {
    **dict.fromkeys(_SAME_RANGE, same_range),
    **dict.fromkeys(_OWN_RANGE, own_range),
    **dict.fromkeys(("Add", "Maximum", "Minimum", "Multiply", "Subtract"), _arithmetic),
    **{name: _make_activation_rule(function) for name, function in _ACTIVATIONS.items()},
    "AveragePool": build_average_pooling,
    "Cast": _cast,
    "Concatenate": build_concatenation,
    "Divide": _divide,
    "Negative": _negative,
    "Power": _square,
    "Split": _keep_several,
    "Square": _square,
    "Sum": _sum,
    "TrueDivide": _divide,
}
"""Class name of an operation of `keras.ops` to the rule that builds it."""
