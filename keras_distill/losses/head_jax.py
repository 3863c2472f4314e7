"""The operations of a function that JAX has traced, as the rules about heads see them."""

import math
from typing import Any, NamedTuple

from keras_distill.losses.head_rules import Graph, Node

_MOVES = (
    *("reshape", "transpose", "squeeze", "expand_dims", "broadcast_in_dim", "slice", "dynamic_slice", "gather", "rev"),
    *("convert_element_type", "copy", "copy_p", "stop_gradient", "reduce_precision", "split", "unstack"),
)
_CALLS = (
    *("jit", "pjit", "closed_call", "custom_jvp_call", "custom_vjp_call", "custom_vjp_call_jaxpr", "checkpoint"),
    *("remat", "remat2", "core_call", "custom_jvp_call_jaxpr"),
)
_PLAIN = {
    **dict.fromkeys(("add", "sub", "add_any"), "add"),
    **dict.fromkeys(("dot_general", "conv_general_dilated"), "contract"),
    **dict.fromkeys(("max", "min", "reduce_max", "reduce_min"), "pick"),
    **dict.fromkeys(("neg", "pad"), "map"),
    **{name: name for name in ("log", "tanh", "exp")},
    "logistic": "sigmoid",
}
"""Name of a primitive -> its role."""


class Traced(NamedTuple):
    """A variable of a traced function, or a literal, and the function that it belongs to."""

    variable: Any
    function: "Function"


class Function:
    """A traced function: which equation returned each of its variables, and what it was called with.

    Args:
        jaxpr: The function.
        given: Dict of its arguments to the `Traced` that they are.
    """

    def __init__(self, jaxpr: Any, given: dict[Any, Traced]):
        self.given, self.constants = given, set(jaxpr.constvars)
        self.returned = {out: (each, place) for each in jaxpr.eqns for place, out in enumerate(each.outvars)}
        self.inner: dict[int, Function] = {}


class JaxGraph(Graph):
    """The graph of a function that `jax.make_jaxpr` has traced.

    Args:
        jaxpr: The traced function.
        variables: The arguments that are the variables of the model.
    """

    def __init__(self, jaxpr: Any, variables: Any):
        self.top, self.variables = Function(jaxpr, {}), set(variables)
        self.outputs = [Traced(out, self.top) for out in jaxpr.outvars]

    def node(self, tensor: Any) -> Node:
        tensor, equation = self._find(tensor)
        if equation is None:
            return Node("variable" if self.is_source(tensor) == "variable" else "", [])
        name, inputs = equation.primitive.name, [Traced(each, tensor.function) for each in equation.invars]
        if name in _MOVES:
            return Node("move", inputs[:1], None, _mover(equation))
        if name in ("concatenate", "stack"):
            return Node("join", inputs, None, _joiner(equation))
        if name == "select_n":
            return Node("join", inputs[1:], None, None, conditions=tuple(inputs[:1]))
        if name == "div":
            axis = self._softmax_axis(inputs)
            if axis is not None:
                return Node("softmax", inputs[:1], None, lambda last: axis if axis == last else None)
        if name in ("mul", "div"):
            return Node("multiply" if name == "mul" else "divide", inputs, constant=_factor(equation))
        if name in ("reduce_sum", "reduce_mean"):
            return Node("sum", inputs[:1], None, *_reduction(equation))
        role = _PLAIN.get(name, name)
        return Node(role, inputs, _unreachable if role in ("add",) else None)

    def parents(self, tensor: Any) -> list[Any]:
        found, equation = self._find(tensor)
        return [] if equation is None else [Traced(each, found.function) for each in equation.invars]

    def is_source(self, tensor: Any) -> str | None:
        found, equation = self._find(tensor)
        if hasattr(found.variable, "val") or found.variable in found.function.constants:
            return "constant"
        return "variable" if equation is None and found.variable in self.variables else None

    def key(self, tensor: Any) -> Any:
        found, _ = self._find(tensor)
        return id(found.variable), id(found.function)

    def shape(self, tensor: Any) -> tuple[int | None, ...] | None:
        return tuple(tensor.variable.aval.shape)

    def _find(self, tensor):
        """Return where a variable comes from, through calls of other functions, and the equation that returned it."""
        while not hasattr(tensor.variable, "val"):
            variable, function = tensor
            if variable in function.given:
                tensor = function.given[variable]
                continue
            equation, place = function.returned.get(variable, (None, 0))
            inner = equation and equation.primitive.name in _CALLS and _called(equation)
            if not inner:
                return tensor, equation
            tensor = Traced(inner.outvars[place], self._enter(equation, inner, function))
        return tensor, None

    def _enter(self, equation, inner, function):
        if id(equation) not in function.inner:
            given = [Traced(each, function) for each in equation.invars]
            function.inner[id(equation)] = Function(inner, dict(zip(inner.invars, given, strict=False)))
        return function.inner[id(equation)]

    def _softmax_axis(self, inputs):
        """Return the axis of a softmax that ends in this division of exponentials by their sum, or `None`."""
        powers, total = inputs
        equation = self._find(total)[1]
        while equation is not None and equation.primitive.name in (*_MOVES, "add_any"):
            total = Traced(equation.invars[0], self._find(total)[0].function)
            equation = self._find(total)[1]
        if equation is None or equation.primitive.name != "reduce_sum" or len(equation.params["axes"]) != 1:
            return None
        summed = Traced(equation.invars[0], self._find(total)[0].function)
        same = self.key(summed) == self.key(powers) and self.node(powers).role == "exp"
        return equation.params["axes"][0] if same else None


def _unreachable(given):
    raise NotImplementedError  # On JAX, kinds are read after the fact: there is nothing to apply an operation to.


def _called(equation):
    found = equation.params.get("jaxpr") or equation.params.get("call_jaxpr") or equation.params.get("fun_jaxpr")
    return getattr(found, "jaxpr", found)


def _mover(equation):
    before, after = equation.invars[0].aval.shape, equation.outvars[0].aval.shape
    name = equation.primitive.name

    def move_axis(axis: int) -> int | None:
        if name == "transpose":
            return list(equation.params["permutation"]).index(axis)
        if name == "broadcast_in_dim":
            moved = equation.params["broadcast_dimensions"][axis]
            return moved if before[axis] == after[moved] else None
        if axis != len(before) - 1 or not after or before[-1] != after[-1] or name == "gather":
            return None
        return len(after) - 1

    return move_axis


def _joiner(equation):
    rank, name = len(equation.outvars[0].aval.shape), equation.primitive.name

    def move_axis(axis: int) -> int | None:
        along = equation.params["dimension" if name == "concatenate" else "axis"] % rank
        if name == "stack":
            return axis if axis < along else axis + 1
        return None if along == axis else axis

    return move_axis


def _factor(equation):
    values = [float(each.val) for each in equation.invars[-1:] if hasattr(each, "val") and not each.aval.shape]
    if equation.primitive.name == "mul" and not values:
        values = [float(each.val) for each in equation.invars[:1] if hasattr(each, "val") and not each.aval.shape]
    if not values:
        return None
    if equation.primitive.name == "mul":
        return values[0]
    return 1.0 / values[0] if values[0] else None


def _reduction(equation):
    axes, shape = equation.params["axes"], equation.invars[0].aval.shape

    def move_axis(axis: int) -> int | None:
        return None if axis in axes else axis - sum(each < axis for each in axes)

    return move_axis, float(math.prod(shape[axis] for axis in axes))
