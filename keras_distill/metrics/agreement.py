"""Top-1 agreement: how often student and teacher predict the same class, over all samples and for each class."""

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
from keras_distill.metrics.rows import as_pair, divide_or_nan, mean


@keras.saving.register_keras_serializable(package="keras_distill")
class Agreement(FidelityMetric):
    """Compute the fraction of samples on which the student's most likely class is the teacher's.

    Args:
        name: Name in the logs. Defaults to `"agreement"`.
        dtype: Dtype of the result. Defaults to `None`, Keras's float dtype.

    Example:

    >>> metric = Agreement()
    >>> metric.update_state([[0.1, 0.9], [0.8, 0.2]], [[1.0, 3.0], [0.0, 2.0]])
    >>> float(metric.result())
    0.5

    Reference:
        Stanton, Izmailov, Kirichenko, Alemi, Wilson, "Does Knowledge Distillation Really Work?", 2021,
        arXiv:2106.05945.
    """

    _direction = "up"

    def __init__(self, name: str = "agreement", dtype: str | None = None):
        super().__init__(name=name, dtype=dtype)

    def per_sample(self, teacher_outputs: Any, student_outputs: Tensor, temperature: Any = None) -> Tensor:
        """Return 1.0 where both predict the same class, 0.0 elsewhere."""
        return ops.cast(same_prediction(as_one_hot(teacher_outputs), student_outputs), "float32")


@keras.saving.register_keras_serializable(package="keras_distill")
class ClassAgreement(FidelityMetric):
    """Compute the agreement on each class that the teacher predicts, and the unweighted mean over these classes.

    A student that agrees on nine samples of ten may never predict a rare class. The mean over classes reveals this, and
    `per_class()` shows which class it is.

    Args:
        classes: Number of classes.
        name: Name in the logs. Defaults to `"class_agreement"`.
        dtype: Dtype of the result. Defaults to `None`, Keras's float dtype.

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

    def __init__(self, classes: int, name: str = "class_agreement", dtype: str | None = None):
        classes = check_whole_number("classes", classes)
        super().__init__(name=name, dtype=dtype, shape=(2, classes))
        self.classes = classes

    def per_sample(self, teacher_outputs: Any, student_outputs: Tensor, temperature: Any = None) -> Tensor:
        """Return 1.0 where both predict the same class, 0.0 elsewhere."""
        if student_outputs.shape[-1] != self.classes:
            raise ValueError(expected(f"outputs of {self.classes} classes", f"shape {tuple(student_outputs.shape)}"))
        return ops.cast(same_prediction(as_one_hot(teacher_outputs), student_outputs), "float32")

    def _add_samples(self, values, weights, teacher_outputs, student_outputs):
        answers = ops.argmax(as_one_hot(teacher_outputs), axis=-1)
        of_class = ops.one_hot(ops.reshape(answers, (-1,)), self.classes, dtype=weights.dtype)
        weights = of_class * ops.reshape(weights, (-1, 1))
        self._add(weighted_sum(ops.reshape(values, (-1, 1)), weights, axis=0), ops.sum(weights, axis=0))

    def per_class(self) -> np.ndarray:
        """Return the agreement on each class, float `[classes]`: NaN for a class that the teacher never predicted."""
        return divide_or_nan(*map(ops.convert_to_numpy, self._totals()))

    def result(self) -> Tensor:
        hits, weight = self._totals()
        predicted = ops.cast(weight > 0.0, weight.dtype)
        agreements = ops.sum(ops.divide_no_nan(hits, weight) * predicted)
        return ops.cast(ops.divide_no_nan(agreements, ops.sum(predicted)), self.dtype)

    def get_config(self) -> dict[str, Any]:
        return {"classes": self.classes, **super().get_config()}


@checked(teacher_outputs="[...]", student_outputs="[*...]")
def agreement(teacher_outputs: Any, student_outputs: Any) -> float:
    """Return the fraction of samples for which two arrays of outputs predict the same class.

    Args:
        teacher_outputs: Logits or probabilities `[..., classes]`.
        student_outputs: Logits or probabilities of the same shape.

    Returns:
        A float from 0.0 to 1.0.

    Raises:
        ValueError: If the shapes differ or there is nothing to compare.

    Example:

    >>> agreement([[0.1, 0.9], [0.8, 0.2]], [[1.0, 3.0], [5.0, 2.0]])
    1.0
    """
    return mean(same_prediction(*as_pair(teacher_outputs, student_outputs)))


@checked(teacher_outputs="[...]", student_outputs="[*...]")
def class_agreement(teacher_outputs: Any, student_outputs: Any) -> np.ndarray:
    """Return, for each class that the teacher predicts, the fraction of its samples on which the student agrees.

    Args:
        teacher_outputs: Logits or probabilities `[..., classes]`.
        student_outputs: Logits or probabilities of the same shape.

    Returns:
        Float64 array `[classes]`: NaN for a class that the teacher never predicts.

    Raises:
        ValueError: If the shapes differ or there is nothing to compare.

    Example:

    >>> class_agreement([[0, 1, 0], [0, 2, 1], [4, 0, 0]], [[0, 1, 0], [3, 2, 1], [4, 0, 0]]).tolist()
    [1.0, 0.5, nan]
    """
    teacher, student = as_pair(teacher_outputs, student_outputs)
    predicted = ops.convert_to_numpy(ops.argmax(teacher, axis=-1)).ravel()
    equal = ops.convert_to_numpy(same_prediction(teacher, student)).ravel()
    classes = teacher.shape[-1]
    return divide_or_nan(np.bincount(predicted[equal], minlength=classes), np.bincount(predicted, minlength=classes))


def same_prediction(teacher_outputs: Tensor, student_outputs: Tensor) -> Tensor:
    """Return a bool tensor `[...]`: whether both outputs are largest for the same class."""
    return ops.equal(ops.argmax(teacher_outputs, axis=-1), ops.argmax(student_outputs, axis=-1))
