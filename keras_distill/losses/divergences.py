"""Divergences between a teacher's and a student's distribution: pure functions with one value per sample.

Each function takes logits of shape `[..., classes]`, computes in float32 (in float64 if the logits are float64), treats
the teacher as a constant, and sums over the classes. No function multiplies by T²: the loss classes do.
"""

import math
from collections.abc import Callable
from typing import Any

import keras
from keras import ops
from keras.backend import backend, standardize_dtype

from keras_distill._core.checked import checked
from keras_distill.answers.answer import Tensor
from keras_distill.losses.kl import divergence, divergence_and_slopes, map_rows, shift_to_largest

# Below this |log(q/p)| the series is the more exact form of exp(d) - 1 - d, above it the difference is.
_SERIES_LIMIT = {"float32": 0.3, "float64": 0.03}
_OF_ABSOLUTE_DIFFERENCES = (keras.losses.mean_absolute_error, keras.losses.mean_absolute_percentage_error)


@checked(teacher_logits="[..., classes]", student_logits="[..., classes]")
def kl_divergence(teacher_logits: Tensor, student_logits: Tensor, temperature: Tensor = 1.0) -> Tensor:
    """Compute `KL(p, q)` between the tempered teacher `p` and the tempered student `q`.

    It is the sum of `p (exp(d) - 1 - d)` with `d = log(q / p)`. Every summand is positive, so nothing cancels, and the
    divergence stays exact both where the two distributions are nearly equal (a high temperature) and where they are as
    far apart as float32 can represent (a logit gap of thousands). Its gradient is computed with it, as
    `q - p = (p + q) tanh(d / 2)`, so that training costs little more than the value. There are no second derivatives.

    Args:
        teacher_logits: Float array `[..., classes]`. Constant: no gradient reaches it.
        student_logits: Float array `[..., classes]`.
        temperature: Positive number, array or variable that divides both. Defaults to 1.0.

    Returns:
        Float array `[...]`, nats, never negative.

    Example:

    >>> import numpy as np
    >>> z = np.array([[1.0, 2.0, 3.0]], "float32")
    >>> float(kl_divergence(z, z + 5.0)[0])
    0.0

    Reference:
        Hinton, Vinyals, Dean, "Distilling the Knowledge in a Neural Network", 2015, arXiv:1503.02531.
    """
    teacher, student, temperature = _cast_all(teacher_logits, student_logits, temperature)
    return divergence(teacher, student, temperature * ops.ones_like(student[..., :1]))


@checked(teacher_logits="[..., classes]", student_logits="[..., classes]")
def kl_divergence_and_slopes(
    teacher_logits: Tensor, student_logits: Tensor, temperature: Tensor = 1.0
) -> tuple[Tensor, Tensor]:
    """Compute `kl_divergence` and its slopes in the tempered student, for callers that form a gradient themselves.

    Args:
        teacher_logits: Float array `[..., classes]`.
        student_logits: Float array `[..., classes]`.
        temperature: Positive number, array or variable that divides both. Defaults to 1.0.

    Returns:
        `(values, slopes)`: float arrays `[...]`, nats, and `[..., classes]`, `q - p` to full relative precision. They
        have no gradients of their own.

    Example:

    >>> import numpy as np
    >>> _, slopes = kl_divergence_and_slopes(np.zeros((1, 2), "float32"), np.array([[0.0, 1e-6]], "float32"))
    >>> print([f"{slope:.4e}" for slope in slopes[0].numpy()])  # A probability near 0.5 is exact to 6e-8
    ['-2.5000e-07', '2.5000e-07']
    """
    teacher, student, temperature = _cast_all(teacher_logits, student_logits, temperature)
    rows = teacher, student, temperature * ops.ones_like(student[..., :1])
    values, slopes, _ = map_rows(divergence_and_slopes, *rows)
    return values[..., 0], slopes


