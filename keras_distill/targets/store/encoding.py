"""Encoding: a teacher's logits become fields of fixed sizes, and the fields become logits again."""

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from keras import ops

from keras_distill._core import guards
from keras_distill._core.checks import check_choice, check_flag, check_items, check_temperatures, check_whole_number
from keras_distill._core.messages import expected
from keras_distill.answers.answer import Tensor
from keras_distill.answers.top_k import TopK, log_sum_of_others

KINDS = ("dense", "top_k")
VALUES = ("logits", "log_probabilities")
DTYPES = ("float32", "float16", "int8")

_LARGEST_HALF = float(np.finfo("float16").max)
_STEPS = 255  # Between the 256 values of eight bits.


@dataclasses.dataclass(frozen=True)
class Encoding:
    """Describe how the teacher's answer to one example is stored.

    | kind | fields of a position |
    |---|---|
    | dense | `values [classes]` |
    | top-k | `indices [k]` in the smallest unsigned integers, `values [k]`, largest first, `rest [temperatures]` |

    With `dtype="int8"`, `values` are unsigned integers of eight bits that stand for `offset + scale * values`, and
    there are two more fields, `scale` and `offset`. If a row of logits overflows float16, its largest logit is
    subtracted from the row, which changes no softmax.

    Attributes:
        classes: Number of classes.
        kind: `"dense"` or `"top_k"`. Defaults to `"dense"`.
        values: `"logits"` or `"log_probabilities"`. Defaults to `"logits"`.
        dtype: `"float32"`, `"float16"` or `"int8"`. Defaults to `"float16"`.
        k: Number of classes kept in each row, for top-k. Defaults to `None`.
        shape: Shape of the positions of one example, each with a row of classes: `()` for one row per example,
            `(length,)`, `(height, width)`, or `(None,)` for sequences of different lengths. Defaults to `()`.
        temperatures: Temperatures at which the rest is stored. Defaults to `(1.0,)`.
        interpolate: Whether the answer can be used at other temperatures. Defaults to `True`.

    Raises:
        ValueError: If an attribute is invalid.

    Example:

    >>> encoding = Encoding(classes=5, kind="top_k", k=2)
    >>> fields, error = encoding.encode(np.array([[0.0, 3.0, 0.0, 1.0, 0.0]], "float32"))
    >>> fields["indices"].numpy().tolist(), fields["values"].numpy().tolist()
    ([[1, 3]], [[3.0, 1.0]])
    >>> encoding.decode(fields)
    TopK(k=2, shape=(1, 5), temperatures=(1.0,))
    """

    classes: int
    kind: str = "dense"
    values: str = "logits"
    dtype: str = "float16"
    k: int | None = None
    shape: tuple[int | None, ...] = ()
    temperatures: tuple[float, ...] = (1.0,)
    interpolate: bool = True

    def __post_init__(self):
        for name, known in (("kind", KINDS), ("values", VALUES), ("dtype", DTYPES)):
            check_choice(name, getattr(self, name), known)
        check_whole_number("classes", self.classes)
        check_flag("interpolate", self.interpolate)
        shape = check_items("shape", self.shape, "the sizes of an answer's axes before the classes")
        object.__setattr__(
            self,
            "shape",
            tuple(None if each is None else check_whole_number("each size in shape", each, 0) for each in shape),
        )
        object.__setattr__(self, "temperatures", check_temperatures(self.temperatures))
        valid = self.temperatures and all(0.0 < each < math.inf for each in self.temperatures)
        if not valid or len(set(self.temperatures)) != len(self.temperatures):
            raise ValueError(expected("distinct temperatures > 0", f"temperatures={self.temperatures!r}"))
        if self.kind == "top_k":
            object.__setattr__(self, "k", check_whole_number("top_k", self.k, 1, self.classes))
        elif self.k is not None:
            raise ValueError(expected('k=None for kind="dense"', f"k={self.k!r}"))

    @property
    def ragged(self) -> bool:
        """Whether the length differs from example to example."""
        return self.shape[:1] == (None,)

    @property
    def fields(self) -> dict[str, tuple[str, tuple[int, ...]]]:
        """The fields of a position: a dict of name to `(dtype, shape)`."""
        width = self.k or self.classes
        fields: dict[str, tuple[str, tuple[int, ...]]] = {}
        if self.kind == "top_k":
            fields["indices"] = (_unsigned_dtype(self.classes), (width,))
        fields["values"] = ("uint8" if self.dtype == "int8" else self.dtype, (width,))
        if self.dtype == "int8":
            fields |= {"scale": ("float32", ()), "offset": ("float32", ())}
        if self.kind == "top_k":
            fields["rest"] = ("float16" if self.dtype == "float16" else "float32", (len(self.temperatures),))
        return fields

    @property
    def bytes_per_position(self) -> int:
        """Number of bytes of one position."""
        return sum(np.dtype(dtype).itemsize * math.prod(shape) for dtype, shape in self.fields.values())

    def encode(self, logits: Tensor) -> tuple[dict[str, Tensor], Tensor]:
        """Encode logits as fields.

        Args:
            logits: Float tensor `[..., classes]`; -inf excludes a class.

        Returns:
            A dict of field name to tensor `[..., *]`, and a float32 scalar: the largest difference between a stored
            value and the exact one. For a row that was centred, the exact values are the centred ones.

        Raises:
            ValueError: If a logit is NaN or inf, or -inf with `dtype="int8"`; in a graph, when the graph runs.
        """
        values = self.prepared(logits)
        if self.kind == "dense":
            fields, exact = {}, {}
        else:
            whole = values
            values, indices = ops.top_k(whole, self.k)
            fields = {"indices": ops.cast(indices, self.fields["indices"][0])}
            exact = {"rest": ops.stack([log_sum_of_others(whole / each, indices) for each in self.temperatures], -1)}
            fields["rest"] = _cast(exact["rest"], self.fields["rest"][0])
        fields |= self._quantize(values) if self.dtype == "int8" else {"values": _cast(values, self.dtype)}
        error = _difference(self._values(fields), values, self.dtype)
        for name, each in exact.items():
            error = ops.maximum(error, _difference(fields[name], each, self.dtype))
        return fields, error

    def prepared(self, logits: Tensor) -> Tensor:
        """Return the values to store, in float32: log-probabilities, or logits centred where float16 requires it."""
        values = ops.cast(logits, "float32")
        if values.shape[-1] != self.classes:
            raise ValueError(expected(f"logits of {self.classes} classes", f"shape {tuple(values.shape)}"))
        bad = ops.logical_or(ops.isnan(values), ops.isposinf(values))
        bad = ops.logical_or(bad, ops.isinf(values)) if self.dtype == "int8" else bad
        what = "finite logits from the teacher" + ("" if self.dtype == "int8" else ", or -inf for an excluded class")
        values = guards.check(ops.logical_not(ops.any(bad)), what, then=values)
        if self.values == "log_probabilities":
            return ops.log_softmax(values, axis=-1)
        if self.dtype != "float16":
            return values
        size = ops.max(ops.where(ops.isinf(values), ops.zeros_like(values), ops.abs(values)), axis=-1, keepdims=True)
        return ops.where(size > _LARGEST_HALF, values - ops.max(values, axis=-1, keepdims=True), values)

    def decode(self, fields: dict[str, Any]) -> Any:
        """Decode fields into the answer that a loss takes.

        Args:
            fields: Dict of field name to tensor `[batch, ..., *]`, as `encode` returns it.

        Returns:
            Float32 tensor `[batch, ..., classes]`, or a `TopK`.
        """
        values = self._values(fields)
        if self.kind == "dense":
            return _set_shape(values, (*self.shape, self.classes))
        indices = _set_shape(ops.convert_to_tensor(fields["indices"]), (*self.shape, self.k))
        values = _set_shape(values, (*self.shape, self.k))
        rest = _set_shape(ops.cast(fields["rest"], "float32"), (*self.shape, len(self.temperatures)))
        return TopK(indices, values, rest, self.temperatures, classes=self.classes, interpolate=self.interpolate)

    def _values(self, fields: dict[str, Any]) -> Tensor:
        values = ops.cast(fields["values"], "float32")
        if self.dtype != "int8":
            return values
        return ops.expand_dims(fields["offset"], -1) + ops.expand_dims(fields["scale"], -1) * values

    def _quantize(self, values: Tensor) -> dict[str, Tensor]:
        low, high = ops.min(values, axis=-1), ops.max(values, axis=-1)
        scale = (high - low) / _STEPS
        scale = ops.where(scale > 0.0, scale, ops.ones_like(scale))
        steps = ops.round((values - ops.expand_dims(low, -1)) / ops.expand_dims(scale, -1))
        return {"values": ops.cast(ops.clip(steps, 0, _STEPS), "uint8"), "scale": scale, "offset": low}

    def to_dict(self) -> dict[str, Any]:
        """Return the attributes as plain values for JSON."""
        record = dataclasses.asdict(self)
        return {**record, "shape": list(self.shape), "temperatures": list(self.temperatures)}

    @classmethod
    def from_dict(cls, record: dict[str, Any]) -> "Encoding":
        """Create an encoding from the return value of `to_dict`."""
        return cls(**{**record, "shape": tuple(record["shape"]), "temperatures": tuple(record["temperatures"])})


