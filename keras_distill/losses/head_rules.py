"""What a model ends in, read from the operations behind its output: a linear head, a sigmoid, a softmax, or unknown.

Operations that only move or join numbers are followed back to those that made them. The rules know no backend: a
`Graph` tells them which operation returned a tensor.
"""

import dataclasses
import math
from collections.abc import Callable
from typing import Any, NamedTuple

from keras import ops


class Node(NamedTuple):
    """The operation that returned a tensor.

    Attributes:
        role: What it does, one of the names in `_RULES`; any other name if the rules do not know it.
        inputs: The tensors that carry numbers to the output; not shapes, axes and the like.
        apply: Function that applies the same operation to other inputs, or `None` if that is not possible.
        move_axis: Function from the axis of the classes in the inputs to that in the output, `None` if they are mixed
            with others. `None` if the operation mixes them in any case.
        constant: The factor of a scaling, or how many numbers each number of a sum adds up; `None` if unknown.
        conditions: Tensors that choose between the inputs.
    """

    role: str
    inputs: list[Any]
    apply: Callable[..., Any] | None = None
    move_axis: Callable[[int], int | None] | None = None
    constant: float | None = None
    conditions: tuple[Any, ...] = ()


class Graph:
    """How the rules look into the graph of a backend."""

    def node(self, tensor: Any) -> Node:
        """Return the operation that returned a tensor."""
        raise NotImplementedError

    def parents(self, tensor: Any) -> list[Any]:
        """Return every input of the operation that returned a tensor."""
        raise NotImplementedError

    def is_source(self, tensor: Any) -> str | None:
        """Return `"variable"` or `"constant"` for a tensor that no data reach at once, else `None`."""
        raise NotImplementedError

    def key(self, tensor: Any) -> Any:
        """Return what identifies a tensor."""
        return id(tensor)

    def shape(self, tensor: Any) -> tuple[int | None, ...] | None:
        """Return the static shape of a tensor, or `None` if its rank is unknown."""
        raise NotImplementedError


@dataclasses.dataclass(frozen=True)
class Head:
    """The head of a model.

    Attributes:
        kind: `"linear"`, `"sigmoid"`, `"softmax"` or `"unknown"`.
        logits: Function that returns the logits under a sigmoid or softmax; `None` if they are out of reach.
        axis: The axis of the classes under a softmax.
        mass: The sum of each row under a softmax: 1.0, except on the way to an average of several.
    """

    kind: str
    logits: Callable[[], Any] | None = None
    axis: int = -1
    mass: float = 1.0


UNKNOWN, LINEAR = Head("unknown"), Head("linear")


def read_head(tensor: Any, graph: Graph) -> Head:
    """Return the head that a tensor is the output of.

    Args:
        tensor: Output of a model.
        graph: The graph that computed it.
    """
    head = _Reader(graph).read(tensor)
    if head.kind != "softmax":
        return head
    shape = graph.shape(tensor)
    whole = shape is not None and head.axis == len(shape) - 1 and math.isclose(head.mass, 1.0, rel_tol=1e-5)
    return head if whole else UNKNOWN


