"""Soft targets taken apart at the labelled class: how sure of it, and how the others share the rest."""

import math

import keras
from keras import ops

from keras_distill._core.checks import check_number
from keras_distill.losses import divergences
from keras_distill.losses.logits import labelled_class as labelled
from keras_distill.losses.logits.base import TemperedLogitLoss
from keras_distill.losses.logits.rows import log_mean_exp
from keras_distill.losses.registry import method


def target_class_divergence(teacher_logits, student_logits, labels, temperature=1.0):
    """Compute the KL divergence of two numbers: the labelled class's probability, and that of all others together.

    It says how much surer or less sure of the label the student is than its teacher. Both numbers come from one
    logarithm of odds, and what the student changes of it is summed up class by class, so that the divergence keeps
    its digits where the two nearly agree (a high temperature).

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
    >>> bool(abs(value - divergences.kl_divergence(v, z))[0] < 1e-6)  # Of two classes nothing else is left.
    True

    Reference:
        Zhao, Cui, Song, Qiu, Liang, "Decoupled Knowledge Distillation", 2022, arXiv:2203.08679.
    """
    teacher, student, target = labelled.compared(teacher_logits, student_logits, labels)
    temperature = ops.cast(temperature, student.dtype)
    teacher, student = labelled.from_target(teacher, target), labelled.from_target(student, target)
    teacher_rest = labelled.log_rest(teacher / temperature, target)
    student_rest = labelled.log_rest(student / temperature, target)
    # Of the other classes in the teacher, so that what the student changes is an average over them.
    share = ops.exp(labelled.without(target, teacher / temperature) - teacher_rest[..., None])
    change = log_mean_exp(share, (student - teacher) / temperature, otherwise=student_rest - teacher_rest)
    return _two_way_divergence(-teacher_rest, -student_rest, -change)


def non_target_class_divergence(teacher_logits, student_logits, labels, temperature=1.0):
    """Compute the KL divergence over the classes other than the labelled one, each side scaled to sum to one.

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
    >>> float(non_target_class_divergence(v, z, np.array([0]))[0])  # The same two halves in both.
    0.0

    Reference:
        Zhao, Cui, Song, Qiu, Liang, "Decoupled Knowledge Distillation", 2022, arXiv:2203.08679.
    """
    teacher, student, target = labelled.compared(teacher_logits, student_logits, labels)
    teacher, student = labelled.without(target, teacher), labelled.without(target, student)
    return divergences.kl_divergence(teacher, student, temperature)


