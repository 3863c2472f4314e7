"""Building a quantization-aware model: its values, and which of them still need a range."""

import dataclasses
from collections.abc import Callable
from typing import Any, NoReturn

import keras

from keras_distill._core.messages import expected
from keras_distill._core.tensors import get_tensor_attr
from keras_distill.quantization.graph import Step, copy_layer
from keras_distill.quantization.ranges import FakeQuantization
from keras_distill.quantization.refusals import check_unmasked, describe_unknown


@dataclasses.dataclass
class Value:
    """The output of a layer, before and after it is rounded.

    Attributes:
        tensor: Symbolic tensor as computed.
        range_name: Name of the layer that would round it.
        fusable: Whether the next layer may take it unrounded, since one operation of the file computes both. Defaults
            to `False`.
        limits: Range that the file's kernels fix for it. Defaults to `None`.
        margin: How far its range reaches below its smallest number. Defaults to 0.0.
        range: `FakeQuantization` that rounds it. Defaults to `None`.
        rounded: Symbolic tensor of the rounded values. Defaults to `None`: not rounded yet.
    """

    tensor: Any
    range_name: str
    fusable: bool = False
    limits: tuple[float, float] | None = None
    margin: float = 0.0
    range: FakeQuantization | None = None
    rounded: Any = None


