"""What all metrics of outputs share: rows of logits, the labels of rows, and how much each row counts."""

import numpy as np
from keras import ops

from keras_distill._core.messages import expected
from keras_distill._core.tensors import same_shape
from keras_distill.losses.base import class_indices, expand_like, mask_of
from keras_distill.losses.divergences import working_dtype
from keras_distill.losses.heads import head_of, rows_are_probabilities

_SMALLEST = 1.1754944e-38  # Of float32, without loss of digits.
_FLOOR = -1e30
_FIX = "Say `from_logits=False` for probabilities."


def logits_from(outputs, from_logits=True, owner="student"):
    """Return rows of logits, of a model's outputs or of arrays.

    Args:
        outputs: Float tensor `[..., classes]`: logits, the output of a softmax head, or probabilities.
        from_logits: Whether it is one of the first two; the logits under a softmax are found then. If not, logits are
            the logarithms of the probabilities, of which 0 counts as the smallest float32. Defaults to `True`.
        owner: Whose outputs they are, for the message. Defaults to `"student"`.

    Returns:
        Float tensor `[..., classes]` in float32 (float64 where the outputs are), each row's largest at 0.

    Raises:
        ValueError: If they are probabilities and not said to be. In a graph, no values are there to tell by.
    """
    outputs = ops.convert_to_tensor(outputs)
    if from_logits:
        kind, logits = head_of(outputs)
        is_eager = hasattr(outputs, "numpy") and kind == "linear" and 0 not in outputs.shape and outputs.shape[-1] > 1
        if kind == "sigmoid" or is_eager and len(outputs) > 1 and bool(rows_are_probabilities(outputs)):
            raise ValueError(expected(f"logits of the {owner}", "probabilities", _FIX))
        logits = ops.cast(logits, working_dtype(logits))
    else:
        logits = ops.log(ops.maximum(ops.cast(outputs, working_dtype(outputs)), _SMALLEST))
    # A logit of -inf rules a class out; a number in its place keeps differences finite.
    return ops.maximum(logits - ops.max(logits, axis=-1, keepdims=True), _FLOOR)


def labels_of(labels, outputs):
    """Return class indices, 0 where there is no label, and a bool tensor: where there is one.

    Args:
        labels: Integer tensor `[...]` or `[..., 1]`, -1 for none, or one-hot rows `[..., classes]`.
        outputs: Tensor `[..., classes]`.
    """
    indices = class_indices(labels, outputs)
    return ops.maximum(indices, 0), indices >= 0


def row_weights(values, outputs, sample_weight=None, known=None):
    """Return how much each row counts: its sample weight, 0 where the mask of the outputs or `known` leaves it out.

    Args:
        values: Tensor of one value for each row.
        outputs: The student's outputs, with or without a Keras mask.
        sample_weight: Weights that broadcast to `values` from the left. Defaults to `None`.
        known: Bool tensor of one value for each row. Defaults to `None`.

    Returns:
        Float tensor of the shape of `values`.
    """
    weights = ops.ones_like(values, dtype=working_dtype(ops.convert_to_tensor(values)))
    for factor in (sample_weight, mask_of(outputs), known):
        if factor is not None:
            factor = ops.cast(factor, weights.dtype)
            factor = ops.squeeze(factor, -1) if len(factor.shape) > len(weights.shape) else factor
            weights = weights * expand_like(factor, weights)
    return weights


def check_pair(teacher_outputs, student_outputs, classes=1):
    """Raise a `ValueError` unless both have one shape, as far as it is known, and at least so many classes."""
    teacher, student = tuple(teacher_outputs.shape), tuple(student_outputs.shape)
    if not same_shape(teacher, student) or not student or (student[-1] or classes) < classes:
        what = f"teacher and student outputs of one shape, at least {classes} classes"
        raise ValueError(expected(what, f"{teacher} and {student}"))


def as_pair(teacher_outputs, student_outputs, classes=1):
    """Return two arrays as tensors; raise a `ValueError` unless they have one shape and hold something."""
    teacher, student = ops.convert_to_tensor(teacher_outputs), ops.convert_to_tensor(student_outputs)
    if tuple(teacher.shape) != tuple(student.shape) or 0 in teacher.shape or not teacher.shape:
        shapes = f"{tuple(teacher.shape)} and {tuple(student.shape)}"
        raise ValueError(expected("outputs of one shape, with at least one sample", shapes))
    check_pair(teacher, student, classes)
    return teacher, student


def labelled_rows(labels, *outputs):
    """Return the class indices, and of each of the outputs the rows, that have a label; of arrays.

    Args:
        labels: Integers `[...]` or `[..., 1]`, -1 for none, or one-hot rows `[..., classes]`.
        *outputs: Tensors `[..., classes]` of one shape.

    Raises:
        ValueError: If no row has a label, or a label is no class.
    """
    rows = [ops.convert_to_numpy(each) for each in outputs]
    indices, classes = ops.convert_to_numpy(class_indices(labels, outputs[0])), rows[0].shape[-1]
    known = indices >= 0
    if indices.shape != rows[0].shape[:-1] or not known.any() or indices.min() < -1 or indices.max() >= classes:
        received = f"{known.sum()} labels of {indices.size}, outputs of shape {rows[0].shape}"
        raise ValueError(expected(f"a label from 0 to {classes - 1} (-1 for none) for each row", received))
    return [ops.convert_to_tensor(each[known]) for each in (indices, *rows)]


def mean(values):
    """Return the mean of an array as a float, added up in float64."""
    return float(np.mean(ops.convert_to_numpy(values), dtype="float64"))
