"""Soft targets split at the labelled class: its probability, and the distribution over the other classes."""

import math
from typing import Any

from keras import ops

from keras_distill._core.checked import checked
from keras_distill._core.checks import check_number
from keras_distill.answers.answer import Tensor
from keras_distill.losses import divergences
from keras_distill.losses.logits import labelled_class as labelled
from keras_distill.losses.logits.base import LabelledLogitLoss
from keras_distill.losses.logits.rows import log_mean_exp
from keras_distill.losses.registry import method


@checked(teacher_logits="[..., classes]", student_logits="[..., classes]", labels="int [...]")
def target_class_divergence(
    teacher_logits: Tensor, student_logits: Tensor, labels: Tensor, temperature: Tensor = 1.0
) -> Tensor:
    """Compute the KL divergence of the two-way distribution "labelled class or any other class".

    It measures how much more or less confident of the label the student is than its teacher. Both probabilities come
    from one log-odds ratio, and the student's change of it is summed class by class, so that the divergence keeps its
    digits where the two models nearly agree (a high temperature).

    Args:
        teacher_logits: Float array `[..., classes]`. Constant: no gradient reaches it.
        student_logits: Float array `[..., classes]`.
        labels: Integer array `[...]`, class indices.
        temperature: Positive number, array or variable that divides both. Defaults to 1.0.

    Returns:
        Float array `[...]`, nats, never negative.

    Example:

    >>> import numpy as np
    >>> v, z, y = np.array([[1.0, 1.0]], "float32"), np.array([[0.0, 3.0]], "float32"), np.array([0])
    >>> value = target_class_divergence(v, z, y)
    >>> bool(abs(value - divergences.kl_divergence(v, z))[0] < 1e-6)  # With two classes it is all.
    True

    Reference:
        Zhao, Cui, Song, Qiu, Liang, "Decoupled Knowledge Distillation", 2022, arXiv:2203.08679.
    """
    teacher, student, target = labelled.prepare(teacher_logits, student_logits, labels)
    temperature = ops.cast(temperature, student.dtype)
    teacher, student = labelled.shift_to_target(teacher, target), labelled.shift_to_target(student, target)
    teacher_rest = labelled.log_rest(teacher / temperature, target)
    student_rest = labelled.log_rest(student / temperature, target)
    # The teacher's shares of the other classes: the student's change is an average weighted by them.
    share = ops.exp(labelled.exclude(target, teacher / temperature) - teacher_rest[..., None])
    change = log_mean_exp(share, (student - teacher) / temperature, otherwise=student_rest - teacher_rest)
    return _two_way_divergence(-teacher_rest, -student_rest, -change)


@checked(teacher_logits="[..., classes]", student_logits="[..., classes]", labels="int [...]")
def non_target_class_divergence(
    teacher_logits: Tensor, student_logits: Tensor, labels: Tensor, temperature: Tensor = 1.0
) -> Tensor:
    """Compute the KL divergence over the classes other than the labelled one, renormalized in both models.

    Args:
        teacher_logits: Float array `[..., classes]`. Constant: no gradient reaches it.
        student_logits: Float array `[..., classes]`.
        labels: Integer array `[...]`, class indices.
        temperature: Positive number, array or variable that divides both. Defaults to 1.0.

    Returns:
        Float array `[...]`, nats, never negative.

    Example:

    >>> import numpy as np
    >>> v, z = np.array([[9.0, 1.0, 1.0]], "float32"), np.array([[0.0, 2.0, 2.0]], "float32")
    >>> float(non_target_class_divergence(v, z, np.array([0]))[0])  # Both split the rest in halves.
    0.0

    Reference:
        Zhao, Cui, Song, Qiu, Liang, "Decoupled Knowledge Distillation", 2022, arXiv:2203.08679.
    """
    teacher, student, target = labelled.prepare(teacher_logits, student_logits, labels)
    teacher, student = labelled.exclude(target, teacher), labelled.exclude(target, student)
    return divergences.kl_divergence(teacher, student, temperature)


