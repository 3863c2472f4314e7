"""The quantization-aware model while it is built: values on their way, and which of them still need a range."""

import dataclasses

import keras

from keras_distill._core.messages import expected
from keras_distill.quantization.graph import copy
from keras_distill.quantization.ranges import FakeQuantization


@dataclasses.dataclass
class Value:
    """What a layer gives, before and after it is rounded.

    Attributes:
        tensor: symbolic tensor as computed.
        range_name: str, the name of the layer that will round it, if anything does.
        fusable: whether what follows may take it unrounded, as one operation of the file computes both. Defaults to
            False.
        limits: pair of floats, the range that the file's kernels fix for it. Defaults to None.
        range: the `FakeQuantization` to whose values `rounded` is rounded. Defaults to None.
        rounded: symbolic tensor. Defaults to None, not rounded yet.
    """

    tensor: object
    range_name: str
    fusable: bool = False
    limits: tuple | None = None
    range: FakeQuantization | None = None
    rounded: object = None


class Builder:
    """Turn each step of a float graph into layers by the rule for its class.

    Args:
        rules: dict of class to rule, see `rules`.
        range_settings: dict, arguments of `FakeQuantization`.
        kernel_settings: dict, arguments of `QuantizedKernel`.
    """

    def __init__(self, rules, range_settings, kernel_settings):
        self._rules, self._range_settings, self._kernel_settings = rules, range_settings, kernel_settings
        self._twins, self._names, self._absorbed = {}, set(), set()

    def visit(self, step, values):
        """Return the `Value` of a step, given those of its inputs."""
        if id(step.operation) in self._absorbed:
            values[0].fusable = values[0].fusable and len(step.following) == 1
            return values[0]
        rule = self._rules.get(type(step.operation))
        if rule is None:
            raise ValueError(self._unknown(step))
        check_float32(step.operation)
        data_format = getattr(step.operation, "data_format", None) or "channels_last"
        if data_format != "channels_last":
            refuse(step, "channels last", f"data_format={data_format!r}")
        return rule(self, step, values)

    def input(self, tensor):
        """Return the `Value` of a model input."""
        name = f"{tensor.name}_range"
        if tensor.dtype == "uint8":
            return Value(tensor, name, limits=(0.0, 255.0))
        return Value(tensor, name, rounded=None if "float" in tensor.dtype else tensor)

    def rounded(self, value):
        """Return a value's tensor rounded to its range, the same one for everyone who takes it."""
        if value.rounded is None:
            settings = self._range_settings if value.limits is None else {"limits": value.limits}
            value.range = FakeQuantization(name=self.unique(value.range_name), dtype="float32", **settings)
            value.rounded = value.range(value.tensor)
        return value.rounded

    def fused(self, value):
        """Return a value's tensor for a layer that the file computes in the same operation, if it can."""
        return value.tensor if value.fusable and value.rounded is None else self.rounded(value)

    def output(self, value):
        """Return a value's tensor as an output of the model."""
        # A softmax fixes its own range, and whoever looks for the logits must find it as the last operation.
        return value.tensor if value.limits is not None else self.rounded(value)

    def kept(self, step, values, name=None):
        """Call a copy of the step's layer on rounded values."""
        return self.call(self.twin(step, name), step, [self.rounded(value) for value in values])

    def twin(self, step, name=None):
        """Return the copy of the step's layer, the same one at each of its calls."""
        return self.once(step, lambda: copy(step.operation, self.unique(name or step.name)))

    def once(self, step, make):
        """Return the layer that `make` makes for the step's own, the same one at each of its calls."""
        key = id(step.operation)
        if key not in self._twins:
            self._twins[key] = make()
        return self._twins[key]

    @staticmethod
    def call(layer, step, tensors):
        """Call a layer as the step calls its own."""
        arguments, keywords = step.arguments(tensors)
        return layer(*arguments, **keywords)

    def kernel(self, quantized, step, layer, name, is_last=True, **settings):
        """Return the `QuantizedKernel` of a float layer, which is copied; the same one at each of its calls.

        The last, or only, one of a step takes in the batch normalization that follows. Further settings are the
        arguments of its class alone.
        """
        # One float layer may hold several kernels, which have names of their own.
        key = (id(step.operation), quantized, layer.name)
        if key not in self._twins:
            normalization = self._absorbed_after(step, layer) if is_last else None
            settings = {"dtype": "float32", **self._kernel_settings, **settings}
            self._twins[key] = quantized(copy(layer, layer.name), normalization, name=self.unique(name), **settings)
        return self._twins[key]

    def _absorbed_after(self, step, layer):
        """Return a copy of the batch normalization that folds into a layer, and leave it out; or `None`."""
        after = step.following[0] if len(step.following) == 1 else None
        if (
            not isinstance(after, keras.layers.BatchNormalization)
            or after.axis not in (-1, len(step.node.outputs[0].shape) - 1)
            or getattr(layer, "activation", None) is not keras.activations.linear
            or not (step.called_once(step.operation) and step.called_once(after))
        ):
            return None
        check_float32(after)
        self._absorbed.add(id(after))
        return copy(after, after.name)

    def names(self, step):
        """Return the name of the layer that computes a step, and of the one that rounds it.

        The last layer has the name of the float student's last, which names the outputs of files.
        """
        return (f"{step.name}_unrounded", step.name) if step.is_output else (step.name, f"{step.name}_range")

    def unique(self, name):
        """Return a name that no layer has yet, and take it."""
        unique, count = name, 1
        while unique in self._names:
            unique, count = f"{name}_{count}", count + 1
        self._names.add(unique)
        return unique

    def _unknown(self, step):
        known = sorted(kind.__name__ for kind in self._rules)
        what = f"layers of these kinds: {', '.join(known)}"
        fix = (
            "Replace it, or, if the converter computes it in integers, say how to round it: "
            f"custom_layers={{{type(step.operation).__name__}: kd.quantization.own_range}}."
        )
        return expected(what, f"layer {step.operation.name!r} of type {type(step.operation).__name__}", fix)


def check_float32(layer):
    """Raise a `ValueError` unless a layer computes in float32."""
    policy = getattr(layer, "dtype_policy", None)
    if policy is not None and policy.name != "float32":
        fix = "Build the same architecture under the float32 policy and copy the weights with set_weights."
        received = f"layer {layer.name!r} of dtype policy {policy.name!r}"
        raise ValueError(expected("a student that computes in float32", received, fix))


def refuse(step, what, received, fix=None):
    """Raise a `ValueError` that names the step's layer."""
    raise ValueError(expected(f"{what} in layer {step.operation.name!r}", received, fix))
