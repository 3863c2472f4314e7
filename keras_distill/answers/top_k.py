"""A teacher's answer that keeps the k largest classes of each row, and the mass of the other classes."""

import math
from collections.abc import Sequence
from typing import Any

from keras import ops
from keras.backend import standardize_dtype

from keras_distill._core import guards
from keras_distill._core.checked import checked
from keras_distill._core.messages import expected
from keras_distill.answers.answer import Answer


class TopK(Answer):
    """Hold a teacher's k greatest classes of each row, and the mass of all others.

    A loss on the k classes alone is not a divergence: the student could put mass on the other classes at no cost. So
    the other classes count as one more class, "the rest", for teacher and student alike. `reduced` returns both as
    logits of k + 1 classes. On these, any divergence that treats all classes alike remains a divergence: it is zero
    where the two agree, and a lower bound of the divergence over all classes.

    Args:
        indices: Integer tensor `[..., k]`, distinct classes in the order of `values`.
        values: Float tensor `[..., k]`, logits of these classes, the largest first.
        rest: Float tensor `[..., temperatures]`: for each T of `temperatures`, the logarithm of the sum of
            `exp(v / T)` over the other classes; -inf if there are no other classes.
        temperatures: Distinct positive numbers T, in the order of `rest`. Defaults to `(1.0,)`.
        classes: Total number of classes.
        interpolate: Whether the answer can be used at other temperatures than the stored ones. Defaults to `True`.

    Raises:
        ValueError: If temperatures, k and classes do not fit together.

    Example:

    >>> import numpy as np
    >>> teacher = TopK([[2]], [[0.0]], [[np.log(1.0)]], classes=3)  # Class 2 has half of the mass.
    >>> student = np.log([[0.2, 0.2, 0.6]])
    >>> [ops.softmax(logits).numpy().round(3).tolist() for logits in teacher.reduced(student)]
    [[[0.5, 0.5]], [[0.6, 0.4]]]
    """

    @checked(indices="[..., k]", values="[..., k]", rest="[*...]", temperatures=Sequence[float], classes=(1, math.inf))
    def __init__(
        self,
        indices: Any,
        values: Any,
        rest: Any,
        temperatures: Any = (1.0,),
        *,
        classes: int,
        interpolate: bool = True,
    ):
        self.indices, self.values, self.rest = map(ops.convert_to_tensor, (indices, values, rest))
        self.temperatures, self.classes = tuple(map(float, temperatures)), int(classes)
        self.interpolate = bool(interpolate)
        if not all(0.0 < each < math.inf for each in self.temperatures) or not self.temperatures:
            raise ValueError(expected("finite temperatures > 0", f"temperatures={temperatures!r}"))
        if self.rest.shape[-1] != len(self.temperatures) or len(set(self.temperatures)) != len(self.temperatures):
            received = f"temperatures={temperatures!r} for a rest of shape {tuple(self.rest.shape)}"
            raise ValueError(expected("one distinct temperature for each column of the rest", received))
        if not 0 < self.k <= self.classes:
            raise ValueError(expected(f"from 1 to {self.classes} classes in a row", f"k={self.k}"))

    @property
    def k(self) -> Any:
        """Number of classes that are stored for each row."""
        return self.values.shape[-1]

    @property
    def shape(self) -> Any:
        """Static shape `(..., classes)` of the logits that the answer stands for."""
        return (*tuple(self.values.shape)[:-1], self.classes)

    @property
    def dtype(self) -> Any:
        """Name of the dtype of the stored logits."""
        return standardize_dtype(self.values.dtype)

    def at(self, temperature: Any) -> Any:
        """Return itself: `reduced` takes the temperature, and the student's logits with it."""
        return self

    def __repr__(self):
        return f"TopK(k={self.k}, shape={self.shape}, temperatures={self.temperatures})"

    def reduced(self, student_logits: Any, temperature: Any = 1.0) -> Any:
        """Return the logits of teacher and student over the k classes and the rest.

        At the temperature T, `softmax(reduced / T)` is the tempered distribution with the other classes added up. For
        the teacher this is exact at the stored temperatures. At other temperatures the rest is an upper bound,
        interpolated in 1/T between the stored temperatures.

        Args:
            student_logits: Float tensor `[..., classes]`.
            temperature: Positive number or scalar tensor T. Defaults to 1.0.

        Returns:
            Two float tensors `[..., k + 1]`, the teacher's and the student's, with the rest last; `[..., k]` if k is
            the total number of classes. Both are float32, or float64 if the stored or the student's logits are float64.

        Raises:
            ValueError: If the student has another number of classes, or T is not stored and `interpolate` is `False`.
        """
        student = ops.convert_to_tensor(student_logits)
        if student.shape[-1] != self.classes:
            raise ValueError(expected(f"logits of {self.classes} classes", f"shape {tuple(student.shape)}"))
        dtype = "float64" if "float64" in (self.dtype, standardize_dtype(student.dtype)) else "float32"
        student, values = ops.cast(student, dtype), ops.cast(self.values, dtype)
        temperature = ops.cast(temperature, dtype)
        if not self.interpolate:
            values = only_at(self.temperatures, temperature, values)
        indices = ops.cast(self.indices, "int32")
        gathered = ops.take_along_axis(student, indices, axis=-1)
        if self.k == self.classes:
            return values, gathered
        of_student = temperature * log_sum_of_others(student / temperature, indices)
        of_teacher = temperature * ops.cast(self.rest_at(temperature), of_student.dtype)
        return tuple(
            ops.concatenate([logits, ops.expand_dims(rest, -1)], axis=-1)
            for logits, rest in ((values, of_teacher), (gathered, of_student))
        )

    def rest_at(self, temperature: Any) -> Any:
        """Return the logarithm of the sum of `exp(v / T)` over the other classes.

        Args:
            temperature: Positive number or scalar tensor T.

        Returns:
            Float tensor `[...]`, exact at the stored temperatures, and an upper bound at all others.
        """
        dtype = "float64" if standardize_dtype(self.rest.dtype) == "float64" else "float32"
        inverse = 1.0 / ops.cast(temperature, dtype)
        known = sorted((1.0 / each, column) for column, each in enumerate(self.temperatures))
        rest = ops.cast(self.rest, dtype)
        knots = [(ops.convert_to_tensor(beta, dtype), rest[..., column]) for beta, column in known]
        empty = ops.isneginf(knots[0][1])
        # A rest of -inf at one temperature is -inf at all of them; a number in its place keeps the arithmetic finite.
        knots = [(beta, ops.where(empty, ops.zeros_like(rest), rest)) for beta, rest in knots]
        low, rest = ops.zeros((), dtype), ops.full_like(knots[0][1], math.log(max(self.classes - self.k, 1)))
        found = rest
        for high, after in knots:
            # The rest is convex in 1/T, so a chord lies above it.
            share = (inverse - low) / (high - low)
            found = ops.where(inverse > low, (1.0 - share) * rest + share * after, found)
            low, rest = high, after
        found = ops.where(inverse > low, self._beyond(inverse / low, rest), found)
        return ops.where(empty, ops.full_like(found, -math.inf), found)

    def _beyond(self, ratio, rest):
        """Return an upper bound at a temperature `ratio` times below the lowest stored temperature.

        T times the rest falls with T, as norms fall with their order, and no other class exceeds the k-th.
        """
        lowest = ops.cast(ops.min(self.values, axis=-1), rest.dtype) / min(self.temperatures)
        return ops.minimum(ratio * rest, rest + (ratio - 1.0) * lowest)