class _Reader:
    def __init__(self, graph: Graph):
        self.graph = graph
        self.known: dict[Any, Head] = {}
        self.weights: dict[Any, str | None] = {}

    def read(self, tensor):
        key = self.graph.key(tensor)
        if key not in self.known:
            self.known[key] = UNKNOWN  # Should the graph have a circle.
            node = self.graph.node(tensor)
            self.known[key] = _RULES[node.role](self, node, tensor) if node.role in _RULES else UNKNOWN
        return self.known[key]

    def weight(self, tensor):
        """Return `"variable"` or `"constant"` for a tensor that no data reach, else `None`."""
        stack, kind = [tensor], "constant"
        seen = set()
        while stack:
            each = stack.pop()
            if self.graph.key(each) in seen:
                continue
            seen.add(self.graph.key(each))
            source, parents = self.graph.is_source(each), self.graph.parents(each)
            if source is None and not parents:
                return None
            kind = "variable" if source == "variable" else kind
            stack += [] if source else parents
        return kind

    def depends(self, tensor, others):
        """Return whether a tensor is computed from one of those with these keys."""
        stack, seen = [tensor], set()
        while stack:
            each = stack.pop()
            key = self.graph.key(each)
            if key in others:
                return True
            if key not in seen:
                seen.add(key)
                stack += self.graph.parents(each)
        return False

    def roots(self, tensor):
        """Return the keys of the products that a linear tensor is a sum of, and of what is between."""
        stack, found = [tensor], set()
        while stack:
            each = stack.pop()
            if self.graph.key(each) not in found:
                found.add(self.graph.key(each))
                node = self.graph.node(each)
                inputs = [] if node.role in ("contract", "variable") else node.inputs
                stack += [each for each in inputs if not self.weight(each) and self.read(each).kind == "linear"]
        return found

    def scales_whole_rows(self, factor, output):
        """Return whether a tensor is broadcast, as the statistics of a normalization, a mask or a bias are."""
        small, large = self.graph.shape(factor), self.graph.shape(output)
        if small is None or large is None:
            return False
        padded = (1,) * (len(large) - len(small)) + tuple(small)
        if any(one == 1 and other != 1 for one, other in zip(padded, large, strict=True)):
            return True
        node = self.graph.node(factor)  # Statistics times a trained scale have the shape of the output again.
        return node.role in ("multiply", "divide", "add") and all(
            self.weight(each) or self.scales_whole_rows(each, output) for each in node.inputs
        )

    def stays_linear(self, term, others, output):
        """Return whether a linear term remains one if others are added to it or multiply it.

        A factor or summand that is computed from the term bends it, as in `x * sigmoid(x)`.
        """
        found = [each for each in others if not self.weight(each) and not self.scales_whole_rows(each, output)]
        roots = self.roots(term) if found else ()
        return not any(self.depends(each, roots) and self.read(each).kind != "linear" for each in found)


def _activation(kind):
    def rule(reader: Any, node: Node, tensor: Any) -> Head:
        apply = node.apply
        logits = None if apply is None else lambda: apply(node.inputs)
        axis = -1
        if kind == "softmax":
            found = node.move_axis(len(reader.graph.shape(tensor) or ()) - 1) if node.move_axis else None
            if found is None:
                return UNKNOWN
            axis = found
        return Head(kind, logits, axis)

    return rule


def _move(reader, node, tensor):
    return _carry(reader, node, [reader.read(each) for each in node.inputs])


def _join(reader, node, tensor):
    data = [each for each in node.inputs if not reader.weight(each)]
    heads = [reader.read(each) for each in data]
    if heads and all(head.kind == "linear" for head in heads):
        bent = any(reader.depends(each, reader.roots(one)) for each in node.conditions for one in data)
        return UNKNOWN if bent else LINEAR
    return _carry(reader, node, heads) if len(data) == len(node.inputs) else UNKNOWN


def _carry(reader, node, heads):
    first = heads[0]
    if any((head.kind, head.axis, head.mass) != (first.kind, first.axis, first.mass) for head in heads):
        return UNKNOWN
    if first.kind in ("linear", "unknown"):
        return first
    axis = -1
    if first.kind == "softmax":
        moved = node.move_axis(first.axis) if node.move_axis else None
        if moved is None:
            return UNKNOWN
        axis = moved
    reachable = node.apply is not None and all(head.logits for head in heads)
    logits = (lambda: node.apply([head.logits() for head in heads])) if reachable else None
    return dataclasses.replace(first, logits=logits, axis=axis)


def _pick(reader, node, tensor):
    """Take the largest or the smallest of several numbers, which the sigmoid leaves in their order."""
    heads = [reader.read(each) for each in node.inputs]
    return _carry(reader, node, heads) if heads[0].kind in ("linear", "sigmoid") else UNKNOWN