class Builder:
    """Turn each step of a float graph into layers by the rule for its class.

    Args:
        rules: Dict of class to rule, see `rules`.
        operations: Dict of the name of a Keras operation's class to rule, see `operations`.
        range_settings: Arguments of `FakeQuantization`.
        kernel_settings: Arguments of `QuantizedKernel`.
    """

    def __init__(
        self,
        rules: dict[type, Callable],
        operations: dict[str, Callable],
        range_settings: dict[str, Any],
        kernel_settings: dict[str, Any],
    ):
        self._rules, self._operations = rules, operations
        self._range_settings, self._kernel_settings = range_settings, kernel_settings
        self._layers: dict[Any, Any] = {}
        self._names: set[str] = set()
        self._folded: set[int] = set()
        self._known: dict[int, Value] = {}

    def visit(self, step: Step, values: list[Value]) -> Value:
        """Return the `Value` of a step, given those of its inputs."""
        self._known.update(zip(map(id, step.node.input_tensors), values, strict=True))
        if id(step.operation) in self._folded:
            values[0].fusable = values[0].fusable and len(step.following) == 1
            return values[0]
        rule = self._find_rule(step)
        if rule is None:
            raise ValueError(describe_unknown(step.operation))
        check_float32(step.operation)
        check_unmasked(step.operation, step.node.input_tensors)
        data_format = getattr(step.operation, "data_format", None) or "channels_last"
        if data_format != "channels_last":
            raise_unsupported(step, "channels last", f"data_format={data_format!r}")
        return rule(self, step, values)

    def find_mask(self, tensor: Any) -> Any:
        """Return the mask that a tensor of the float graph carries, computed by the new graph; `None` without one.

        Keras's layers pass masks on outside of the graph. Layers of the new graph carry no masks.
        """
        mask = get_tensor_attr(tensor, "_keras_mask")
        return None if mask is None else self._compute(mask)

    def _compute(self, tensor: Any) -> Any:
        """Return a tensor, computed by copies of operations of the float graph from what the new graph has."""
        if id(tensor) not in self._known:
            history = tensor._keras_history
            operation, node = history.operation, history.operation._inbound_nodes[history.node_index]
            inputs = {id(each): self._compute(each) for each in node.input_tensors}
            arguments, keywords = node.arguments.fill_in(inputs)
            outputs = copy_layer(operation, self.unique(operation.name))(*arguments, **keywords)
            self._known[id(tensor)] = Value(outputs, tensor.name, rounded=outputs)
        return self._known[id(tensor)].tensor

    def _find_rule(self, step: Step) -> Callable | None:
        if isinstance(step.operation, keras.layers.Layer):
            return self._rules.get(type(step.operation))
        tensors = (*step.node.input_tensors, *step.node.outputs)
        if not any("float" in tensor.dtype for tensor in tensors):
            return keep_integers
        return self._operations.get(type(step.operation).__name__)

    def input(self, tensor: Any) -> Value:
        """Return the `Value` of a model input."""
        name = f"{tensor.name}_range"
        if tensor.dtype == "uint8":
            return Value(tensor, name, limits=(0.0, 255.0))
        return Value(tensor, name, rounded=None if "float" in tensor.dtype else tensor)

    def rounded(self, value: Value) -> Any:
        """Return a value's tensor rounded to its range, the same tensor for all layers that take it."""
        if value.rounded is None:
            limits: dict[str, Any] = {"limits": value.limits}
            settings = {**self._range_settings, "margin": value.margin} if value.limits is None else limits
            rounding = FakeQuantization(name=self.unique(value.range_name), dtype="float32", **settings)
            value.range, value.rounded = rounding, rounding(value.tensor)
        return value.rounded

    def fused(self, value: Value) -> Any:
        """Return a value's tensor for a layer that the file computes in the same operation if possible."""
        return value.tensor if value.fusable and value.rounded is None else self.rounded(value)

    def output(self, value: Value) -> Any:
        """Return a value's tensor as an output of the model."""
        # A softmax has a fixed range, and must stay the last operation so that losses find the logits before it.
        return value.tensor if value.limits is not None else self.rounded(value)

    def call_copy(self, step: Step, values: list[Value], name: str | None = None) -> Any:
        """Call a copy of the step's layer on rounded values."""
        return self.call(self.copy(step, name), step, [self.rounded(value) for value in values])

    def copy(self, step: Step, name: str | None = None) -> Any:
        """Return a copy of the step's layer, the same one at each of its calls."""
        return self.make_once(step, lambda: copy_layer(step.operation, self.unique(name or step.name)))

    def make_once(self, step: Step, make: Callable[[], Any]) -> Any:
        """Return the layer that `make` returns for the step's layer, the same one at each of its calls."""
        key = id(step.operation)
        if key not in self._layers:
            self._layers[key] = make()
        return self._layers[key]

    @staticmethod
    def call(layer: Any, step: Step, tensors: list[Any]) -> Any:
        """Call a layer with the arguments of the step."""
        arguments, keywords = step.arguments(tensors)
        return layer(*arguments, **keywords)

    def kernel(self, quantized: type, step: Step, layer: Any, name: str, is_last: bool = True, **settings: Any) -> Any:
        """Return a `QuantizedKernel` of a copy of a float layer, the same one at each of its calls.

        Args:
            quantized: Class of the `QuantizedKernel`.
            step: The step.
            layer: The float layer.
            name: Name of the `QuantizedKernel`.
            is_last: Whether it is the last kernel of the step, into which the next batch normalization is folded.
                Defaults to `True`.
            **settings: Further arguments of the class.
        """
        # One float layer may hold several kernels, which have names of their own.
        key = (id(step.operation), quantized, layer.name)
        if key not in self._layers:
            normalization = self._fold_next(step, layer) if is_last else None
            settings = {"dtype": "float32", **self._kernel_settings, **settings}
            self._layers[key] = quantized(
                copy_layer(layer, layer.name), normalization, name=self.unique(name), **settings
            )
        return self._layers[key]

    def _fold_next(self, step: Step, layer: Any) -> Any:
        """Return a copy of the batch normalization that folds into a layer, and skip it later; or `None`."""
        after = step.following[0] if len(step.following) == 1 else None
        if (
            not isinstance(after, keras.layers.BatchNormalization)
            or after.axis not in (-1, len(step.node.outputs[0].shape) - 1)
            or getattr(layer, "activation", None) is not keras.activations.linear
            or not (step.is_called_once(step.operation) and step.is_called_once(after))
        ):
            return None
        check_float32(after)
        self._folded.add(id(after))
        return copy_layer(after, after.name)

    def names(self, step: Step) -> tuple[str, str]:
        """Return the names of the layers that compute and round a step.

        The layer that gives an output has the name of the float student's layer, since it names the output of the file.
        """
        return (f"{step.name}_unrounded", step.name) if step.is_output else (step.name, f"{step.name}_range")

    def unique(self, name: str) -> str:
        """Reserve and return a name that no layer has yet."""
        unique, count = name, 1
        while unique in self._names:
            unique, count = f"{name}_{count}", count + 1
        self._names.add(unique)
        return unique


def keep_integers(builder: Builder, step: Step, values: list[Value]) -> Any:
    """Keep an operation on integers or truth values, which need no range."""
    outputs = builder.call_copy(step, values)
    several = outputs if isinstance(outputs, (list, tuple)) else [outputs]
    built = [Value(each, f"{step.name}_range", rounded=each) for each in several]
    return built if len(built) > 1 else built[0]


def check_float32(layer: Any) -> None:
    """Raise a `ValueError` unless a layer computes in float32."""
    policy = getattr(layer, "dtype_policy", None)
    if policy is not None and policy.name != "float32":
        fix = "Build the same architecture under the float32 policy and copy the weights with set_weights."
        received = f"layer {layer.name!r} of dtype policy {policy.name!r}"
        raise ValueError(expected("a student that computes in float32", received, fix))


def raise_unsupported(step: Step, what: str, received: str, fix: str | None = None) -> NoReturn:
    """Raise a `ValueError` that names the step's layer."""
    raise ValueError(expected(f"{what} in layer {step.operation.name!r}", received, fix))