def only_at(temperatures: Any, temperature: Any, answer: Any) -> Any:
    """Return an answer that holds at a few temperatures only, behind a check that T is one of them.

    Args:
        temperatures: Positive numbers, the temperatures of the answer.
        temperature: Positive number or scalar tensor T.
        answer: Float tensor.

    Returns:
        `answer`, behind the check.

    Raises:
        ValueError: If T is another temperature; in a graph, when the graph runs.
    """
    temperature = ops.cast(temperature, "float32")
    known = ops.any(ops.stack([ops.abs(temperature / each - 1.0) < 1e-5 for each in temperatures]))
    at = " or ".join(f"{each:g}" for each in temperatures)
    message = f"the temperature {at}, at which this teacher's soft targets were stored (write them at others as well)"
    return guards.check(known, message, [temperature], then=answer)


def log_sum_of_others(scaled: Any, indices: Any) -> Any:
    """Return the logarithm of the sum of exponentials over all classes except some.

    Args:
        scaled: Float tensor `[..., classes]`, logits divided by their temperature.
        indices: Int tensor `[..., k]`, the distinct classes to leave out.

    Returns:
        Float tensor `[...]`, -inf if all classes are left out.
    """
    classes, k = scaled.shape[-1], indices.shape[-1]
    rows = ops.reshape(scaled, (-1, classes))
    columns = ops.reshape(indices, (-1, k))
    which = ops.broadcast_to(ops.expand_dims(ops.arange(ops.shape(rows)[0], dtype="int32"), -1), ops.shape(columns))
    places = ops.reshape(ops.stack([which, columns], axis=-1), (-1, 2))
    left_out = ops.full((ops.shape(rows)[0] * k,), -math.inf, dtype=rows.dtype)
    others = ops.logsumexp(ops.scatter_update(rows, places, left_out), axis=-1)
    return ops.reshape(others, ops.shape(scaled)[:-1])
