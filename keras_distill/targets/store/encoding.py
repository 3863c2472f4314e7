"""How a teacher's logits become rows of fixed fields, and logits again."""

import dataclasses
import math

import numpy as np
from keras import ops

from keras_distill._core import guards
from keras_distill._core.messages import expected, unknown_name
from keras_distill.answers.top_k import TopK, log_sum_of_others

KINDS = ("dense", "top_k")
VALUES = ("logits", "log_probabilities")
DTYPES = ("float32", "float16", "int8")

_LARGEST_HALF = float(np.finfo("float16").max)
_STEPS = 255  # Of eight bits.


@dataclasses.dataclass(frozen=True)
class Encoding:
    """Say how the answer to one example is stored.

    | kind | fields of a position |
    |---|---|
    | dense | `values [classes]` |
    | top-k | `indices [k]` in the smallest unsigned integers, `values [k]`, greatest first, `rest [temperatures]` |

    With `dtype="int8"` the values of a row are `offset + scale * values`, unsigned integers of eight bits, and there
    are the fields `scale` and `offset`. Float16 that a row of logits would overflow holds that row less its greatest
    logit, which no softmax notices.

    Attributes:
        classes: Number of classes.
        kind: `"dense"` or `"top_k"`. Defaults to `"dense"`.
        values: `"logits"` or `"log_probabilities"`. Defaults to `"logits"`.
        dtype: `"float32"`, `"float16"` or `"int8"`. Defaults to `"float16"`.
        k: Number of classes kept of each row, for top-k. Defaults to `None`.
        shape: Shape of the positions that have a row each: `()` for one row per example, `(length,)`,
            `(height, width)`; `(None,)` for sequences each of a length of its own. Defaults to `()`.
        temperatures: Temperatures at which the rest is stored. Defaults to `(1.0,)`.
        interpolate: Whether the answer holds at other temperatures than these. Defaults to `True`.

    Raises:
        ValueError: If an attribute is not what it should be.

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
    shape: tuple = ()
    temperatures: tuple = (1.0,)
    interpolate: bool = True

    def __post_init__(self):
        for name, known in (("kind", KINDS), ("values", VALUES), ("dtype", DTYPES)):
            if getattr(self, name) not in known:
                raise ValueError(unknown_name(name, getattr(self, name), known))
        object.__setattr__(self, "shape", tuple(self.shape))
        object.__setattr__(self, "temperatures", tuple(map(float, self.temperatures)))
        valid = self.temperatures and all(0.0 < each < math.inf for each in self.temperatures)
        if not valid or len(set(self.temperatures)) != len(self.temperatures):
            raise ValueError(expected("distinct temperatures > 0", f"temperatures={self.temperatures!r}"))
        if self.kind == "top_k" and not (isinstance(self.k, int) and 0 < self.k <= self.classes):
            raise ValueError(expected(f"top_k to be from 1 to {self.classes}, the classes", f"top_k={self.k!r}"))
        if self.kind == "dense" and self.k is not None:
            raise ValueError(expected('k for kind="top_k" alone', f"k={self.k!r}"))

    @property
    def ragged(self):
        """Whether each example has a length of its own."""
        return self.shape[:1] == (None,)

    @property
    def fields(self):
        """The fields of a position: a dict of name to `(dtype, shape)`."""
        width = self.classes if self.kind == "dense" else self.k
        fields = {} if self.kind == "dense" else {"indices": (_unsigned(self.classes), (width,))}
        fields["values"] = ("uint8" if self.dtype == "int8" else self.dtype, (width,))
        if self.dtype == "int8":
            fields |= {"scale": ("float32", ()), "offset": ("float32", ())}
        if self.kind == "top_k":
            fields["rest"] = ("float16" if self.dtype == "float16" else "float32", (len(self.temperatures),))
        return fields

    @property
    def bytes_per_position(self):
        """Bytes that one row of classes takes."""
        return sum(np.dtype(dtype).itemsize * math.prod(shape) for dtype, shape in self.fields.values())

    def encode(self, logits):
        """Turn logits into fields.

        Args:
            logits: Float tensor `[..., classes]`; -inf rules a class out.

        Returns:
            A dict of tensors `[..., *]` by field, and the largest difference that the storage makes to any value, a
            float32 scalar: of the logits, those of a centred row beside the centred ones.

        Raises:
            ValueError: If a logit is NaN or inf, or -inf in eight bits; in a graph, when it runs.
        """
        values = self.prepared(logits)
        if self.kind == "dense":
            fields, exact = {}, {}
        else:
            whole = values
            values, indices = ops.top_k(whole, self.k)
            fields = {"indices": ops.cast(indices, self.fields["indices"][0])}
            exact = {"rest": ops.stack([log_sum_of_others(whole / each, indices) for each in self.temperatures], -1)}
            fields["rest"] = _narrowed(exact["rest"], self.fields["rest"][0])
        fields |= self._quantized(values) if self.dtype == "int8" else {"values": _narrowed(values, self.dtype)}
        error = _difference(self._values(fields), values, self.dtype)
        for name, each in exact.items():
            error = ops.maximum(error, _difference(fields[name], each, self.dtype))
        return fields, error

    def prepared(self, logits):
        """Return what the fields hold, before it is narrowed: log-probabilities, or logits centred where need be."""
        values = ops.cast(logits, "float32")
        if values.shape[-1] != self.classes:
            raise ValueError(expected(f"logits of {self.classes} classes", f"shape {tuple(values.shape)}"))
        bad = ops.logical_or(ops.isnan(values), ops.isposinf(values))
        bad = ops.logical_or(bad, ops.isinf(values)) if self.dtype == "int8" else bad
        what = "finite logits from the teacher" + ("" if self.dtype == "int8" else ", -inf for what is ruled out")
        values = guards.check(ops.logical_not(ops.any(bad)), what, then=values)
        if self.values == "log_probabilities":
            return ops.log_softmax(values, axis=-1)
        if self.dtype != "float16":
            return values
        size = ops.max(ops.where(ops.isinf(values), ops.zeros_like(values), ops.abs(values)), axis=-1, keepdims=True)
        return ops.where(size > _LARGEST_HALF, values - ops.max(values, axis=-1, keepdims=True), values)

    def decode(self, fields):
        """Turn fields into what a loss compares.

        Args:
            fields: Dict of tensors `[batch, ..., *]` by field, as `encode` returned them.

        Returns:
            Float32 tensor `[batch, ..., classes]`, or a `TopK`.
        """
        values = self._values(fields)
        if self.kind == "dense":
            return _with_shape(values, (*self.shape, self.classes))
        indices, rest = ops.convert_to_tensor(fields["indices"]), ops.cast(fields["rest"], "float32")
        parts = [
            _with_shape(each, (*self.shape, width))
            for each, width in ((indices, self.k), (values, self.k), (rest, len(self.temperatures)))
        ]
        return TopK(*parts, self.temperatures, classes=self.classes, interpolate=self.interpolate)

    def _values(self, fields):
        values = ops.cast(fields["values"], "float32")
        if self.dtype != "int8":
            return values
        return ops.expand_dims(fields["offset"], -1) + ops.expand_dims(fields["scale"], -1) * values

    def _quantized(self, values):
        low, high = ops.min(values, axis=-1), ops.max(values, axis=-1)
        scale = (high - low) / _STEPS
        scale = ops.where(scale > 0.0, scale, ops.ones_like(scale))
        steps = ops.round((values - ops.expand_dims(low, -1)) / ops.expand_dims(scale, -1))
        return {"values": ops.cast(ops.clip(steps, 0, _STEPS), "uint8"), "scale": scale, "offset": low}

    def to_dict(self):
        """Return the attributes as JSON holds them."""
        record = dataclasses.asdict(self)
        return {**record, "shape": list(self.shape), "temperatures": list(self.temperatures)}

    @classmethod
    def from_dict(cls, record):
        """Make an encoding of what `to_dict` returned."""
        return cls(**{**record, "shape": tuple(record["shape"]), "temperatures": tuple(record["temperatures"])})


def narrowed_feature(feature, dtype):
    """Return a feature in the dtype that it is stored in, refused where float16 cannot hold it."""
    feature = ops.cast(feature, "float32")
    if dtype == "float16":
        fits = ops.max(ops.abs(feature)) <= _LARGEST_HALF
        what = 'features within float16, up to 65504 (pass dtype="float32")'
        feature = guards.check(fits, what, [ops.max(ops.abs(feature))], then=feature)
    return ops.cast(feature, dtype)


def _narrowed(values, dtype):
    """Return values in a dtype; what is too small for it becomes its least number, and only -inf stays -inf."""
    if dtype == "float16":
        clipped = ops.clip(values, -_LARGEST_HALF, _LARGEST_HALF)
        values = ops.where(ops.isneginf(values), values, clipped)
    return ops.cast(values, dtype)


def _difference(stored, exact, dtype):
    """Return the largest difference that counts: what float16 cannot hold is a probability of nothing anyway."""
    counted = ops.abs(exact) <= _LARGEST_HALF if dtype == "float16" else ops.isfinite(exact)
    far = ops.abs(ops.cast(stored, "float32") - exact)
    return ops.max(ops.where(counted, far, ops.zeros_like(far)), initial=0.0)


def _with_shape(tensor, shape):
    if hasattr(tensor, "set_shape"):
        tensor.set_shape((tensor.shape[0] if tensor.shape.rank else None, *shape))
    return tensor


def _unsigned(classes):
    return next(f"uint{bits}" for bits in (8, 16, 32) if classes <= 2**bits)