def dkd(teacher_logits, student_logits, labels, temperature=4.0, alpha=1.0, beta=8.0):
    """Compute decoupled knowledge distillation: `T² (alpha target + beta non-target)` divergence.

    Ordinary soft targets weigh the second part by what the teacher leaves to the other classes, so a sure teacher
    silences what it knows of them. Here the weight is free.

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


def nkd(teacher_logits, student_logits, labels, temperature=1.0, gamma=1.5):
    """Compute normalised knowledge distillation: `-t_y log s_y`, and `gamma T²` times a cross-entropy of the others.

    `t_y` and `s_y` are the labelled class's probabilities at temperature 1. The other classes are scaled to sum to
    one on each side, at temperature T, so that the student can reach what it is asked for whatever it says of the
    label. In cross-entropy form: a student like its teacher is at the minimum, and that is not zero.

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
    >>> round(float(nkd(z, z, y, gamma=0.0)[0]), 4), round(float(nkd(z, z, y)[0]), 4)  # log(3) / 3, 1.5 log(2) more
    (0.3662, 1.4059)

    Reference:
        Yang, Zeng, Li, Zhang, Yuan, Li, "From Knowledge Distillation to Self-Knowledge Distillation: A Unified
        Approach with Normalized Loss and Customized Soft Labels", 2023, arXiv:2303.13005.
    """
    teacher, student, target = labelled.compared(teacher_logits, student_logits, labels)
    believed = ops.sigmoid(labelled.target_log_odds(teacher, labels))
    teacher, rest = labelled.without(target, teacher), labelled.without(target, student)
    others = divergences.soft_cross_entropy(teacher, rest, temperature)
    others = gamma * ops.square(ops.cast(temperature, others.dtype)) * others
    return believed * labelled.target_cross_entropy(student, labels) + others


@method("dkd", paper="Zhao, Cui, Song, Qiu, Liang 2022", arxiv="2203.08679", peers=("mdistiller",))
@keras.saving.register_keras_serializable(package="keras_distill")
class DKD(TemperedLogitLoss):
    """Teach the student how sure its teacher is of the label, and apart from it how it shares the rest.

    Needs hard labels. See `dkd` for the formula. The authors let the weight of this loss grow over the first epochs;
    schedule it where you want that.

    Args:
        temperature: Softness T > 0: a number, or a `keras.Variable` that you move. Defaults to 4.0.
        alpha: Weight of the labelled class against the rest. Defaults to 1.0.
        beta: Weight of the other classes among themselves. Defaults to 8.0.
        name: Name in the logs. Defaults to `"dkd"`.

    Raises:
        ValueError: If the temperature is not finite and positive, or a weight is not finite or negative.

    Example:

    >>> import numpy as np
    >>> import keras_distill as kd
    >>> teacher, student = np.array([[3.0, 1.0, 0.0]], "float32"), np.array([[1.0, 2.0, 0.0]], "float32")
    >>> round(float(kd.losses.DKD().compute_loss(teacher, student, labels=np.array([0]))), 4)
    1.7901

    Reference:
        Zhao, Cui, Song, Qiu, Liang, "Decoupled Knowledge Distillation", 2022, arXiv:2203.08679.
    """

    method = "dkd"
    not_top_k = "the labelled class may be one of those left out"

    def __init__(self, temperature=4.0, alpha=1.0, beta=8.0, name=None):
        super().__init__(temperature, name=name)
        self.alpha = check_number("alpha", alpha, 0.0, math.inf)
        self.beta = check_number("beta", beta, 0.0, math.inf)

    def per_sample(self, teacher_output, student_output, labels, temperature):
        return dkd(teacher_output, student_output, labels, temperature, self.alpha, self.beta)

    def get_config(self):
        return {**super().get_config(), "alpha": self.alpha, "beta": self.beta}


@method("nkd", paper="Yang et al. 2023", arxiv="2303.13005", peers=("cls_KD",))
@keras.saving.register_keras_serializable(package="keras_distill")
class NKD(TemperedLogitLoss):
    """Teach the student the label as far as its teacher believes it, and the other classes scaled to sum to one.

    Needs hard labels. See `nkd` for the formula.

    Args:
        temperature: Softness T > 0 of the other classes: a number, or a `keras.Variable` that you move. Defaults to
            1.0.
        gamma: Weight of the other classes. Defaults to 1.5.
        name: Name in the logs. Defaults to `"nkd"`.

    Raises:
        ValueError: If the temperature is not finite and positive, or the weight is not finite or negative.

    Example:

    >>> import numpy as np
    >>> import keras_distill as kd
    >>> teacher, student = np.array([[3.0, 1.0, 0.0]], "float32"), np.array([[1.0, 2.0, 0.0]], "float32")
    >>> round(float(kd.losses.NKD().compute_loss(teacher, student, labels=np.array([0]))), 4)
    2.1849

    Reference:
        Yang, Zeng, Li, Zhang, Yuan, Li, "From Knowledge Distillation to Self-Knowledge Distillation: A Unified
        Approach with Normalized Loss and Customized Soft Labels", 2023, arXiv:2303.13005.
    """

    method = "nkd"
    not_top_k = "the labelled class may be one of those left out"

    def __init__(self, temperature=1.0, gamma=1.5, name=None):
        super().__init__(temperature, name=name)
        self.gamma = check_number("gamma", gamma, 0.0, math.inf)

    def per_sample(self, teacher_output, student_output, labels, temperature):
        return nkd(teacher_output, student_output, labels, temperature, self.gamma)

    def get_config(self):
        return {**super().get_config(), "gamma": self.gamma}


def _two_way_divergence(teacher_odds, student_odds, gain):
    """Return the KL divergence of two coins, given the log-odds of each, and their difference without cancellation."""
    teacher, student, gain = (ops.stack([odds, -odds], axis=-1) for odds in (teacher_odds, student_odds, gain))
    p, q = ops.sigmoid(teacher), ops.sigmoid(student)
    near = ops.abs(gain) < 1.0
    # log(q / p) of each side: its gain, damped by what the other side had to give.
    close = -ops.log1p(ops.flip(p, axis=-1) * ops.expm1(ops.where(near, -gain, ops.zeros_like(gain))))
    log_ratio = ops.where(near, close, ops.softplus(-teacher) - ops.softplus(-student))
    return divergences.mixture_divergence(p, q, log_ratio, 1.0)
