"""The labelled class and the other classes: the first steps of the losses that use the label."""

import math

from keras import ops

from keras_distill.answers.answer import Tensor
from keras_distill.losses import divergences
from keras_distill.losses.kl import shift_to_largest


def target_log_odds(logits: Tensor, labels: Tensor) -> Tensor:
    """Compute `log(p_y / (1 - p_y))` of the labelled class `y` under softmax.

    It is exact however close to 0 or 1 the probability is. Its `sigmoid` is the probability, and `softplus` of its
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
    return -log_rest(shift_to_target(ops.cast(logits, divergences.working_dtype(logits)), target), target)


def target_cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """Compute the cross-entropy `-log p_y` of hard labels.

    Args:
        logits: Float array `[..., classes]`.
        labels: Integer array `[...]`, class indices.

    Returns:
        Float array `[...]`, nats, with full relative precision even where it is tiny.

    Example:

    >>> import numpy as np
    >>> round(float(target_cross_entropy(np.zeros((1, 8), "float32"), np.array([3]))[0]), 4)  # log 8
    2.0794
    """
    return ops.softplus(-target_log_odds(logits, labels))


def prepare(teacher_logits: Tensor, student_logits: Tensor, labels: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Cast teacher and student to one precision, the teacher as a constant, and mark the labelled class.

    Args:
        teacher_logits: Float array `[..., classes]`.
        student_logits: Float array `[..., classes]`.
        labels: Integer array `[...]`, class indices.

    Returns:
        Teacher and student, float arrays `[..., classes]`, and a bool array of their shape.
    """
    # Finite: from a teacher that rules out every other class, the student then learns nothing of them rather than NaN.
    teacher, student = map(shift_to_largest, divergences.cast_pair(teacher_logits, student_logits))
    return teacher, student, one_hot(labels, student)


def one_hot(labels: Tensor, logits: Tensor) -> Tensor:
    """Return a bool array of the shape of the logits that is true at the labelled class."""
    return ops.one_hot(labels, logits.shape[-1], dtype="bool")


def exclude(target: Tensor, logits: Tensor) -> Tensor:
    """Return logits that rule out the labelled class."""
    return ops.where(target, -math.inf, logits)


def shift_to_target(logits: Tensor, target: Tensor) -> Tensor:
    """Return logits minus that of the labelled class. A class that is ruled out by -inf stays finite."""
    logits = shift_to_largest(logits)
    return logits - ops.sum(ops.where(target, logits, ops.zeros_like(logits)), axis=-1, keepdims=True)


def log_rest(logits: Tensor, target: Tensor) -> Tensor:
    """Return the log-sum-exp of all classes except the labelled one."""
    return ops.logsumexp(exclude(target, logits), axis=-1)
