"""Whether dark knowledge is transferred: how teacher and student rank the classes other than the predicted one."""

import math
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_distill._core.checked import checked
from keras_distill._core.messages import expected
from keras_distill.answers.answer import Tensor
from keras_distill.losses.divergences import working_dtype
from keras_distill.losses.heads import head_of
from keras_distill.losses.logits.top_k import is_top_k
from keras_distill.metrics.base import FidelityMetric
from keras_distill.metrics.rows import as_pair, has_nan, labelled_rows, mean


@keras.saving.register_keras_serializable(package="keras_distill")
class DarkKnowledgeCorrelation(FidelityMetric):
    """Compute the mean rank correlation of teacher and student over the classes other than the teacher's prediction.

    Beyond the label, soft targets tell how similar the classes are: the order of the classes behind the first. Two
    models may agree on every prediction and share none of this knowledge. The metric is Spearman's correlation of each
    sample, with average ranks for ties: 1.0 if the student ranks all other classes in the teacher's order, 0.0 for no
    relation, -1.0 for the opposite order. A sample for which the teacher gives all other classes the same value, or a
    NaN, is left out; a sample for which only the student does so counts as 0.0.

    Args:
        name: Name in the logs. Defaults to `"dark_knowledge_correlation"`.
        dtype: Dtype of the result. Defaults to `None`, Keras's float dtype.

    Raises:
        ValueError: At the first batch, if the outputs have fewer than 3 classes, or the teacher is a store of its top
            k classes.

    Example:

    >>> metric = DarkKnowledgeCorrelation()
    >>> metric.update_state([[9.0, 1.0, 2.0, 3.0], [9.0, 1.0, 2.0, 3.0]], [[5.0, 2.0, 4.0, 8.0], [0.0, 3.0, 2.0, 1.0]])
    >>> float(metric.result())
    0.0

    Reference:
        Spearman, "The Proof and Measurement of Association between Two Things", 1904. Hinton, Vinyals, Dean,
        "Distilling the Knowledge in a Neural Network", 2015, arXiv:1503.02531.
    """

    _direction = "up"
    _least_classes = 3

    def __init__(self, name: str = "dark_knowledge_correlation", dtype: str | None = None):
        super().__init__(name=name, dtype=dtype)

    def per_sample(self, teacher_outputs: Any, student_outputs: Tensor, temperature: Any = None) -> Tensor:
        """Return the correlation of each row: NaN where the teacher does not rank the other classes."""
        if is_top_k(teacher_outputs):
            raise ValueError(
                expected("soft targets of all classes, since their order matters", "the top k classes only")
            )
        return _correlations(teacher_outputs, student_outputs, ops.argmax(teacher_outputs, axis=-1))

    def _add_samples(self, values, weights, teacher_outputs, student_outputs):
        self._add_rows(values, ops.where(ops.isnan(values), ops.zeros_like(weights), weights))


@checked(teacher_outputs="[...]", student_outputs="[*...]", labels="[*...]")
def dark_knowledge_correlation(teacher_outputs: Any, student_outputs: Any, labels: Any = None) -> float:
    """Return the mean rank correlation of two arrays of outputs over the classes other than the predicted one.

    Args:
        teacher_outputs: Logits or probabilities `[..., classes]`, with 3 classes or more.
        student_outputs: Logits or probabilities of the same shape.
        labels: The class to leave out of each row, sparse or one-hot; -1 leaves out the row. Defaults to `None`, the
            classes that the teacher predicts.

    Returns:
        A float from -1.0 to 1.0, or NaN if the teacher does not rank the other classes of any row.

    Raises:
        ValueError: If the shapes differ, there is nothing to compare, or a label is not a valid class.

    Example:

    >>> teacher = [[9.0, 1.0, 2.0, 3.0]]
    >>> dark_knowledge_correlation(teacher, [[5.0, 2.0, 4.0, 8.0]])
    1.0
    >>> dark_knowledge_correlation(teacher, [[5.0, 2.0, 4.0, 8.0]], labels=[1])  # Correlates 9 2 3 with 5 4 8.
    0.5
    """
    teacher, student = as_pair(teacher_outputs, student_outputs, classes=3)
    if labels is None:
        left_out = ops.argmax(teacher, axis=-1)
    else:
        left_out, teacher, student = labelled_rows(labels, teacher, student)
    values = ops.convert_to_numpy(_correlations(teacher, student, left_out))
    ranked = values[~np.isnan(values)]
    return mean(ranked) if ranked.size else math.nan


def _correlations(teacher_outputs, student_outputs, left_out):
    """Return Spearman's correlation of each row over all classes but one, or NaN if the teacher's are all equal."""
    out = ops.one_hot(left_out, student_outputs.shape[-1], dtype="bool")
    dtype = working_dtype(teacher_outputs, student_outputs)
    teacher, student = (_centre_ranks(head_of(each)[1], out, dtype) for each in (teacher_outputs, student_outputs))
    product = ops.sum(teacher * student, axis=-1)
    squares = ops.sum(ops.square(teacher), axis=-1), ops.sum(ops.square(student), axis=-1)
    values = ops.divide_no_nan(product, ops.sqrt(squares[0] * squares[1]))
    values = ops.where(has_nan(student_outputs), ops.zeros_like(values), values)
    unranked = ops.logical_or(squares[0] == 0.0, has_nan(teacher_outputs))
    return ops.where(unranked, ops.full_like(values, math.nan), values)


def _centre_ranks(outputs, left_out, dtype):
    """Return the average ranks along the last axis minus their mean, from -0.5 to 0.5; 0 for the class left out."""
    # As the last of its row, that class does not change the rank of any other.
    outputs = ops.where(left_out, ops.full_like(outputs, math.inf), outputs)
    order = ops.argsort(outputs, axis=-1)
    ordered = ops.take_along_axis(outputs, order, axis=-1)
    steps = ordered[..., 1:] != ordered[..., :-1]
    edge = ops.ones_like(steps[..., :1])
    # Equal outputs share the mean of the first and the last of their positions.
    first = _last_marked(ops.concatenate([edge, steps], axis=-1))
    classes = outputs.shape[-1]
    last = classes - 1 - ops.flip(_last_marked(ops.flip(ops.concatenate([steps, edge], axis=-1), axis=-1)), axis=-1)
    positions = ops.cast(first + last, dtype) / 2.0
    ranks = ops.take_along_axis(positions, ops.argsort(order, axis=-1), axis=-1)
    return ops.where(left_out, ops.zeros_like(ranks), (ranks - (classes - 2) / 2.0) / (classes - 1))


def _last_marked(marked):
    """Return, for each position along the last axis, the last marked position up to it; position 0 is marked."""
    length, shift = marked.shape[-1], 1
    latest = ops.where(marked, ops.arange(length, dtype="int32"), 0)
    while shift < length:  # Each iteration looks back twice as far.
        reached = ops.maximum(latest[..., shift:], latest[..., :-shift])
        latest, shift = ops.concatenate([latest[..., :shift], reached], axis=-1), 2 * shift
    return latest