@checked(teacher_logits="[..., classes]", student_logits="[..., classes]")
def soft_cross_entropy(teacher_logits: Tensor, student_logits: Tensor, temperature: Tensor = 1.0) -> Tensor:
    """Compute the cross-entropy `-sum_i p_i log q_i` of the tempered student under the tempered teacher.

    It differs from `kl_divergence` by the teacher's entropy, a constant: the gradients are the same,
    `(1/T) (softmax(z/T)_i - softmax(v/T)_i)` with respect to the student logit `z_i`.

    Args:
        teacher_logits: Float array `[..., classes]`. Constant: no gradient reaches it.
        student_logits: Float array `[..., classes]`.
        temperature: Positive number, array or variable that divides both. Defaults to 1.0.

    Returns:
        Float array `[...]`, nats.

    Example:

    >>> import numpy as np
    >>> z = np.zeros((1, 8), "float32")
    >>> round(float(soft_cross_entropy(z, z)[0]), 4)  # log 8
    2.0794

    Reference:
        Hinton, Vinyals, Dean, "Distilling the Knowledge in a Neural Network", 2015, arXiv:1503.02531.
    """
    # Not -sum(p log_softmax): if p and q are concentrated on one class, float32 leaves only rounding of it.
    divergence = kl_divergence(teacher_logits, student_logits, temperature)
    return divergence + teacher_entropy(teacher_logits, student_logits, temperature)


@checked(teacher_logits="[..., classes]", student_logits="[..., classes]")
def logit_matching(teacher_logits: Tensor, student_logits: Tensor) -> Tensor:
    """Compute half the mean squared difference of the centered logits: the limit of `T² KL` as T grows.

    Args:
        teacher_logits: Float array `[..., classes]`. Constant: no gradient reaches it.
        student_logits: Float array `[..., classes]`.

    Returns:
        Float array `[...]`.

    Example:

    >>> import numpy as np
    >>> v, z = np.array([[2.0, 0.0, 1.0]], "float32"), np.array([[0.0, 1.0, 2.0]], "float32")
    >>> limit, value = logit_matching(v, z), 1e6 * kl_divergence(v, z, temperature=1e3)
    >>> round(float(limit[0]), 2), round(float(value[0]), 2)
    (1.0, 1.0)

    Reference:
        Hinton, Vinyals, Dean, "Distilling the Knowledge in a Neural Network", 2015, arXiv:1503.02531, section 2.1.
    """
    teacher, student, _ = _tempered(teacher_logits, student_logits, 1.0)
    difference = student - teacher
    difference = difference - ops.mean(difference, axis=-1, keepdims=True)
    return 0.5 * ops.mean(ops.square(difference), axis=-1)


@checked(teacher_logits="[..., classes]", student_logits="[..., classes]")
def distributions(
    teacher_logits: Tensor, student_logits: Tensor, temperature: Tensor = 1.0
) -> tuple[Tensor, Tensor, Tensor]:
    """Compute both tempered distributions and the logarithm of their ratio, from which all divergences follow.

    Args:
        teacher_logits: Float array `[..., classes]`. Constant: no gradient reaches it.
        student_logits: Float array `[..., classes]`.
        temperature: Positive number, array or variable that divides both. Defaults to 1.0.

    Returns:
        `(p, q, log(q / p))`, float arrays `[..., classes]`. The logarithm is finite and exact even where both
        probabilities underflow, and exactly zero where teacher and student are the same.

    Example:

    >>> import numpy as np
    >>> p, q, log_ratio = distributions(np.array([[0.0, 0.0]], "float32"), np.array([[0.0, -1000.0]], "float32"))
    >>> q.numpy().tolist(), round(float(log_ratio[0, 1]))
    ([[1.0, 0.0]], -999)
    """
    teacher, student, temperature = _tempered(teacher_logits, student_logits, temperature)
    teacher_norm = ops.logsumexp(teacher / temperature, axis=-1, keepdims=True)
    student_norm = ops.logsumexp(student / temperature, axis=-1, keepdims=True)
    p = ops.exp(teacher / temperature - teacher_norm)
    q = ops.exp(student / temperature - student_norm)
    # Not log q - log p: both have the rounding of log(classes), which at a high temperature exceeds their difference.
    return p, q, (student - teacher) / temperature - (student_norm - teacher_norm)


