"""Layers that are parts of one float layer, so that `float_student` can restore the float layer."""

import dataclasses
from typing import Any


class Part:
    """Mixin of layers that compute a part of one float layer.

    `float_student` skips them, and everything after them until a part that ends the float layer.

    Attributes:
        ends: Whether the layer is the last part. Defaults to `False`.
    """

    ends = False

    def whole(self, name: str, parts: list["Part"], tensors: list[Any]) -> Any:
        """Return the float layer, built; only the last part implements this.

        Args:
            name: Name of the float layer.
            parts: All `Part`s of the float layer in the order of the graph, repeated where branches join.
            tensors: Symbolic tensors that are the inputs of the first parts.
        """
        raise NotImplementedError(f"{type(self).__name__} must implement `whole(name, parts, tensors)`.")

    def call_float(self, layer: Any, tensors: list[Any]) -> Any:
        """Return the output of the float layer that `whole` returned."""
        return layer(tensors[0])


@dataclasses.dataclass
class Skipped:
    """Placeholder of a tensor within a float layer that is not restored yet.

    Attributes:
        tensors: Symbolic tensors that are the inputs of the float layer.
        parts: The `Part`s so far.
    """

    tensors: list[Any]
    parts: list[Part]


def skip_part(layer: Any, inputs: list[Any]) -> Skipped | None:
    """Return a `Skipped` for a layer that is part of a float layer, and `None` for any other layer.

    Args:
        layer: The layer.
        inputs: Its inputs, each a symbolic tensor or a `Skipped`.
    """
    if not isinstance(layer, Part) and not any(isinstance(each, Skipped) for each in inputs):
        return None
    found = Skipped([], [])
    for each in inputs:
        found.tensors += each.tensors if isinstance(each, Skipped) else [each]
        found.parts += each.parts if isinstance(each, Skipped) else []
    found.parts += [layer] if isinstance(layer, Part) else []
    return found
