"""The two directions of the Kullback-Leibler divergence, and their mixture, as language models are distilled by."""

import keras

from keras_distill._core.checks import check_number
from keras_distill.losses import divergences
from keras_distill.losses.logits.base import TemperedLogitLoss
from keras_distill.losses.registry import method


def forward_kl(teacher_logits, student_logits, temperature=1.0, subtract_entropy=True):
    """Compute `KL(p, q)`: the student pays where the teacher says something and it does not.

    Args:
        teacher_logits: Float array `[..., classes]`. Constant: no gradient reaches it.
        student_logits: Float array `[..., classes]`.
        temperature: Positive number, array or variable that divides both. Defaults to 1.0.
        subtract_entropy: Whether to return the divergence, or the cross-entropy `-sum_c p_c log q_c`, which is larger
            by the teacher's entropy and has the same gradients. Defaults to `True`.

    Returns:
        Float array `[...]`, nats.

    Example:

    >>> import numpy as np
    >>> teacher, student = np.array([[0.0, 0.0]], "float32"), np.log(np.array([[0.25, 0.75]], "float32"))
    >>> round(float(forward_kl(teacher, student)[0]), 4)  # log(4 / 3) / 2
    0.1438

    Reference:
        Ko, Kim, Chen, Yun, "DistiLLM: Towards Streamlined Distillation for Large Language Models", 2024,
        arXiv:2402.03898.
    """
    compare = divergences.kl_divergence if subtract_entropy else divergences.soft_cross_entropy
    return compare(teacher_logits, student_logits, temperature)


def reverse_kl(teacher_logits, student_logits, temperature=1.0):
    """Compute `KL(q, p)`: the student pays where it says something that the teacher does not.

    Args:
        teacher_logits: Float array `[..., classes]`. Constant: no gradient reaches it.
        student_logits: Float array `[..., classes]`.
        temperature: Positive number, array or variable that divides both. Defaults to 1.0.

    Returns:
        Float array `[...]`, nats, never negative.

    Example:

    >>> import numpy as np
    >>> teacher, student = np.log(np.array([[0.25, 0.75]], "float32")), np.array([[0.0, 0.0]], "float32")
    >>> round(float(reverse_kl(teacher, student)[0]), 4)  # log(4 / 3) / 2
    0.1438

    Reference:
        Gu, Dong, Wei, Huang, "MiniLLM: Knowledge Distillation of Large Language Models", 2023, arXiv:2306.08543.
    """
    p, q, log_ratio = divergences.distributions(teacher_logits, student_logits, temperature)
    return divergences.mixture_divergence(q, p, -log_ratio, 1.0)


def symmetric_kl(teacher_logits, student_logits, temperature=1.0, lam=0.9, subtract_entropy=True):
    """Compute `(1 - lam) KL(p, q) + lam KL(q, p)`.

    Args:
        teacher_logits: Float array `[..., classes]`. Constant: no gradient reaches it.
        student_logits: Float array `[..., classes]`.
        temperature: Positive number, array or variable that divides both. Defaults to 1.0.
        lam: Number from 0.0 to 1.0, the weight of the reverse direction. Defaults to 0.9.
        subtract_entropy: Whether the first term is the divergence, or the cross-entropy. Defaults to `True`.

    Returns:
        Float array `[...]`, nats.

    Example:

    >>> import numpy as np
    >>> one, other = np.log(np.array([[0.2, 0.8]], "float32")), np.log(np.array([[0.8, 0.2]], "float32"))
    >>> round(float(symmetric_kl(one, other, lam=0.25)[0]), 4)  # 0.6 log 4, either way
    0.8318

    Reference:
        Ko, Kim, Chen, Yun, "DistiLLM: Towards Streamlined Distillation for Large Language Models", 2024,
        arXiv:2402.03898.
    """
    forward = forward_kl(teacher_logits, student_logits, temperature, subtract_entropy)
    return (1.0 - lam) * forward + lam * reverse_kl(teacher_logits, student_logits, temperature)