@checked(p="[..., classes]", q="[..., classes]", log_ratio="[..., classes]", share=(0.0, 1.0))
def mixture_divergence(p: Tensor, q: Tensor, log_ratio: Tensor, share: float) -> Tensor:
    """Compute `KL(p, m)` to the mixture `m = (1 - share) p + share q`. With a share of 1 it is `KL(p, q)`.

    For `KL(q, m)`, swap `p` and `q` and negate the logarithm.

    Args:
        p: Float array `[..., classes]`, probabilities.
        q: Float array `[..., classes]`, probabilities.
        log_ratio: Float array `[..., classes]`, `log(q / p)`.
        share: Number from 0.0 to 1.0, the weight of `q` in the mixture.

    Returns:
        Float array `[...]`, nats, never negative.

    Example:

    >>> import numpy as np
    >>> p, q, log_ratio = distributions(np.array([[0.0, 1000.0]], "float32"), np.array([[1000.0, 0.0]], "float32"))
    >>> round(float(mixture_divergence(p, q, log_ratio, 0.5)[0]), 4)  # Nothing in common: log 2
    0.6931
    """
    if share < 1.0:
        q, log_ratio = (1.0 - share) * p + share * q, _log_mixture(log_ratio, share)
    values = ops.sum(_expected_excess(p, q, log_ratio), axis=-1)
    # If p is trained, its gradient compares the logarithms with their mean. Measured from that of the likeliest class,
    # which is close to the mean, no large numbers cancel. The value is unchanged: probabilities always add up to 1.
    likeliest = ops.take_along_axis(log_ratio, ops.argmax(p, axis=-1, keepdims=True), axis=-1)
    total = ops.sum(p, axis=-1)
    return values + ops.stop_gradient(likeliest[..., 0]) * (total - ops.stop_gradient(total))


@checked(teacher_logits="[..., classes]", student_logits="[..., classes]")
def teacher_entropy(teacher_logits: Tensor, student_logits: Tensor, temperature: Tensor = 1.0) -> Tensor:
    """Compute the entropy of the tempered teacher, in the precision of a divergence between both models.

    Args:
        teacher_logits: Float array `[..., classes]`. Constant: no gradient reaches it.
        student_logits: Float array `[..., classes]`, of which only the precision is used.
        temperature: Positive number, array or variable that divides the logits. Defaults to 1.0.

    Returns:
        Float array `[...]`, nats.

    Example:

    >>> import numpy as np
    >>> round(float(teacher_entropy(np.zeros((1, 8), "float32"), np.zeros((1, 8), "float32"))[0]), 4)  # log 8
    2.0794
    """
    teacher, _, temperature = _tempered(teacher_logits, student_logits, temperature)
    return _entropy(teacher / temperature)


def working_dtype(*tensors: Tensor) -> str:
    """Return `"float64"` if one of the tensors is float64, else `"float32"`."""
    return "float64" if "float64" in [standardize_dtype(tensor.dtype) for tensor in tensors] else "float32"


def wide_dtype(dtype: str) -> str:
    """Return `"float64"` if the backend has it, else `dtype`: for differences that lose digits to cancellation."""
    return dtype if backend() == "jax" else "float64"


def cast_pair(teacher: Tensor, student: Tensor) -> tuple[Tensor, Tensor]:
    """Cast teacher and student to the precision that losses are computed in, with the teacher as a constant.

    Args:
        teacher: Float array of any kind.
        student: Float array of any kind.

    Returns:
        `(teacher, student)`, both float32, or float64 if one of them is.
    """
    teacher, student = ops.convert_to_tensor(teacher), ops.convert_to_tensor(student)
    dtype = working_dtype(teacher, student)
    return ops.stop_gradient(ops.cast(teacher, dtype)), ops.cast(student, dtype)


