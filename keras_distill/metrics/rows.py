"""What all metrics of outputs share: rows of logits, their labels and their weights."""

from typing import Any

import numpy as np
from keras import ops

from keras_distill._core.messages import expected
from keras_distill._core.tensors import same_shape
from keras_distill.answers.answer import Tensor
from keras_distill.losses.base import class_indices, expand_like, mask_of
from keras_distill.losses.divergences import working_dtype
from keras_distill.losses.heads import head_of, rows_are_probabilities
from keras_distill.metrics.heads import LABELS, find_head, label_indices, two_way_logits

_SMALLEST = 1.1754944e-38  # The smallest normal float32.
_FLOOR = -1e30
_FIX = "Pass `from_logits=False` for probabilities."


def logits_from(outputs: Any, from_logits: bool = True, owner: str = "student", head: str | None = None) -> Tensor:
    """Return the rows of logits of a model's outputs or of an array.

    Args:
        outputs: Float tensor `[..., classes]`: logits, the output of a softmax or sigmoid head, or probabilities.
        from_logits: Whether the outputs are logits or come from a softmax or sigmoid head, whose logits are then used.
            Otherwise the logits are the logarithms of the probabilities, and 0 counts as the smallest normal float32.
            Defaults to `True`.
        owner: The model that computed the outputs, for the message. Defaults to `"student"`.
        head: One of `keras_distill.metrics.heads.HEADS`. Defaults to `None`, found from the outputs.

    Returns:
        Float tensor `[..., classes]`, in float64 if the outputs are and in float32 otherwise; `[..., labels, 2]`, of no
        and yes, for a head of labels. The largest logit of each row is 0. A row with a NaN stays NaN.

    Raises:
        ValueError: If probabilities are passed as logits. In a graph this cannot be detected from the values.
    """
    outputs = ops.convert_to_tensor(outputs)
    if find_head(outputs, head=head) == LABELS:
        logits = two_way_logits(outputs, from_logits, _SMALLEST)
    elif from_logits:
        kind, logits = head_of(outputs)
        is_eager = hasattr(outputs, "numpy") and kind != "softmax" and 0 not in outputs.shape and outputs.shape[-1] > 1
        if kind == "sigmoid" or is_eager and len(outputs) > 1 and bool(rows_are_probabilities(outputs)):
            raise ValueError(expected(f"logits of the {owner}", "probabilities", _FIX))
        logits = ops.cast(logits, working_dtype(logits))
    else:
        logits = ops.cast(outputs, working_dtype(outputs))
        logits = ops.log(ops.where(logits < _SMALLEST, _SMALLEST, logits))
    logits = logits - ops.max(logits, axis=-1, keepdims=True)
    # A logit of -inf excludes a class; a finite number in its place keeps differences finite.
    logits = ops.where(logits < _FLOOR, _FLOOR, logits)
    return ops.where(has_nan(logits)[..., None], ops.full_like(logits, np.nan), logits)


def keep_nan(values: Tensor, rows: Tensor) -> Tensor:
    """Return the values `[...]` of rows, NaN for a row with a NaN: XLA's exponential and maximum may drop it."""
    return ops.where(has_nan(rows), ops.full_like(values, np.nan), values)


def has_nan(rows: Tensor) -> Tensor:
    """Return, as a bool tensor `[...]`, which rows have a NaN. Their largest number or its index does not show it."""
    return ops.any(ops.not_equal(rows, rows), axis=-1)


def split_labels(labels: Any, outputs: Tensor, head: str | None = None) -> tuple[Tensor, Tensor]:
    """Return the class indices, 0 for a missing label, and a bool tensor that is `True` for each label.

    Args:
        labels: Integer tensor `[...]` or `[..., 1]`, -1 for no label, or one-hot rows `[..., classes]`; for a head of
            labels, 0, 1 or -1 for each output.
        outputs: Tensor `[..., classes]`.
        head: One of `keras_distill.metrics.heads.HEADS`. Defaults to `None`, found from the outputs.
    """
    by_label = find_head(outputs, head=head) == LABELS
    indices = label_indices(labels, outputs) if by_label else class_indices(labels, outputs)
    return ops.maximum(indices, 0), indices >= 0


def row_weights(values: Tensor, outputs: Tensor, sample_weight: Any = None, known: Any = None) -> Tensor:
    """Return the weight of each row: its sample weight, or 0 if the mask of the outputs or `known` leaves it out.

    Args:
        values: Tensor with one value for each row.
        outputs: The student's outputs, with or without a Keras mask.
        sample_weight: Weights that broadcast to `values` from the left. Defaults to `None`.
        known: Bool tensor with one value for each row. Defaults to `None`.

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


def check_pair(teacher_outputs: Any, student_outputs: Any, classes: int = 1) -> None:
    """Raise a `ValueError` unless both have the same shape, as far as it is known, with at least `classes` classes."""
    teacher, student = tuple(teacher_outputs.shape), tuple(student_outputs.shape)
    if not same_shape(teacher, student) or not student or (student[-1] or classes) < classes:
        what = f"teacher and student outputs of one shape, with at least {classes} classes"
        raise ValueError(expected(what, f"{teacher} and {student}"))


def as_pair(teacher_outputs: Any, student_outputs: Any, classes: int = 1) -> tuple[Tensor, Tensor]:
    """Return two arrays as tensors; raise a `ValueError` unless they have the same shape and are not empty."""
    teacher, student = ops.convert_to_tensor(teacher_outputs), ops.convert_to_tensor(student_outputs)
    if tuple(teacher.shape) != tuple(student.shape) or 0 in teacher.shape or not teacher.shape:
        shapes = f"{tuple(teacher.shape)} and {tuple(student.shape)}"
        raise ValueError(expected("outputs of one shape, with at least one sample", shapes))
    check_pair(teacher, student, classes)
    return teacher, student


def labelled_rows(labels: Any, *outputs: Tensor) -> list[Tensor]:
    """Return the class indices and the rows of each output that have a label.

    Args:
        labels: Integers `[...]` or `[..., 1]`, -1 for no label, or one-hot rows `[..., classes]`.
        *outputs: Eager tensors `[..., classes]` of one shape.

    Raises:
        ValueError: If no row has a label, or a label is not a valid class.
    """
    rows = [ops.convert_to_numpy(each) for each in outputs]
    indices, classes = ops.convert_to_numpy(class_indices(labels, outputs[0])), rows[0].shape[-1]
    known = indices >= 0
    if indices.shape != rows[0].shape[:-1] or not known.any() or indices.min() < -1 or indices.max() >= classes:
        received = f"{known.sum()} labels for {indices.size} rows, outputs of shape {rows[0].shape}"
        raise ValueError(expected(f"a label from 0 to {classes - 1} (-1 for no label) for each row", received))
    return [ops.convert_to_tensor(each[known]) for each in (indices, *rows)]


def mean(values: Tensor) -> float:
    """Return the mean of an array, accumulated in float64."""
    return float(np.mean(ops.convert_to_numpy(values), dtype="float64"))


def divide_or_nan(sums: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Return `sums / weights`, NaN where the weight is 0."""
    return np.divide(sums, weights, out=np.full(len(weights), np.nan), where=weights > 0)
