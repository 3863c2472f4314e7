"""Agreement: how often student and teacher predict the same class or label, over all samples and for each class."""

from typing import Any

import keras
import numpy as np
from keras import ops

from keras_distill._core.checked import checked
from keras_distill._core.checks import check_whole_number
from keras_distill._core.messages import expected
from keras_distill.answers.answer import Tensor
from keras_distill.losses.logits.top_k import as_one_hot
from keras_distill.metrics.base import FidelityMetric, weighted_sum
from keras_distill.metrics.heads import LABELS, check_head, decisions, find_head
from keras_distill.metrics.rows import as_pair, divide_or_nan, has_nan, mean


@keras.saving.register_keras_serializable(package="keras_distill")
class Agreement(FidelityMetric):
    """Compute the fraction of samples on which the student predicts what its teacher predicts.

    Under a softmax that is the most likely class. A single output, or each of several outputs under a sigmoid, is a
    decision of its own: both models have to be on the same side of a probability of 0.5, which is a logit of 0, and the
    agreement is the mean over all labels. A student whose outputs are NaN agrees with nothing.

    Args:
        name: Name in the logs. Defaults to `"agreement"`.
        dtype: Dtype of the result. Defaults to `None`, Keras's float dtype.
        head: `"classes"` or `"labels"`, what the outputs decide. Defaults to `None`: found from the heads of the models
            and, in a `Distiller`, from its loss. A linear head of several outputs counts as one of classes unless its
            loss is a binary cross-entropy.

    Example:

    >>> metric = Agreement()
    >>> metric.update_state([[0.1, 0.9], [0.8, 0.2]], [[1.0, 3.0], [0.0, 2.0]])
    >>> float(metric.result())
    0.5
    >>> metric = Agreement(head="labels")
    >>> metric.update_state([[0.1, 0.9], [0.8, 0.2]], [[0.2, 0.7], [0.7, 0.8]])
    >>> float(metric.result())
    0.75

    Reference:
        Stanton, Izmailov, Kirichenko, Alemi, Wilson, "Does Knowledge Distillation Really Work?", 2021,
        arXiv:2106.05945.
    """

    _direction = "up"

    def __init__(self, name: str = "agreement", dtype: str | None = None, head: str | None = None):
        super().__init__(name=name, dtype=dtype)
        self.head = check_head(head)

    def per_sample(self, teacher_outputs: Any, student_outputs: Tensor, temperature: Any = None) -> Tensor:
        """Return 1.0 where both predict the same class or label, 0.0 elsewhere."""
        head = self._head_of(teacher_outputs, student_outputs)
        return ops.cast(same_prediction(as_one_hot(teacher_outputs), student_outputs, head), "float32")

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "head": self.head}


@keras.saving.register_keras_serializable(package="keras_distill")
class ClassAgreement(FidelityMetric):
    """Compute the agreement on each class that the teacher predicts, and the unweighted mean over these classes.

    A student that agrees on nine samples of ten may never predict a rare class. The mean over classes reveals this, and
    `per_class()` shows which class it is. The classes of a single output are no and yes; those of several labels are
    the labels, each over the samples that have it by the teacher.

    Args:
        classes: Number of classes, or of labels: 2 for a single output.
        name: Name in the logs. Defaults to `"class_agreement"`.
        dtype: Dtype of the result. Defaults to `None`, Keras's float dtype.
        head: `"classes"` or `"labels"`, as for `Agreement`. Defaults to `None`.

    Raises:
        ValueError: If `classes` is not a positive whole number or, at the first batch, not that of the outputs.

    Example:

    >>> metric = ClassAgreement(3)
    >>> metric.update_state([[0, 1, 0], [0, 2, 1], [4, 0, 0]], [[0, 1, 0], [3, 2, 1], [4, 0, 0]])
    >>> float(metric.result())
    0.75
    >>> metric.per_class().tolist()
    [1.0, 0.5, nan]
    """

    _direction = "up"

    def __init__(self, classes: int, name: str = "class_agreement", dtype: str | None = None, head: str | None = None):
        classes = check_whole_number("classes", classes)
        super().__init__(name=name, dtype=dtype, shape=(2, classes))
        self.classes = classes
        self.head = check_head(head)

    def per_sample(self, teacher_outputs: Any, student_outputs: Tensor, temperature: Any = None) -> Tensor:
        """Return 1.0 where both predict the same class or label, 0.0 elsewhere."""
        head, width = self._head_of(teacher_outputs, student_outputs), student_outputs.shape[-1]
        if self.classes != (2 if head == LABELS and width == 1 else width):
            raise ValueError(expected(f"outputs of {self.classes} classes", f"shape {tuple(student_outputs.shape)}"))
        return ops.cast(same_prediction(as_one_hot(teacher_outputs), student_outputs, head), "float32")

    def _add_samples(self, values, weights, teacher_outputs, student_outputs):
        head = self._head_of(teacher_outputs, student_outputs)
        of_class = ops.cast(predicted_classes(as_one_hot(teacher_outputs), head), weights.dtype)
        labels = head == LABELS and self.classes == weights.shape[-1]
        values, weights = (ops.reshape(each, (-1, self.classes if labels else 1)) for each in (values, weights))
        weights = ops.reshape(of_class, (-1, self.classes)) * weights
        self._add(weighted_sum(values, weights, axis=0), ops.sum(weights, axis=0))

    def per_class(self) -> np.ndarray:
        """Return the agreement on each class, float `[classes]`: NaN for a class that the teacher never predicted."""
        return divide_or_nan(*map(ops.convert_to_numpy, self._totals()))

    def result(self) -> Tensor:
        hits, weight = self._totals()
        predicted = ops.cast(weight > 0.0, weight.dtype)
        agreements = ops.sum(ops.divide_no_nan(hits, weight) * predicted)
        return ops.cast(ops.divide_no_nan(agreements, ops.sum(predicted)), self.dtype)

    def get_config(self) -> dict[str, Any]:
        return {"classes": self.classes, **super().get_config(), "head": self.head}