def narrowed_feature(feature: Tensor, dtype: str) -> Tensor:
    """Return a feature in the dtype that it is stored in; raise a `ValueError` if it overflows float16."""
    feature = ops.cast(feature, "float32")
    if dtype == "float16":
        fits = ops.max(ops.abs(feature)) <= _LARGEST_HALF
        what = 'features within float16, up to 65504 (pass dtype="float32")'
        feature = guards.check(fits, what, [ops.max(ops.abs(feature))], then=feature)
    return ops.cast(feature, dtype)


def _cast(values: Tensor, dtype: str) -> Tensor:
    """Return values in a dtype, clipped to its range; only -inf stays -inf."""
    if dtype == "float16":
        clipped = ops.clip(values, -_LARGEST_HALF, _LARGEST_HALF)
        values = ops.where(ops.isneginf(values), values, clipped)
    return ops.cast(values, dtype)


def _difference(stored: Tensor, exact: Tensor, dtype: str) -> Tensor:
    """Return the largest difference. A value below the range of float16 is not counted: its probability is zero."""
    counted = ops.abs(exact) <= _LARGEST_HALF if dtype == "float16" else ops.isfinite(exact)
    far = ops.abs(ops.cast(stored, "float32") - exact)
    return ops.max(ops.where(counted, far, ops.zeros_like(far)), initial=0.0)


def _set_shape(tensor: Tensor, shape: Sequence[int | None]) -> Tensor:
    if hasattr(tensor, "set_shape"):
        tensor.set_shape((tensor.shape[0] if tensor.shape.rank else None, *shape))
    return tensor


def _unsigned_dtype(classes: int) -> str:
    return next(f"uint{bits}" for bits in (8, 16, 32) if classes <= 2**bits)
