"""Divergences to a mixture with a small share of the other distribution, which makes them bounded."""

from keras_distill._core.checked import checked
from keras_distill._core.checks import check_number
from keras_distill.answers.answer import Tensor
from keras_distill.losses import divergences
from keras_distill.losses.logits.base import LogitFunctionLoss
from keras_distill.losses.registry import method


@checked(teacher_logits="[..., classes]", student_logits="[..., classes]", lam=(0.0, 1.0))
def skew_forward_kl(
    teacher_logits: Tensor,
    student_logits: Tensor,
    temperature: Tensor = 1.0,
    lam: float = 0.1,
    subtract_entropy: bool = True,
) -> Tensor:
    """Compute `KL(p, lam p + (1 - lam) q)`, which is at most `log(1 / lam)` for any student.

    The teacher's share of the mixture keeps the logarithm, and with it the gradient, finite where the student gives a
    class no probability.

    Args:
        teacher_logits: Float array `[..., classes]`. Constant: no gradient reaches it.
        student_logits: Float array `[..., classes]`.
        temperature: Positive number, array or variable that divides both. Defaults to 1.0.
        lam: Number from 0.0 to 1.0, the teacher's share of the mixture. Defaults to 0.1.
        subtract_entropy: Whether to return the divergence, which is 0 for a perfect student, or the cross-entropy of
            the teacher and the mixture, as in the published code, which is larger by the teacher's entropy. Their
            gradients are the same. Defaults to `True`.

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


@checked(teacher_logits="[..., classes]", student_logits="[..., classes]", lam=(0.0, 1.0))
def skew_reverse_kl(
    teacher_logits: Tensor, student_logits: Tensor, temperature: Tensor = 1.0, lam: float = 0.1
) -> Tensor:
    """Compute `KL(q, (1 - lam) p + lam q)`, which is at most `log(1 / lam)` for any student.

    The student's share of the mixture keeps the logarithm, and with it the gradient, finite where the teacher gives a
    class no probability.

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
class SkewForwardKL(LogitFunctionLoss):
    """Teach the student to cover the teacher, by a bounded divergence: see `skew_forward_kl`.

    Not multiplied by T², as in the published code.

    Args:
        temperature: Softness T > 0 of both distributions, a number or a `keras.Variable`. Defaults to 1.0.
        lam: The teacher's share of the mixture, from 0.0 (`ForwardKL`) to 1.0 (nothing to learn). Defaults to 0.1.
        subtract_entropy: Whether to report the divergence or the cross-entropy. Defaults to `True`.
        name: Name in the logs. Defaults to `"skew_forward_kl"`.

    Raises:
        ValueError: If the temperature is not finite and positive, or `lam` is not from 0.0 to 1.0.

    Example:

    >>> import numpy as np
    >>> import keras_distill as kd
    >>> teacher, student = np.array([[0.0, 1000.0]], "float32"), np.array([[1000.0, 0.0]], "float32")
    >>> round(float(kd.losses.SkewForwardKL(lam=0.5).compute_loss(teacher, student)), 4)  # log 2
    0.6931
    """

    function = staticmethod(skew_forward_kl)
    hyper_parameters = ("lam", "subtract_entropy")
    takes_top_k = True

    @checked(lam=(0.0, 1.0))
    def __init__(
        self,
        temperature: Tensor = 1.0,
        lam: float = 0.1,
        subtract_entropy: bool = True,
        name: str | None = None,
    ):
        super().__init__(temperature, name=name)
        self.lam = check_number("lam", lam, 0.0, 1.0)
        self.subtract_entropy = bool(subtract_entropy)


@method("skew_reverse_kl", paper="Ko, Kim, Chen, Yun 2024", arxiv="2402.03898", peers=("DistiLLM",))
class SkewReverseKL(LogitFunctionLoss):
    """Teach the student to follow the main modes of the teacher, by a bounded divergence: see `skew_reverse_kl`.

    Not multiplied by T², as in the published code.

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
    """

    function = staticmethod(skew_reverse_kl)
    hyper_parameters = ("lam",)
    takes_top_k = True

    def __init__(self, temperature: Tensor = 1.0, lam: float = 0.1, name: str | None = None):
        super().__init__(temperature, name=name)
        self.lam = check_number("lam", lam, 0.0, 1.0)
