"""The two directions of the Kullback-Leibler divergence, and their mixture, as used to distill language models."""

from keras_distill._core.checked import checked
from keras_distill._core.checks import check_number
from keras_distill.answers.answer import Tensor
from keras_distill.losses import divergences
from keras_distill.losses.logits.base import LogitFunctionLoss
from keras_distill.losses.registry import method


@checked(teacher_logits="[..., classes]", student_logits="[..., classes]")
def forward_kl(
    teacher_logits: Tensor, student_logits: Tensor, temperature: Tensor = 1.0, subtract_entropy: bool = True
) -> Tensor:
    """Compute `KL(p, q)` of the tempered teacher `p` and the tempered student `q`.

    The teacher's distribution weights the classes, so the student spreads over all modes of the teacher.

    Args:
        teacher_logits: Float array `[..., classes]`. Constant: no gradient reaches it.
        student_logits: Float array `[..., classes]`.
        temperature: Positive number, array or variable that divides both. Defaults to 1.0.
        subtract_entropy: Whether to return the divergence, which is 0 for a perfect student, or the cross-entropy
            `-sum_c p_c log q_c` of the published code, which is larger by the teacher's entropy. Their gradients are
            the same. Defaults to `True`.

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


@checked(teacher_logits="[..., classes]", student_logits="[..., classes]")
def reverse_kl(teacher_logits: Tensor, student_logits: Tensor, temperature: Tensor = 1.0) -> Tensor:
    """Compute `KL(q, p)` of the tempered student `q` and the tempered teacher `p`.

    The student's own distribution weights the classes, so a student that is too small for all modes of the teacher
    settles on the main one.

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


@checked(teacher_logits="[..., classes]", student_logits="[..., classes]", lam=(0.0, 1.0))
def symmetric_kl(
    teacher_logits: Tensor,
    student_logits: Tensor,
    temperature: Tensor = 1.0,
    lam: float = 0.9,
    subtract_entropy: bool = True,
) -> Tensor:
    """Compute `(1 - lam) KL(p, q) + lam KL(q, p)`, see `forward_kl` and `reverse_kl`.

    Args:
        teacher_logits: Float array `[..., classes]`. Constant: no gradient reaches it.
        student_logits: Float array `[..., classes]`.
        temperature: Positive number, array or variable that divides both. Defaults to 1.0.
        lam: Number from 0.0 to 1.0, the weight of the reverse direction. Defaults to 0.9.
        subtract_entropy: Whether the first term is the divergence or the cross-entropy. Defaults to `True`.

    Returns:
        Float array `[...]`, nats.

    Example:

    >>> import numpy as np
    >>> one, other = np.log(np.array([[0.2, 0.8]], "float32")), np.log(np.array([[0.8, 0.2]], "float32"))
    >>> round(float(symmetric_kl(one, other, lam=0.25)[0]), 4)  # 0.6 log 4 in both directions
    0.8318

    Reference:
        Ko, Kim, Chen, Yun, "DistiLLM: Towards Streamlined Distillation for Large Language Models", 2024,
        arXiv:2402.03898.
    """
    forward = forward_kl(teacher_logits, student_logits, temperature, subtract_entropy)
    return (1.0 - lam) * forward + lam * reverse_kl(teacher_logits, student_logits, temperature)


@method("forward_kl", paper="Ko, Kim, Chen, Yun 2024", arxiv="2402.03898", peers=("DistiLLM",))
class ForwardKL(LogitFunctionLoss):
    """Teach the student to cover everything that the teacher finds likely: `KL(p, q)`, see `forward_kl`.

    Unlike `LogitsDistillation`, it is not multiplied by T², as in the published code.

    Args:
        temperature: Softness T > 0 of both distributions, a number or a `keras.Variable`. Defaults to 1.0.
        subtract_entropy: Whether to report the divergence or the cross-entropy. Defaults to `True`.
        name: Name in the logs. Defaults to `"forward_kl"`.

    Raises:
        ValueError: If the temperature is not finite and positive.

    Example:

    >>> import numpy as np
    >>> import keras_distill as kd
    >>> teacher, student = np.array([[0.0, 0.0]], "float32"), np.log(np.array([[0.25, 0.75]], "float32"))
    >>> loss = kd.losses.ForwardKL(subtract_entropy=False)
    >>> round(float(loss.compute_loss(teacher, student)), 4)  # log(4 / 3) / 2 + log 2
    0.837
    """

    function = staticmethod(forward_kl)
    hyper_parameters = ("subtract_entropy",)
    takes_top_k = True

    @checked()
    def __init__(self, temperature: Tensor = 1.0, subtract_entropy: bool = True, name: str | None = None):
        super().__init__(temperature, name=name)
        self.subtract_entropy = bool(subtract_entropy)


@method("reverse_kl", paper="Gu, Dong, Wei, Huang 2023", arxiv="2306.08543", peers=("DistiLLM",))
class ReverseKL(LogitFunctionLoss):
    """Teach the student to give probability only to what the teacher finds likely: `KL(q, p)`, see `reverse_kl`.

    Not multiplied by T², as in the published code.

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
    """

    function = staticmethod(reverse_kl)
    takes_top_k = True


@method("symmetric_kl", paper="Ko, Kim, Chen, Yun 2024", arxiv="2402.03898", peers=("DistiLLM",))
class SymmetricKL(LogitFunctionLoss):
    """Teach the student by both directions of the divergence at once, see `symmetric_kl`.

    Not multiplied by T², as in the published code.

    Args:
        temperature: Softness T > 0 of both distributions, a number or a `keras.Variable`. Defaults to 1.0.
        lam: Weight of the reverse direction, from 0.0 to 1.0. Defaults to 0.9.
        subtract_entropy: Whether the forward term is the divergence or the cross-entropy. Defaults to `True`.
        name: Name in the logs. Defaults to `"symmetric_kl"`.

    Raises:
        ValueError: If the temperature is not finite and positive, or `lam` is not from 0.0 to 1.0.

    Example:

    >>> import numpy as np
    >>> import keras_distill as kd
    >>> one, other = np.log(np.array([[0.2, 0.8]], "float32")), np.log(np.array([[0.8, 0.2]], "float32"))
    >>> round(float(kd.losses.SymmetricKL(lam=0.5).compute_loss(one, other)), 4)  # 0.6 log 4
    0.8318
    """

    function = staticmethod(symmetric_kl)
    hyper_parameters = ("lam", "subtract_entropy")
    takes_top_k = True

    @checked(lam=(0.0, 1.0))
    def __init__(
        self,
        temperature: Tensor = 1.0,
        lam: float = 0.9,
        subtract_entropy: bool = True,
        name: str | None = None,
    ):
        super().__init__(temperature, name=name)
        self.lam = check_number("lam", lam, 0.0, 1.0)
        self.subtract_entropy = bool(subtract_entropy)
