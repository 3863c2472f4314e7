"""Soft targets with a weight for each sample: lower where the student is already better than its teacher."""

import math
from typing import Any

from keras import ops

from keras_distill._core.checked import checked
from keras_distill._core.checks import check_number
from keras_distill.answers.answer import Tensor
from keras_distill.losses import divergences
from keras_distill.losses.logits.base import LabelledLogitLoss
from keras_distill.losses.logits.labelled_class import target_cross_entropy
from keras_distill.losses.registry import method

EPSILON = 1e-7
"""Number that the authors add to the teacher's cross-entropy before dividing by it."""


@checked(teacher_logits="[..., classes]", student_logits="[..., classes]", labels="int [...]")
def soft_label_weight(teacher_logits: Tensor, student_logits: Tensor, labels: Tensor) -> Tensor:
    """Compute `1 - exp(-CE_s / (CE_t + 1e-7))`, with cross-entropies of the hard labels at temperature 1.

    It is near 1 where the teacher predicts the label much better than the student, and near 0 in the opposite case.

    Args:
        teacher_logits: Float array `[..., classes]`.
        student_logits: Float array `[..., classes]`.
        labels: Integer array `[...]`, class indices.

    Returns:
        Float array `[...]` from 0 to 1. Constant: no gradient reaches the logits.

    Example:

    >>> import numpy as np
    >>> z = np.zeros((1, 4), "float32")
    >>> round(float(soft_label_weight(z, z, np.array([0]))[0]), 4)  # 1 - 1/e
    0.6321

    Reference:
        Zhou, Song, Chen, Zhou, Wang, Yuan, Zhang, "Rethinking Soft Labels for Knowledge Distillation: A Bias-Variance
        Tradeoff Perspective", 2021, arXiv:2102.00650.
    """
    teacher = target_cross_entropy(teacher_logits, labels)
    student = target_cross_entropy(student_logits, labels)
    dtype = divergences.working_dtype(teacher, student)
    ratio = ops.cast(student, dtype) / (ops.cast(teacher, dtype) + EPSILON)
    return ops.stop_gradient(-ops.expm1(-ratio))


@checked(teacher_logits="[..., classes]", student_logits="[..., classes]", labels="int [...]", alpha=(0.0, math.inf))
def wsld(
    teacher_logits: Tensor, student_logits: Tensor, labels: Tensor, temperature: Tensor = 2.0, alpha: float = 2.25
) -> Tensor:
    """Compute weighted soft labels: `alpha T² w` times the cross-entropy of the tempered soft targets.

    The weight `w` is `soft_label_weight`.

    Args:
        teacher_logits: Float array `[..., classes]`. Constant: no gradient reaches it.
        student_logits: Float array `[..., classes]`.
        labels: Integer array `[...]`, class indices.
        temperature: Positive number, array or variable that divides both. Defaults to 2.0.
        alpha: Weight of the loss. Defaults to 2.25.

    Returns:
        Float array `[...]`, nats.

    Example:

    >>> import numpy as np
    >>> z, y = np.zeros((1, 4), "float32"), np.array([0])
    >>> round(float(wsld(z, z, y, temperature=1.0, alpha=1.0)[0]), 4)  # (1 - 1/e) log 4
    0.8763

    Reference:
        Zhou, Song, Chen, Zhou, Wang, Yuan, Zhang, "Rethinking Soft Labels for Knowledge Distillation: A Bias-Variance
        Tradeoff Perspective", 2021, arXiv:2102.00650.
    """
    soft = divergences.soft_cross_entropy(teacher_logits, student_logits, temperature)
    weight = soft_label_weight(teacher_logits, student_logits, labels)
    return alpha * ops.square(ops.cast(temperature, soft.dtype)) * weight * soft


@method("wsld", paper="Zhou et al. 2021", arxiv="2102.00650", peers=("cls_KD",))
class WSLD(LabelledLogitLoss):
    """Teach the student soft targets, with less weight on samples that it predicts better than its teacher: see `wsld`.

    Needs hard labels.

    Args:
        temperature: Softness T > 0 of both distributions, a number or a `keras.Variable`. Defaults to 2.0.
        alpha: Weight of the loss, >= 0. Defaults to 2.25.
        name: Name in the logs. Defaults to `"wsld"`.

    Raises:
        ValueError: If the temperature is not finite and positive, or the weight is negative or not finite.

    Example:

    >>> import numpy as np
    >>> import keras_distill as kd
    >>> z = np.zeros((2, 4), "float32")
    >>> loss = kd.losses.WSLD(temperature=1.0, alpha=1.0)
    >>> round(float(loss.compute_loss(z, z, labels=np.array([0, 3]))), 4)  # (1 - 1/e) log 4
    0.8763
    """

    function = staticmethod(wsld)
    hyper_parameters = ("alpha",)

    def __init__(self, temperature: Any = 2.0, alpha: float = 2.25, name: str | None = None):
        super().__init__(temperature, name=name)
        self.alpha = check_number("alpha", alpha, 0.0, math.inf)
