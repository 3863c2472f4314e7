"""Rows of logits of any shape: the first steps of the losses that compare rows with each other."""

from keras import ops

from keras_distill._core.tensors import expand_like
from keras_distill.answers.answer import Tensor
from keras_distill.losses import divergences
from keras_distill.losses.kl import shift_to_largest

# Larger exponents would overflow, and there are no digits to save.
_LARGEST = 20.0


def as_rows(teacher_logits: Tensor, student_logits: Tensor, mask: Tensor = None) -> tuple[Tensor, Tensor, Tensor]:
    """Cast teacher and student to one precision, the teacher as a constant, and flatten all positions into one axis.

    Args:
        teacher_logits: Float array `[..., classes]`.
        student_logits: Float array `[..., classes]`.
        mask: Optional bool array of the leading axes: which positions count. Defaults to `None`, all.

    Returns:
        Teacher and student, float arrays `[rows, classes]` with zeros in rows that do not count, and a float array
        `[rows, 1]` with 1 for rows that count and 0 for the others.

    Example:

    >>> import numpy as np
    >>> rows, _, counted = as_rows(np.ones((2, 3, 5)), np.ones((2, 3, 5)), np.array([[True, False, True]] * 2))
    >>> rows.shape, float(ops.sum(counted))
    (TensorShape([6, 5]), 4.0)
    """
    teacher, student = ops.convert_to_tensor(teacher_logits), ops.convert_to_tensor(student_logits)
    dtype = divergences.working_dtype(teacher, student)
    counted = ops.ones_like(student, dtype="bool")
    if mask is not None:
        counted = ops.logical_and(ops.cast(expand_like(mask, student), "bool"), counted)
    rows = []
    for logits in (ops.stop_gradient(teacher), student):
        logits = ops.where(counted, ops.cast(logits, dtype), ops.cast(0.0, dtype))
        rows.append(ops.reshape(logits, (-1, student.shape[-1])))
    return *rows, ops.cast(ops.reshape(counted[..., :1], (-1, 1)), dtype)


def as_positions(values: Tensor, logits: Tensor) -> Tensor:
    """Reshape values of rows `[rows]` to the leading shape of the logits `[..., classes]` that they came from."""
    return ops.reshape(values, ops.shape(logits)[:-1])


def mean_of_rows(values: Tensor, counted: Tensor) -> Tensor:
    """Average `[rows, ...]` over the rows that count. The result is zero if no row counts."""
    return ops.sum(values * counted, axis=0) / ops.maximum(ops.sum(counted), 1.0)


def log_mean_exp(shares: Tensor, exponents: Tensor, otherwise: Tensor) -> Tensor:
    """Compute `log(sum(shares exp(exponents)))`, which stays exact for tiny exponents.

    Args:
        shares: Float array `[..., classes]` that sums to one. Constant.
        exponents: Float array `[..., classes]`.
        otherwise: Float array `[...]`, the same value as a difference of two logarithms, for values far from zero.

    Returns:
        Float array `[...]`.

    Example:

    >>> import numpy as np
    >>> float(log_mean_exp(np.array([0.25, 0.75]), np.array([1e-20, 1e-20]), np.zeros([])))
    1e-20
    """
    growth = ops.sum(shares * ops.expm1(ops.minimum(exponents, _LARGEST)), axis=-1)
    near = ops.logical_and(ops.abs(growth) < 0.5, ops.max(exponents, axis=-1) < _LARGEST)
    return ops.where(near, ops.log1p(ops.where(near, growth, ops.zeros_like(growth))), otherwise)


def softmax_and_gap(reference: Tensor, logits: Tensor, temperature: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Compute `softmax(reference / T)`, `softmax(logits / T)`, and their difference without cancellation.

    Args:
        reference: Float array `[..., classes]`. Constant.
        logits: Float array `[..., classes]`.
        temperature: Positive number, array or variable that divides both.

    Returns:
        Three float arrays `[..., classes]`. The last, the second minus the first, is exactly zero where the rows are
        the same.
    """
    reference, logits = shift_to_largest(reference), shift_to_largest(logits)
    temperature = ops.cast(temperature, logits.dtype)
    shift, reference, logits = (logits - reference) / temperature, reference / temperature, logits / temperature
    reference_total, total = ops.logsumexp(reference, axis=-1), ops.logsumexp(logits, axis=-1)
    p, q = ops.exp(reference - reference_total[..., None]), ops.exp(logits - total[..., None])
    log_ratio = shift - log_mean_exp(p, shift, otherwise=total - reference_total)[..., None]
    gap = ops.where(log_ratio < 1.0, p * ops.expm1(ops.minimum(log_ratio, 1.0)), q - p)
    # Near a probability of 1, the gains and losses of the other classes are exact, and so are their gradients.
    confident = q > 0.5
    others = ops.sum(ops.where(confident, ops.zeros_like(gap), gap), axis=-1, keepdims=True)
    return p, q, ops.where(confident, -others, gap)
