"""Float layers that become several: how the way back to the float student knows where one begins and ends."""

import dataclasses


class Part:
    """Mark a layer that computes a part of what one float layer computes.

    `float_student` skips it, and everything behind it until a part that ends the float layer.
    """

    ends = False

    def whole(self, name, parts, tensors):
        """Return the float layer, built; only the part that ends it can.

        Args:
            name: str, the float layer's name.
            parts: list of all `Part`s of the float layer, in the order of the graph, repeated where ways meet.
            tensors: list of symbolic tensors that went into the first ones.
        """
        raise NotImplementedError(f"{type(self).__name__} must implement `whole(name, parts, tensors)`.")

    def called(self, layer, tensors):
        """Return what the float layer that `whole` made gives for these tensors."""
        return layer(tensors[0])


@dataclasses.dataclass
class Skipped:
    """What stands for a tensor within a float layer that is still to be made.

    Attributes:
        tensors: list of the symbolic tensors that go into the float layer.
        parts: list of the `Part`s so far.
    """

    tensors: list
    parts: list


def skipped(layer, inputs):
    """Return a `Skipped` for a layer within, or at an end of, a float layer; `None` for one that stands alone.

    Args:
        layer: the layer.
        inputs: list of its inputs, each a symbolic tensor or a `Skipped`.
    """
    if not isinstance(layer, Part) and not any(isinstance(each, Skipped) for each in inputs):
        return None
    found = Skipped([], [])
    for each in inputs:
        found.tensors += each.tensors if isinstance(each, Skipped) else [each]
        found.parts += each.parts if isinstance(each, Skipped) else []
    found.parts += [layer] if isinstance(layer, Part) else []
    return found