def _contract(reader, node, tensor):
    # A product with numbers that are trained has any value; one with constants may group or average probabilities.
    if "variable" in [reader.weight(each) for each in node.inputs]:
        return LINEAR
    return LINEAR if "linear" in [reader.read(each).kind for each in node.inputs] else UNKNOWN


def _add(reader, node, tensor):
    heads = [UNKNOWN if reader.weight(each) else reader.read(each) for each in node.inputs]
    for place, head in enumerate(heads):
        others = node.inputs[:place] + node.inputs[place + 1 :]
        if head.kind == "linear" and reader.stays_linear(node.inputs[place], others, tensor):
            return LINEAR
    if node.apply is not None and _of_one_shape(reader, node.inputs) and all(head.kind == "softmax" for head in heads):
        return _sum_of_softmaxes(heads)
    return UNKNOWN


def _of_one_shape(reader, tensors):
    return len({reader.graph.shape(each) for each in tensors}) == 1


def _sum_of_softmaxes(heads):
    axis = heads[0].axis
    if any(head.axis != axis for head in heads):
        return UNKNOWN
    logits = None
    if all(head.logits for head in heads):

        def logits() -> Any:
            return ops.logsumexp(ops.stack([_log_rows(head) for head in heads]), axis=0)

    return Head("softmax", logits, axis, sum(head.mass for head in heads))


def _log_rows(head):
    """Return the logarithm of rows that add up to the mass of the head."""
    return ops.log_softmax(head.logits(), axis=head.axis) + math.log(head.mass)


def _sum(reader, node, tensor):
    """Add up or average along axes."""
    head, shape = reader.read(node.inputs[0]), reader.graph.shape(node.inputs[0])
    if head.kind != "softmax" or node.move_axis is None or node.constant is None or shape is None:
        return LINEAR if head.kind == "linear" else UNKNOWN
    moved = node.move_axis(head.axis)
    if moved is None:
        return UNKNOWN
    logits = head.logits and node.apply and (lambda: node.apply([_log_rows(head)]))
    return Head("softmax", logits, moved, head.mass * node.constant)


def _scale(reader, node, tensor):
    """Multiply, or divide by all inputs but the first."""
    heads = [UNKNOWN if reader.weight(each) else reader.read(each) for each in node.inputs]
    scaled = [head for head in heads if head.kind == "softmax"]
    if scaled and node.constant is not None and node.constant > 0.0:
        return dataclasses.replace(scaled[0], mass=scaled[0].mass * node.constant)
    for place, head in enumerate(heads):
        others = node.inputs[:place] + node.inputs[place + 1 :]
        divided = node.role == "divide" and place > 0
        if head.kind == "linear" and not divided and reader.stays_linear(node.inputs[place], others, tensor):
            return LINEAR
    return LINEAR if node.constant is not None and _is_capped(reader, node) else UNKNOWN


def _is_capped(reader, node):
    """Return whether the node is the end of a soft cap of logits, `c tanh(z / c)`."""
    inner = [reader.graph.node(each) for each in node.inputs]
    capped = [each.inputs[0] for each in inner if each.role == "tanh"]
    return bool(capped) and abs(node.constant) > 1.0 and reader.read(capped[0]).kind == "linear"


def _map_linearly(reader, node, tensor):
    return LINEAR if reader.read(node.inputs[0]).kind == "linear" else UNKNOWN


def _log_of(reader, node, tensor):
    head = reader.read(node.inputs[0])
    shape = reader.graph.shape(tensor)
    return LINEAR if head.kind == "softmax" and shape is not None and head.axis == len(shape) - 1 else UNKNOWN


_RULES = {
    "softmax": _activation("softmax"),
    "sigmoid": _activation("sigmoid"),
    "log_softmax": lambda reader, node, tensor: LINEAR,
    "variable": lambda reader, node, tensor: LINEAR,
    "log": _log_of,
    "move": _move,
    "join": _join,
    "pick": _pick,
    "contract": _contract,
    "add": _add,
    "sum": _sum,
    "multiply": _scale,
    "divide": _scale,
    "map": _map_linearly,
}
"""Role of an operation -> what it makes of the heads of its inputs."""