@checked(
    teacher_logits="[..., classes]",
    student_logits="[..., classes]",
    labels="int [...]",
    alpha=(0.0, math.inf),
    beta=(0.0, math.inf),
)
def dkd(
    teacher_logits: Tensor,
    student_logits: Tensor,
    labels: Tensor,
    temperature: Tensor = 4.0,
    alpha: float = 1.0,
    beta: float = 8.0,
) -> Tensor:
    """Compute decoupled knowledge distillation: `T² (alpha target + beta non-target)` divergence.

    Ordinary soft targets weight the second part by the probability that the teacher leaves to the other classes, so a
    confident teacher suppresses its knowledge of them. Here the weight is free.

    Args:
        teacher_logits: Float array `[..., classes]`. Constant: no gradient reaches it.
        student_logits: Float array `[..., classes]`.
        labels: Integer array `[...]`, class indices.
        temperature: Positive number, array or variable that divides both. Defaults to 4.0.
        alpha: Weight of `target_class_divergence`. Defaults to 1.0.
        beta: Weight of `non_target_class_divergence`. Defaults to 8.0.

    Returns:
        Float array `[...]`, nats, never negative.

    Example:

    >>> import numpy as np
    >>> v, z, y = np.array([[3.0, 1.0, 0.0]], "float32"), np.array([[1.0, 2.0, 0.0]], "float32"), np.array([0])
    >>> whole, target = dkd(v, z, y), dkd(v, z, y, beta=0.0)
    >>> round(float(whole[0]), 4), round(float(target[0]), 4)
    (1.7901, 0.8181)

    Reference:
        Zhao, Cui, Song, Qiu, Liang, "Decoupled Knowledge Distillation", 2022, arXiv:2203.08679.
    """
    compared = teacher_logits, student_logits, labels, temperature
    value = alpha * target_class_divergence(*compared) + beta * non_target_class_divergence(*compared)
    return value * ops.square(ops.cast(temperature, value.dtype))


@checked(teacher_logits="[..., classes]", student_logits="[..., classes]", labels="int [...]", gamma=(0.0, math.inf))
def nkd(
    teacher_logits: Tensor, student_logits: Tensor, labels: Tensor, temperature: Tensor = 1.0, gamma: float = 1.5
) -> Tensor:
    """Compute normalized knowledge distillation: `-t_y log s_y + gamma T² H`.

    `t_y` and `s_y` are the probabilities of the labelled class at temperature 1. `H` is the cross-entropy of the other
    classes at temperature T, renormalized in each model, so that the student can match it whatever its probability of
    the label. Since these are cross-entropies, the loss of a student that equals its teacher is minimal, but not zero.

    Args:
        teacher_logits: Float array `[..., classes]`. Constant: no gradient reaches it.
        student_logits: Float array `[..., classes]`.
        labels: Integer array `[...]`, class indices.
        temperature: Positive number, array or variable that divides the others' logits. Defaults to 1.0.
        gamma: Weight of the part of the other classes. Defaults to 1.5.

    Returns:
        Float array `[...]`, nats.

    Example:

    >>> import numpy as np
    >>> z, y = np.zeros((1, 3), "float32"), np.array([0])
    >>> round(float(nkd(z, z, y, gamma=0.0)[0]), 4), round(float(nkd(z, z, y)[0]), 4)  # log(3) / 3, + 1.5 log(2)
    (0.3662, 1.4059)

    Reference:
        Yang, Zeng, Li, Zhang, Yuan, Li, "From Knowledge Distillation to Self-Knowledge Distillation: A Unified
        Approach with Normalized Loss and Customized Soft Labels", 2023, arXiv:2303.13005.
    """
    teacher, student, target = labelled.prepare(teacher_logits, student_logits, labels)
    confidence = ops.sigmoid(labelled.target_log_odds(teacher, labels))
    teacher, rest = labelled.exclude(target, teacher), labelled.exclude(target, student)
    others = divergences.soft_cross_entropy(teacher, rest, temperature)
    others = gamma * ops.square(ops.cast(temperature, others.dtype)) * others
    return confidence * labelled.target_cross_entropy(student, labels) + others