@method("forward_kl", paper="Ko, Kim, Chen, Yun 2024", arxiv="2402.03898", peers=("DistiLLM",))
@keras.saving.register_keras_serializable(package="keras_distill")
class ForwardKL(TemperedLogitLoss):
    """Teach the student to cover all that the teacher says: `KL(p, q)`.

    The teacher's distribution weighs the classes, so the student spreads over every mode of it. Not multiplied by T²,
    as in the published code; `LogitsDistillation` is.

    Args:
        temperature: Softness T > 0 of both distributions, a number or a `keras.Variable`. Defaults to 1.0.
        subtract_entropy: Whether to report the divergence, which is 0 for a perfect student, or the cross-entropy of
            the published code, larger by the teacher's entropy. They train alike. Defaults to `True`.
        name: Name in the logs. Defaults to `"forward_kl"`.

    Raises:
        ValueError: If the temperature is not finite and positive.

    Example:

    >>> import numpy as np
    >>> import keras_distill as kd
    >>> teacher, student = np.array([[0.0, 0.0]], "float32"), np.log(np.array([[0.25, 0.75]], "float32"))
    >>> loss = kd.losses.ForwardKL(subtract_entropy=False)
    >>> round(float(loss.compute_loss(teacher, student)), 4)  # log(4 / 3) / 2, and the entropy log 2
    0.837

    Reference:
        Ko, Kim, Chen, Yun, "DistiLLM: Towards Streamlined Distillation for Large Language Models", 2024,
        arXiv:2402.03898.
    """

    method = "forward_kl"
    takes_top_k = True

    def __init__(self, temperature=1.0, subtract_entropy=True, name=None):
        super().__init__(temperature, name=name)
        self.subtract_entropy = bool(subtract_entropy)

    def per_sample(self, teacher_output, student_output, temperature=1.0):
        return forward_kl(teacher_output, student_output, temperature, self.subtract_entropy)

    def get_config(self):
        return {**super().get_config(), "subtract_entropy": self.subtract_entropy}


@method("reverse_kl", paper="Gu, Dong, Wei, Huang 2023", arxiv="2306.08543", peers=("DistiLLM",))
@keras.saving.register_keras_serializable(package="keras_distill")
class ReverseKL(TemperedLogitLoss):
    """Teach the student to say only what the teacher would: `KL(q, p)`.

    The student's own distribution weighs the classes, so a student too small for all modes of the teacher settles on
    the main one. Not multiplied by T², as in the published code.

    Args:
        temperature: Softness T > 0 of both distributions, a number or a `keras.Variable`. Defaults to 1.0.
        name: Name in the logs. Defaults to `"reverse_kl"`.

    Raises:
        ValueError: If the temperature is not finite and positive.

    Example:

    >>> import numpy as np
    >>> import keras_distill as kd
    >>> teacher, student = np.log(np.array([[0.25, 0.75]], "float32")), np.array([[0.0, 0.0]], "float32")
    >>> round(float(kd.losses.ReverseKL().compute_loss(teacher, student)), 4)  # log(4 / 3) / 2
    0.1438

    Reference:
        Gu, Dong, Wei, Huang, "MiniLLM: Knowledge Distillation of Large Language Models", 2023, arXiv:2306.08543.
    """

    method = "reverse_kl"
    takes_top_k = True

    def per_sample(self, teacher_output, student_output, temperature=1.0):
        return reverse_kl(teacher_output, student_output, temperature)


@method("symmetric_kl", paper="Ko, Kim, Chen, Yun 2024", arxiv="2402.03898", peers=("DistiLLM",))
@keras.saving.register_keras_serializable(package="keras_distill")
class SymmetricKL(TemperedLogitLoss):
    """Teach the student by both directions at once: `(1 - lam) KL(p, q) + lam KL(q, p)`.

    Not multiplied by T², as in the published code.

    Args:
        temperature: Softness T > 0 of both distributions, a number or a `keras.Variable`. Defaults to 1.0.
        lam: Weight of the reverse direction, from 0.0 to 1.0. Defaults to 0.9.
        subtract_entropy: Whether the first term is the divergence, or the cross-entropy of the published code, larger
            by the teacher's entropy. They train alike. Defaults to `True`.
        name: Name in the logs. Defaults to `"symmetric_kl"`.

    Raises:
        ValueError: If the temperature is not finite and positive, or `lam` is not from 0.0 to 1.0.

    Example:

    >>> import numpy as np
    >>> import keras_distill as kd
    >>> one, other = np.log(np.array([[0.2, 0.8]], "float32")), np.log(np.array([[0.8, 0.2]], "float32"))
    >>> round(float(kd.losses.SymmetricKL(lam=0.5).compute_loss(one, other)), 4)  # 0.6 log 4
    0.8318

    Reference:
        Ko, Kim, Chen, Yun, "DistiLLM: Towards Streamlined Distillation for Large Language Models", 2024,
        arXiv:2402.03898.
    """

    method = "symmetric_kl"
    takes_top_k = True

    def __init__(self, temperature=1.0, lam=0.9, subtract_entropy=True, name=None):
        super().__init__(temperature, name=name)
        self.lam = check_number("lam", lam, 0.0, 1.0)
        self.subtract_entropy = bool(subtract_entropy)

    def per_sample(self, teacher_output, student_output, temperature=1.0):
        return symmetric_kl(teacher_output, student_output, temperature, self.lam, self.subtract_entropy)

    def get_config(self):
        return {**super().get_config(), "lam": self.lam, "subtract_entropy": self.subtract_entropy}
