"""The labelled class and the others: what the losses that look at the label begin with."""

import math

from keras import ops

from keras_distill.losses import divergences
from keras_distill.losses.logits.rows import from_largest


def target_log_odds(logits, labels):
    """Compute `log(p_y / (1 - p_y))` of the labelled class `y` under softmax.

    Exact however close to 0 or to 1 the probability is: `sigmoid` of it is the probability, and `softplus` of its
    negative is the cross-entropy.

    Args:
        logits: Float array `[..., classes]`.
        labels: Integer array `[...]`, class indices.

    Returns:
        Float array `[...]`.

    Example:

    >>> import numpy as np
    >>> float(target_log_odds(np.array([[1000.0, 0.0]], "float32"), np.array([0]))[0])
    1000.0
    """
    logits = ops.convert_to_tensor(logits)
    target = one_hot(labels, logits)
    return -log_rest(from_target(ops.cast(logits, divergences.working_dtype(logits)), target), target)


def target_cross_entropy(logits, labels):
    """Compute the cross-entropy `-log p_y` of hard labels.

    Args:
        logits: Float array `[..., classes]`.
        labels: Integer array `[...]`, class indices.

    Returns:
        Float array `[...]`, nats, with its full relative precision where it is next to nothing.

    Example:

    >>> import numpy as np
    >>> round(float(target_cross_entropy(np.zeros((1, 8), "float32"), np.array([3]))[0]), 4)  # log 8
    2.0794
    """
    return ops.softplus(-target_log_odds(logits, labels))


def compared(teacher_logits, student_logits, labels):
    """Bring teacher and student to one precision, the teacher as a constant, with a mask of the labelled class.

    Args:
        teacher_logits: Float array `[..., classes]`.
        student_logits: Float array `[..., classes]`.
        labels: Integer array `[...]`, class indices.

    Returns:
        Teacher and student, float arrays `[..., classes]`, and a bool array of their shape.
    """
    teacher, student = ops.convert_to_tensor(teacher_logits), ops.convert_to_tensor(student_logits)
    dtype = divergences.working_dtype(teacher, student)
    # Finite, so that a teacher that rules out every other class says nothing of them rather than NaN.
    teacher, student = (from_largest(ops.cast(each, dtype)) for each in (teacher, student))
    return ops.stop_gradient(teacher), student, one_hot(labels, student)


def one_hot(labels, logits):
    """Return a bool array of the shape of the logits, true at the labelled class."""
    return ops.one_hot(labels, logits.shape[-1], dtype="bool")


def without(target, logits):
    """Return logits that rule the labelled class out."""
    return ops.where(target, -math.inf, logits)


def from_target(logits, target):
    """Return logits relative to that of the labelled class; a class ruled out by -inf stays finite."""
    logits = from_largest(logits)
    return logits - ops.sum(ops.where(target, logits, ops.zeros_like(logits)), axis=-1, keepdims=True)


def log_rest(logits, target):
    """Return the log-sum-exp of all classes but the labelled one."""
    return ops.logsumexp(without(target, logits), axis=-1)
