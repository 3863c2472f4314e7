"""Top-1 agreement: how often student and teacher give the same answer."""

import keras
from keras import ops

from keras_distill._messages import expected
from keras_distill.losses.base import expand_like, mask_of


@keras.saving.register_keras_serializable(package="keras_distill")
class Agreement(keras.metrics.Mean):
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

    def __init__(self, name="agreement", dtype=None):
        super().__init__(name=name, dtype=dtype)

    def update_state(self, teacher_outputs, student_outputs, sample_weight=None):
        """Add a batch.

        Args:
            teacher_outputs: Logits or probabilities `[batch, ..., classes]`.
            student_outputs: Logits or probabilities of the same shape; a Keras mask on it counts.
            sample_weight: Optional weights that broadcast to `[batch, ...]`. Defaults to `None`.
        """
        values = ops.cast(equal_answers(teacher_outputs, student_outputs), self.dtype)
        mask = mask_of(student_outputs)
        if sample_weight is not None:
            sample_weight = expand_like(ops.cast(sample_weight, self.dtype), values)
        if mask is not None:
            mask = ops.cast(mask, self.dtype)
            sample_weight = mask if sample_weight is None else mask * sample_weight
        super().update_state(values, sample_weight)


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
    teacher_outputs, student_outputs = ops.convert_to_tensor(teacher_outputs), ops.convert_to_tensor(student_outputs)
    if teacher_outputs.shape != student_outputs.shape or 0 in teacher_outputs.shape:
        shapes = f"{tuple(teacher_outputs.shape)} and {tuple(student_outputs.shape)}"
        raise ValueError(expected("outputs of one shape, with at least one sample", shapes))
    return float(ops.mean(ops.cast(equal_answers(teacher_outputs, student_outputs), "float32")))


def equal_answers(teacher_outputs, student_outputs):
    """Return a bool tensor `[...]`: where the two largest outputs are of the same class."""
    return ops.equal(ops.argmax(teacher_outputs, axis=-1), ops.argmax(student_outputs, axis=-1))