def absolute(x: Tensor) -> Tensor:
    """Compute `|x|`, with a slope of 0 at 0 on every backend. On JAX, `keras.ops.abs` has a slope of 1 there.

    Args:
        x: Float array.

    Returns:
        Float array of the shape of `x`.

    Example:

    >>> import numpy as np
    >>> absolute(np.array([-2.0, 0.0, 3.0])).numpy().tolist()
    [2.0, 0.0, 3.0]
    """
    return ops.where(ops.equal(x, 0), ops.zeros_like(x), ops.abs(x)) if backend() == "jax" else ops.abs(x)


def hold_equal(compare: Callable[[Tensor, Tensor], Tensor], loss: Any) -> Callable[[Tensor, Tensor], Tensor]:
    """Return a comparison by absolute differences that has no gradient where student and teacher are equal.

    Args:
        compare: Function `(teacher, student) -> values` of a Keras loss.
        loss: The Keras loss, a function or an object. The comparison by any other loss is returned as it is.

    Returns:
        A function `(teacher, student) -> values`. See `absolute` for the reason.

    Example:

    >>> import keras
    >>> compare = hold_equal(keras.losses.mean_absolute_error, keras.losses.mean_absolute_error)
    >>> float(compare(ops.zeros((1, 2)), ops.ones((1, 2)))[0])
    1.0
    """
    if backend() != "jax" or getattr(loss, "fn", loss) not in _OF_ABSOLUTE_DIFFERENCES:
        return compare

    def compare_unequal(teacher: Tensor, student: Tensor) -> Tensor:
        return compare(teacher, ops.where(ops.equal(teacher, student), ops.stop_gradient(student), student))

    return compare_unequal


def _tempered(teacher_logits, student_logits, temperature):
    """Cast all three to one precision, and shift each row's largest logit to 0, which changes no softmax."""
    teacher, student, temperature = _cast_all(teacher_logits, student_logits, temperature)
    return shift_to_largest(teacher), shift_to_largest(student), temperature


def _cast_all(teacher_logits, student_logits, temperature):
    teacher, student = cast_pair(teacher_logits, student_logits)
    return teacher, student, ops.cast(temperature, student.dtype)


def _entropy(logits):
    """Return the entropy of rows of logits whose largest is 0: exact even if that class has nearly all of the mass."""
    largest = ops.one_hot(ops.argmax(logits, axis=-1), ops.shape(logits)[-1], dtype="bool")
    others = ops.sum(ops.where(largest, ops.zeros_like(logits), ops.exp(logits)), axis=-1)
    return ops.log1p(others) - ops.sum(ops.softmax(logits, axis=-1) * logits, axis=-1)


def _expected_excess(p, q, d):
    """Return `p (exp(d) - 1 - d)`, where `q = p exp(d)`, without cancellation for small `d` nor overflow for large."""
    small = ops.abs(d) < _SERIES_LIMIT[standardize_dtype(d.dtype)]
    # The branch that is not taken must be finite too: its gradient is multiplied by zero, not skipped.
    e = ops.where(small, d, ops.zeros_like(d))
    series = e * e / 2 * (1 + e / 3 * (1 + e / 4 * (1 + e / 5 * (1 + e / 6 * (1 + e / 7)))))
    # From p and d if possible: p and q are rounded separately, which shows in their difference.
    bounded = ops.minimum(d, 1.0)
    plain = ops.where(d < 1.0, p * (ops.expm1(bounded) - bounded), q - p - p * d)
    return ops.where(small, p * series, plain)


def _log_mixture(d, share):
    """Return `log(1 - share + share exp(d))`, the log-ratio of the mixture to `p`, where `d = log(q / p)`."""
    if share == 0.0:
        return ops.zeros_like(d)
    excess = share * ops.expm1(ops.minimum(d, 30.0))
    near = ops.abs(excess) < 0.5
    # The branch that is not taken must be finite too, and so must its gradient.
    close = ops.log1p(share * ops.expm1(ops.where(near, d, ops.zeros_like(d))))
    far = math.log1p(-share) + ops.softplus(d + math.log(share) - math.log1p(-share))
    return ops.where(near, close, far)