@method("dkd", paper="Zhao, Cui, Song, Qiu, Liang 2022", arxiv="2203.08679", peers=("mdistiller",))
class DKD(LabelledLogitLoss):
    """Teach the student its teacher's confidence in the label, and separately the distribution of the rest: see `dkd`.

    Needs hard labels. The authors increase the weight of this loss over the first epochs; schedule it to do the same.

    Args:
        temperature: Softness T > 0 of both distributions, a number or a `keras.Variable`. Defaults to 4.0.
        alpha: Weight of the labelled class against the rest, >= 0. Defaults to 1.0.
        beta: Weight of the other classes among themselves, >= 0. Defaults to 8.0.
        name: Name in the logs. Defaults to `"dkd"`.

    Raises:
        ValueError: If the temperature is not finite and positive, or a weight is negative or not finite.

    Example:

    >>> import numpy as np
    >>> import keras_distill as kd
    >>> teacher, student = np.array([[3.0, 1.0, 0.0]], "float32"), np.array([[1.0, 2.0, 0.0]], "float32")
    >>> round(float(kd.losses.DKD().compute_loss(teacher, student, labels=np.array([0]))), 4)
    1.7901
    """

    function = staticmethod(dkd)
    hyper_parameters = ("alpha", "beta")

    def __init__(self, temperature: Any = 4.0, alpha: float = 1.0, beta: float = 8.0, name: str | None = None):
        super().__init__(temperature, name=name)
        self.alpha = check_number("alpha", alpha, 0.0, math.inf)
        self.beta = check_number("beta", beta, 0.0, math.inf)


@method("nkd", paper="Yang et al. 2023", arxiv="2303.13005", peers=("cls_KD",))
class NKD(LabelledLogitLoss):
    """Teach the student the label to the extent of its teacher's confidence, and the renormalized rest: see `nkd`.

    Needs hard labels.

    Args:
        temperature: Softness T > 0 of the other classes, a number or a `keras.Variable`. Defaults to 1.0.
        gamma: Weight of the other classes, >= 0. Defaults to 1.5.
        name: Name in the logs. Defaults to `"nkd"`.

    Raises:
        ValueError: If the temperature is not finite and positive, or the weight is negative or not finite.

    Example:

    >>> import numpy as np
    >>> import keras_distill as kd
    >>> teacher, student = np.array([[3.0, 1.0, 0.0]], "float32"), np.array([[1.0, 2.0, 0.0]], "float32")
    >>> round(float(kd.losses.NKD().compute_loss(teacher, student, labels=np.array([0]))), 4)
    2.1849
    """

    function = staticmethod(nkd)
    hyper_parameters = ("gamma",)

    def __init__(self, temperature: Any = 1.0, gamma: float = 1.5, name: str | None = None):
        super().__init__(temperature, name=name)
        self.gamma = check_number("gamma", gamma, 0.0, math.inf)


def _two_way_divergence(teacher_odds, student_odds, gain):
    """Return the KL divergence of two binary distributions from their log-odds and the exact difference of these."""
    teacher, student, gain = (ops.stack([odds, -odds], axis=-1) for odds in (teacher_odds, student_odds, gain))
    p, q = ops.sigmoid(teacher), ops.sigmoid(student)
    near = ops.abs(gain) < 1.0
    # log(q / p) of each outcome: its gain, damped by the probability of the other outcome.
    close = -ops.log1p(ops.flip(p, axis=-1) * ops.expm1(ops.where(near, -gain, ops.zeros_like(gain))))
    log_ratio = ops.where(near, close, ops.softplus(-teacher) - ops.softplus(-student))
    return divergences.mixture_divergence(p, q, log_ratio, 1.0)
