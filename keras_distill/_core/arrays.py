"""The axes of arrays: a notation for them, as in `[batch, ..., classes]`, and whether several arrays agree."""

from collections.abc import Collection, Mapping
from typing import Any

import numpy as np

from keras_distill._core.messages import expected

_NO_NUMBERS = ("str", "bytes", "object", "complex", "string", "datetime", "timedelta", "void", "resource", "variant")
_INTEGERS = ("int", "uint", "bool")


class Axes:
    """The axes that an array must have.

    Args:
        text: Names of axes in brackets, such as `"[batch, ..., classes]"`. `...` stands for any number of axes. A name,
            or `...`, has the same length in all arrays; `*` and `*...` are axes of any length. `int` before the
            bracket means integers.

    Example:

    >>> lengths = {}
    >>> Axes("[batch, classes]").match((4, 3), lengths), lengths
    (True, {'batch': 4, 'classes': 3})
    >>> Axes("[..., classes]").match((7, 4, 5), lengths)
    False
    """

    def __init__(self, text: str):
        self.text = text.removeprefix("int ")
        self.integers = text.startswith("int ")
        self.names = self.text.strip("[]").split(", ")
        dots = [place for place, name in enumerate(self.names) if name.endswith("...")]
        self.dots = dots[0] if dots else None

    def match(self, shape: tuple[int | None, ...], lengths: dict[str, Any]) -> bool:
        """Return whether a shape has these axes, with the lengths of names seen before; add those of the others."""
        dots = 0 if self.dots is None else 1
        if len(shape) < len(self.names) - dots or (not dots and len(shape) > len(self.names)):
            return False
        if self.dots is None:
            return all(_agree(name, length, lengths) for name, length in zip(self.names, shape, strict=True))
        after = len(self.names) - self.dots - 1
        middle = shape[self.dots : len(shape) - after]
        before, behind = shape[: self.dots], shape[len(shape) - after :]
        named = [*zip(self.names, before, strict=False), *zip(self.names[self.dots + 1 :], behind, strict=True)]
        return _agree_on_several(self.names[self.dots], middle, lengths) and all(
            _agree(name, length, lengths) for name, length in named
        )


def check_axes(arrays: Mapping[str, Any], axes: Mapping[str, Axes], optional: Collection[str] = ()) -> None:
    """Raise a `ValueError` unless all arrays hold numbers and agree on the lengths of their axes.

    Args:
        arrays: The arrays by the name of their argument; tensors may be symbolic, and lengths unknown.
        axes: Their axes, by the same names.
        optional: Names of the arrays that may be `None`. Defaults to `()`.
    """
    shapes: dict[str, Any] = {}
    lengths: dict[str, Any] = {}
    fits = True
    for name, array in arrays.items():
        if array is None and name in optional:
            continue
        shapes[name] = _shape_of_numbers(name, array, axes[name].integers)
        fits = fits and (shapes[name] is None or axes[name].match(shapes[name], lengths))
    if not fits:
        what = ", ".join(f"{name} {axes[name].text}" for name in shapes)
        raise ValueError(expected(what, ", ".join(f"{name} of shape {shape}" for name, shape in shapes.items())))


def _shape_of_numbers(name, array, integers):
    """Return the shape of an array or a nest of numbers, `None` if its rank is unknown; raise for anything else."""
    if not hasattr(array, "shape") or not hasattr(array, "dtype"):
        array = _as_array(name, array)
    dtype = getattr(array.dtype, "name", str(array.dtype))
    if dtype.startswith(_NO_NUMBERS) or (integers and not dtype.startswith(_INTEGERS)):
        what = "integers" if integers else "an array of numbers"
        raise ValueError(expected(f"{name} to be {what}", f"{name} of type {dtype}"))
    return None if getattr(array.shape, "rank", 0) is None else tuple(array.shape)


def _as_array(name, value):
    try:
        return np.asarray(value)
    except (TypeError, ValueError):
        received = f"{name}={value!r:.200}"
        raise ValueError(expected(f"{name} to be an array of numbers", received)) from None


def _agree(name, length, lengths):
    if name == "*":
        return True
    known = lengths.get(name)
    if known is None:
        lengths[name] = length
    return known is None or length is None or known == length


def _agree_on_several(name, shape, lengths):
    known = shape if name == "*..." else lengths.setdefault(name, shape)
    return len(known) == len(shape) and all(a == b or None in (a, b) for a, b in zip(known, shape, strict=True))
