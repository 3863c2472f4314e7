"""Rows of logits, whatever their shape: what the losses that compare rows with each other begin with."""

from keras import ops

from keras_distill.losses import divergences
from keras_distill.losses.base import expand_like


def as_rows(teacher_logits, student_logits, mask=None):
    """Bring teacher and student to one precision, the teacher as a constant, and all positions into one axis.

    Args:
        teacher_logits: Float array `[..., classes]`.
        student_logits: Float array `[..., classes]`.
        mask: Optional bool array of the leading axes: which positions count. Defaults to `None`, all.

    Returns:
        Teacher and student, float arrays `[rows, classes]` with zeros in rows that do not count, and a float array
        `[rows, 1]`: 1 for those that do, 0 for the others.

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


def as_positions(values, logits):
    """Return values of rows `[rows]` in the leading shape of the logits `[..., classes]` that they came from."""
    return ops.reshape(values, ops.shape(logits)[:-1])


def mean_of_rows(values, counted):
    """Average `[rows, ...]` over the rows that count; zero where none does."""
    return ops.sum(values * counted, axis=0) / ops.maximum(ops.sum(counted), 1.0)