@checked(teacher_outputs="[...]", student_outputs="[*...]")
def agreement(teacher_outputs: Any, student_outputs: Any, head: str | None = None) -> float:
    """Return the fraction of samples for which two arrays of outputs predict the same class, or the same labels.

    Args:
        teacher_outputs: Logits or probabilities `[..., classes]`. With a single output, or labels, they are compared
            with 0.5 if all of them lie from 0 to 1, and with 0 otherwise.
        student_outputs: Logits or probabilities of the same shape.
        head: `"classes"` or `"labels"`, as for `Agreement`. Defaults to `None`: labels for a single output or the
            outputs of a sigmoid.

    Returns:
        A float from 0.0 to 1.0.

    Raises:
        ValueError: If the shapes differ or there is nothing to compare.

    Example:

    >>> agreement([[0.1, 0.9], [0.8, 0.2]], [[1.0, 3.0], [5.0, 2.0]])
    1.0
    """
    teacher, student = as_pair(teacher_outputs, student_outputs)
    return mean(same_prediction(teacher, student, find_head(teacher, student, head=check_head(head))))


@checked(teacher_outputs="[...]", student_outputs="[*...]")
def class_agreement(teacher_outputs: Any, student_outputs: Any, head: str | None = None) -> np.ndarray:
    """Return, for each class that the teacher predicts, the fraction of its samples on which the student agrees.

    Args:
        teacher_outputs: Logits or probabilities `[..., classes]`.
        student_outputs: Logits or probabilities of the same shape.
        head: `"classes"` or `"labels"`, as for `Agreement`. Defaults to `None`.

    Returns:
        Float64 array `[classes]`: NaN for a class that the teacher never predicts. `[2]`, no and yes, for a single
        output.

    Raises:
        ValueError: If the shapes differ or there is nothing to compare.

    Example:

    >>> class_agreement([[0, 1, 0], [0, 2, 1], [4, 0, 0]], [[0, 1, 0], [3, 2, 1], [4, 0, 0]]).tolist()
    [1.0, 0.5, nan]
    """
    teacher, student = as_pair(teacher_outputs, student_outputs)
    head = find_head(teacher, student, head=check_head(head))
    predicted = ops.convert_to_numpy(predicted_classes(teacher, head))
    equal = ops.convert_to_numpy(same_prediction(teacher, student, head))
    equal = np.broadcast_to(equal if equal.ndim == predicted.ndim else equal[..., None], predicted.shape)
    axes = tuple(range(predicted.ndim - 1))
    return divide_or_nan((predicted & equal).sum(axes), predicted.sum(axes))


def same_prediction(teacher_outputs: Tensor, student_outputs: Tensor, head: str) -> Tensor:
    """Return whether both outputs predict the same class, bool `[...]`, or each label, bool `[..., labels]`."""
    if head == LABELS:
        equal = ops.equal(decisions(teacher_outputs), decisions(student_outputs))
        broken = ops.not_equal(student_outputs, student_outputs)
    else:
        equal = ops.equal(ops.argmax(teacher_outputs, axis=-1), ops.argmax(student_outputs, axis=-1))
        broken = has_nan(student_outputs)
    return ops.logical_and(equal, ops.logical_not(broken))


def predicted_classes(outputs: Tensor, head: str) -> Tensor:
    """Return, as a bool tensor `[..., classes]`, which class outputs predict, or which labels; no and yes if single."""
    if head != LABELS:
        return ops.one_hot(ops.argmax(outputs, axis=-1), outputs.shape[-1], dtype="bool")
    yes = decisions(outputs)
    return ops.concatenate([ops.logical_not(yes), yes], axis=-1) if outputs.shape[-1] == 1 else yes
