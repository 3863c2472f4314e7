"""Divergences to a mixture with a little of the other distribution, which bounds them."""

import keras

from keras_distill._core.checks import check_number
from keras_distill.losses import divergences
from keras_distill.losses.logits.base import TemperedLogitLoss
from keras_distill.losses.registry import method


def skew_forward_kl(teacher_logits, student_logits, temperature=1.0, lam=0.1, subtract_entropy=True):
    """Compute `KL(p, lam p + (1 - lam) q)`, at most `log(1 / lam)` however far the student is off.

    Args:
        teacher_logits: Float array `[..., classes]`. Constant: no gradient reaches it.
        student_logits: Float array `[..., classes]`.
        temperature: Positive number, array or variable that divides both. Defaults to 1.0.
        lam: Number from 0.0 to 1.0, the teacher's share of the mixture. Defaults to 0.1.
        subtract_entropy: Whether to return the divergence, or the cross-entropy of the teacher and the mixture, which
            is larger by the teacher's entropy and has the same gradients. Defaults to `True`.

    Returns:
        Float array `[...]`, nats.

    Example:

    >>> import numpy as np
    >>> teacher, student = np.array([[0.0, 1000.0]], "float32"), np.array([[1000.0, 0.0]], "float32")
    >>> round(float(skew_forward_kl(teacher, student, lam=0.1)[0]), 4)  # log 10
    2.3026

    Reference:
        Ko, Kim, Chen, Yun, "DistiLLM: Towards Streamlined Distillation for Large Language Models", 2024,
        arXiv:2402.03898.
    """
    p, q, log_ratio = divergences.distributions(teacher_logits, student_logits, temperature)
    divergence = divergences.mixture_divergence(p, q, log_ratio, 1.0 - lam)
    if subtract_entropy:
        return divergence
    return divergence + divergences.teacher_entropy(teacher_logits, student_logits, temperature)


def skew_reverse_kl(teacher_logits, student_logits, temperature=1.0, lam=0.1):
    """Compute `KL(q, (1 - lam) p + lam q)`, at most `log(1 / lam)` however far the student is off.

    Args:
        teacher_logits: Float array `[..., classes]`. Constant: no gradient reaches it.
        student_logits: Float array `[..., classes]`.
        temperature: Positive number, array or variable that divides both. Defaults to 1.0.
        lam: Number from 0.0 to 1.0, the student's share of the mixture. Defaults to 0.1.

    Returns:
        Float array `[...]`, nats, never negative.

    Example:

    >>> import numpy as np
    >>> teacher, student = np.array([[0.0, 1000.0]], "float32"), np.array([[1000.0, 0.0]], "float32")
    >>> round(float(skew_reverse_kl(teacher, student, lam=0.1)[0]), 4)  # log 10
    2.3026

    Reference:
        Ko, Kim, Chen, Yun, "DistiLLM: Towards Streamlined Distillation for Large Language Models", 2024,
        arXiv:2402.03898.
    """
    p, q, log_ratio = divergences.distributions(teacher_logits, student_logits, temperature)
    return divergences.mixture_divergence(q, p, -log_ratio, 1.0 - lam)


@method("skew_forward_kl", paper="Ko, Kim, Chen, Yun 2024", arxiv="2402.03898", peers=("DistiLLM",))
@keras.saving.register_keras_serializable(package="keras_distill")
class SkewForwardKL(TemperedLogitLoss):
    """Teach the student to cover the teacher, at a bounded price: `KL(p, lam p + (1 - lam) q)`.

    A little of the teacher in the mixture keeps the logarithm, and with it the gradient, finite where the student
    gives a class no probability. Not multiplied by T², as in the published code.

    Args:
        temperature: Softness T > 0 of both distributions, a number or a `keras.Variable`. Defaults to 1.0.
        lam: The teacher's share of the mixture, from 0.0 (`ForwardKL`) to 1.0 (nothing to learn). Defaults to 0.1.
        subtract_entropy: Whether to report the divergence, which is 0 for a perfect student, or the cross-entropy of
            the published code, larger by the teacher's entropy. They train alike. Defaults to `True`.
        name: Name in the logs. Defaults to `"skew_forward_kl"`.

    Raises:
        ValueError: If the temperature is not finite and positive, or `lam` is not from 0.0 to 1.0.

    Example:

    >>> import numpy as np
    >>> import keras_distill as kd
    >>> teacher, student = np.array([[0.0, 1000.0]], "float32"), np.array([[1000.0, 0.0]], "float32")
    >>> round(float(kd.losses.SkewForwardKL(lam=0.5).compute_loss(teacher, student)), 4)  # log 2
    0.6931

    Reference:
        Ko, Kim, Chen, Yun, "DistiLLM: Towards Streamlined Distillation for Large Language Models", 2024,
        arXiv:2402.03898.
    """

    method = "skew_forward_kl"
    takes_top_k = True

    def __init__(self, temperature=1.0, lam=0.1, subtract_entropy=True, name=None):
        super().__init__(temperature, name=name)
        self.lam = check_number("lam", lam, 0.0, 1.0)
        self.subtract_entropy = bool(subtract_entropy)

    def per_sample(self, teacher_output, student_output, temperature=1.0):
        return skew_forward_kl(teacher_output, student_output, temperature, self.lam, self.subtract_entropy)

    def get_config(self):
        return {**super().get_config(), "lam": self.lam, "subtract_entropy": self.subtract_entropy}


@method("skew_reverse_kl", paper="Ko, Kim, Chen, Yun 2024", arxiv="2402.03898", peers=("DistiLLM",))
@keras.saving.register_keras_serializable(package="keras_distill")
class SkewReverseKL(TemperedLogitLoss):
    """Teach the student to say only what the teacher would, at a bounded price: `KL(q, (1 - lam) p + lam q)`.

    A little of the student in the mixture keeps the logarithm, and with it the gradient, finite where the teacher
    gives a class no probability. Not multiplied by T², as in the published code.

    Args:
        temperature: Softness T > 0 of both distributions, a number or a `keras.Variable`. Defaults to 1.0.
        lam: The student's share of the mixture, from 0.0 (`ReverseKL`) to 1.0 (nothing to learn). Defaults to 0.1.
        name: Name in the logs. Defaults to `"skew_reverse_kl"`.

    Raises:
        ValueError: If the temperature is not finite and positive, or `lam` is not from 0.0 to 1.0.

    Example:

    >>> import numpy as np
    >>> import keras_distill as kd
    >>> teacher, student = np.array([[0.0, 1000.0]], "float32"), np.array([[1000.0, 0.0]], "float32")
    >>> round(float(kd.losses.SkewReverseKL(lam=0.5).compute_loss(teacher, student)), 4)  # log 2
    0.6931

    Reference:
        Ko, Kim, Chen, Yun, "DistiLLM: Towards Streamlined Distillation for Large Language Models", 2024,
        arXiv:2402.03898.
    """

    method = "skew_reverse_kl"
    takes_top_k = True

    def __init__(self, temperature=1.0, lam=0.1, name=None):
        super().__init__(temperature, name=name)
        self.lam = check_number("lam", lam, 0.0, 1.0)

    def per_sample(self, teacher_output, student_output, temperature=1.0):
        return skew_reverse_kl(teacher_output, student_output, temperature, self.lam)

    def get_config(self):
        return {**super().get_config(), "lam": self.lam}
