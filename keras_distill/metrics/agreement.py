"""Top-1 agreement: how often student and teacher give the same answer, over all samples and class by class."""

import keras
import numpy as np
from keras import ops

from keras_distill._core.messages import expected
from keras_distill.losses.logits.top_k import as_one_hot
from keras_distill.metrics.fidelity import FidelityMetric
from keras_distill.metrics.rows import as_pair, mean
from keras_distill.metrics.streaming import weighted_sum


@keras.saving.register_keras_serializable(package="keras_distill")
class Agreement(FidelityMetric):
    """Compute the fraction of samples on which the student's most likely class is the teacher's.

    Args:
        name: Name in the logs. Defaults to `"agreement"`.
        dtype: Dtype of the result. Defaults to `None`, Keras's float.

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

    def __init__(self, name="agreement", dtype=None):
        super().__init__(name=name, dtype=dtype)

    def per_sample(self, teacher_outputs, student_outputs, temperature=None):
        """Return 1.0 where both give the same answer, 0.0 elsewhere."""
        return ops.cast(equal_answers(as_one_hot(teacher_outputs), student_outputs), "float32")


@keras.saving.register_keras_serializable(package="keras_distill")
class ClassAgreement(FidelityMetric):
    """Compute the agreement on each class that the teacher answers; the result is their mean, classes counting alike.

    A student that agrees on nine samples of ten may never say the rare class. The mean over the classes shows that,
    `per_class()` shows which class it is.

    Args:
        classes: Number of classes.
        name: Name in the logs. Defaults to `"class_agreement"`.
        dtype: Dtype of the result. Defaults to `None`, Keras's float.

    Raises:
        ValueError: If `classes` is no positive whole number or, with the first batch, not that of the outputs.

    Example:

    >>> metric = ClassAgreement(3)
    >>> metric.update_state([[0, 1, 0], [0, 2, 1], [4, 0, 0]], [[0, 1, 0], [3, 2, 1], [4, 0, 0]])
    >>> float(metric.result())
    0.75
    >>> metric.per_class().tolist()
    [1.0, 0.5, nan]
    """

    _direction = "up"

    def __init__(self, classes, name="class_agreement", dtype=None):
        if isinstance(classes, bool) or not hasattr(classes, "__index__") or classes < 1:
            raise ValueError(expected("`classes` to be a positive whole number", f"classes={classes!r}"))
        super().__init__(name=name, dtype=dtype, shape=(2, int(classes)))
        self.classes = int(classes)

    def per_sample(self, teacher_outputs, student_outputs, temperature=None):
        """Return 1.0 where both give the same answer, 0.0 elsewhere."""
        if student_outputs.shape[-1] != self.classes:
            raise ValueError(expected(f"outputs of {self.classes} classes", f"shape {tuple(student_outputs.shape)}"))
        return ops.cast(equal_answers(as_one_hot(teacher_outputs), student_outputs), "float32")

    def _add_samples(self, values, weights, teacher_outputs, student_outputs):
        answers = ops.argmax(as_one_hot(teacher_outputs), axis=-1)
        of_class = ops.one_hot(ops.reshape(answers, (-1,)), self.classes, dtype=weights.dtype)
        weights = of_class * ops.reshape(weights, (-1, 1))
        self._add(weighted_sum(ops.reshape(values, (-1, 1)), weights, axis=0), ops.sum(weights, axis=0))

    def per_class(self):
        """Return the agreement on each class, float `[classes]`: NaN for a class that the teacher never answered."""
        return _per_class(*map(ops.convert_to_numpy, self._totals()))

    def result(self):
        hits, weight = self._totals()
        answered = ops.cast(weight > 0.0, weight.dtype)
        agreements = ops.sum(ops.divide_no_nan(hits, weight) * answered)
        return ops.cast(ops.divide_no_nan(agreements, ops.sum(answered)), self.dtype)

    def get_config(self):
        return {"classes": self.classes, **super().get_config()}


def agreement(teacher_outputs, student_outputs):
    """Compute the fraction of equal answers, offline on arrays.

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
    return mean(equal_answers(*as_pair(teacher_outputs, student_outputs)))


def class_agreement(teacher_outputs, student_outputs):
    """Compute the fraction of equal answers on each class that the teacher answers, offline on arrays.

    Args:
        teacher_outputs: Logits or probabilities `[..., classes]`.
        student_outputs: Logits or probabilities of the same shape.

    Returns:
        Float64 array `[classes]`: NaN for a class that the teacher never answers.

    Raises:
        ValueError: If the shapes differ or there is nothing to compare.

    Example:

    >>> class_agreement([[0, 1, 0], [0, 2, 1], [4, 0, 0]], [[0, 1, 0], [3, 2, 1], [4, 0, 0]]).tolist()
    [1.0, 0.5, nan]
    """
    teacher, student = as_pair(teacher_outputs, student_outputs)
    answers = ops.convert_to_numpy(ops.argmax(teacher, axis=-1)).ravel()
    equal = ops.convert_to_numpy(equal_answers(teacher, student)).ravel()
    classes = teacher.shape[-1]
    return _per_class(np.bincount(answers[equal], minlength=classes), np.bincount(answers, minlength=classes))


def equal_answers(teacher_outputs, student_outputs):
    """Return a bool tensor `[...]`: where the two largest outputs are of the same class."""
    return ops.equal(ops.argmax(teacher_outputs, axis=-1), ops.argmax(student_outputs, axis=-1))


def _per_class(hits, weight):
    return np.divide(hits, weight, out=np.full(len(weight), np.nan), where=weight > 0)
