"""Divergences with an upper bound: those to a mixture of teacher and student, and the total variation distance."""

from typing import Any

from keras import ops

from keras_distill._core.checked import checked
from keras_distill._core.checks import check_number
from keras_distill._core.tensors import expand_like
from keras_distill.answers.answer import Tensor
from keras_distill.losses import divergences
from keras_distill.losses.logits.base import LogitFunctionLoss
from keras_distill.losses.logits.directed import forward_kl, reverse_kl
from keras_distill.losses.registry import method


@checked(teacher_logits="[..., classes]", student_logits="[..., classes]", lam=(0.0, 1.0))
def js_distance(teacher_logits: Tensor, student_logits: Tensor, temperature: Tensor = 1.0, lam: float = 0.9) -> Tensor:
    """Compute `lam KL(q, m) + (1 - lam) KL(p, m)` with the mixture `m = (1 - lam) p + lam q`.

    At `lam=0.5` it is the Jensen-Shannon divergence, which treats both models alike.

    Args:
        teacher_logits: Float array `[..., classes]`. Constant: no gradient reaches it.
        student_logits: Float array `[..., classes]`.
        temperature: Positive number, array or variable that divides both. Defaults to 1.0.
        lam: Number from 0.0 to 1.0, the student's share of the mixture. Defaults to 0.9.

    Returns:
        Float array `[...]`, nats, from 0 to log 2.

    Example:

    >>> import numpy as np
    >>> teacher, student = np.array([[0.0, 1000.0]], "float32"), np.array([[1000.0, 0.0]], "float32")
    >>> round(float(js_distance(teacher, student, lam=0.5)[0]), 4)  # Nothing in common: log 2
    0.6931

    Reference:
        Wen, Li, Du, Mou, "f-Divergence Minimization for Sequence-Level Knowledge Distillation", 2023,
        arXiv:2307.15190.
    """
    p, q, log_ratio = divergences.distributions(teacher_logits, student_logits, temperature)
    from_student = divergences.mixture_divergence(q, p, -log_ratio, 1.0 - lam)
    from_teacher = divergences.mixture_divergence(p, q, log_ratio, lam)
    return lam * from_student + (1.0 - lam) * from_teacher


@checked(teacher_logits="[..., classes]", student_logits="[..., classes]", beta=(0.0, 1.0))
def generalized_jsd(
    teacher_logits: Tensor, student_logits: Tensor, temperature: Tensor = 1.0, beta: float = 0.5
) -> Tensor:
    """Compute `beta KL(p, m) + (1 - beta) KL(q, m)` with the mixture `m = beta p + (1 - beta) q`.

    A small `beta` acts like the forward direction, a large one like the reverse direction. The formula is zero at both
    ends; there the result is `KL(p, q)` (`beta=0`) and `KL(q, p)` (`beta=1`), to which its gradient is proportional
    nearby.

    Args:
        teacher_logits: Float array `[..., classes]`. Constant: no gradient reaches it.
        student_logits: Float array `[..., classes]`.
        temperature: Positive number, array or variable that divides both. Defaults to 1.0.
        beta: Number from 0.0 to 1.0, the teacher's share of the mixture. Defaults to 0.5.

    Returns:
        Float array `[...]`, nats, never negative.

    Example:

    >>> import numpy as np
    >>> teacher, student = np.array([[0.0, 0.0]], "float32"), np.log(np.array([[0.25, 0.75]], "float32"))
    >>> round(float(generalized_jsd(teacher, student, beta=0.0)[0]), 4)  # log(4 / 3) / 2
    0.1438

    Reference:
        Agarwal et al., "On-Policy Distillation of Language Models: Learning from Self-Generated Mistakes", 2023,
        arXiv:2306.13649.
    """
    if 0.0 < beta < 1.0:
        return js_distance(teacher_logits, student_logits, temperature, lam=1.0 - beta)
    compare = forward_kl if beta == 0.0 else reverse_kl
    return compare(teacher_logits, student_logits, temperature)


@checked(teacher_logits="[..., classes]", student_logits="[..., classes]")
def tv_distance(teacher_logits: Tensor, student_logits: Tensor, temperature: Tensor = 1.0) -> Tensor:
    """Compute the total variation distance `sum_c |p_c - q_c| / 2`.

    It is the probability on which teacher and student disagree. Its gradient is bounded, and does not shrink as the
    student approaches the teacher.

    Args:
        teacher_logits: Float array `[..., classes]`. Constant: no gradient reaches it.
        student_logits: Float array `[..., classes]`.
        temperature: Positive number, array or variable that divides both. Defaults to 1.0.

    Returns:
        Float array `[...]`, from 0 to 1.

    Example:

    >>> import numpy as np
    >>> teacher, student = np.array([[0.0, 0.0]], "float32"), np.log(np.array([[0.25, 0.75]], "float32"))
    >>> round(float(tv_distance(teacher, student)[0]), 4)
    0.25

    Reference:
        Wen, Li, Du, Mou, "f-Divergence Minimization for Sequence-Level Knowledge Distillation", 2023,
        arXiv:2307.15190.
    """
    p, q, log_ratio = divergences.distributions(teacher_logits, student_logits, temperature)
    near = ops.abs(log_ratio) < 1.0
    difference = ops.where(near, p * ops.expm1(ops.where(near, log_ratio, ops.zeros_like(log_ratio))), q - p)
    # The differences of two distributions add up to zero: any other sum is the rounding of their normalization.
    difference = difference - p * ops.stop_gradient(ops.sum(difference, axis=-1, keepdims=True))
    return 0.5 * ops.sum(divergences.absolute(difference), axis=-1)


@method("js_distance", paper="Wen, Li, Du, Mou 2023", arxiv="2307.15190", peers=("DistiLLM",))
class JSDistance(LogitFunctionLoss):
    """Teach the student by the divergences of both models to their mixture, see `js_distance`.

    Equal to `GeneralizedJSD` at `beta = 1 - lam`, except at the ends. Not multiplied by T², as in the published code.

    Args:
        temperature: Softness T > 0 of both distributions, a number or a `keras.Variable`. Defaults to 1.0.
        lam: The student's share of the mixture, from 0.0 to 1.0 (nothing to learn at either end). Defaults to 0.9.
        name: Name in the logs. Defaults to `"js_distance"`.

    Raises:
        ValueError: If the temperature is not finite and positive, or `lam` is not from 0.0 to 1.0.

    Example:

    >>> import numpy as np
    >>> import keras_distill as kd
    >>> teacher, student = np.array([[0.0, 1000.0]], "float32"), np.array([[1000.0, 0.0]], "float32")
    >>> round(float(kd.losses.JSDistance(lam=0.5).compute_loss(teacher, student)), 4)  # log 2
    0.6931
    """

    function = staticmethod(js_distance)
    hyper_parameters = ("lam",)
    takes_top_k = True

    def __init__(self, temperature: Tensor = 1.0, lam: float = 0.9, name: str | None = None):
        super().__init__(temperature, name=name)
        self.lam = check_number("lam", lam, 0.0, 1.0)


@method("generalized_jsd", paper="Agarwal et al. 2023", arxiv="2306.13649", peers=("TRL",))
class GeneralizedJSD(LogitFunctionLoss):
    """Teach the student by a divergence between the forward and the reverse one, see `generalized_jsd`.

    Not multiplied by T², as in the published code.

    Args:
        temperature: Softness T > 0 of both distributions, a number or a `keras.Variable`. Defaults to 1.0.
        beta: The teacher's share of the mixture, from 0.0 to 1.0. Defaults to 0.5.
        per_sequence: Whether to add the positions of a sample, as the published code does for data without labels,
            instead of averaging over all positions. Defaults to `False`.
        name: Name in the logs. Defaults to `"generalized_jsd"`.

    Raises:
        ValueError: If the temperature is not finite and positive, or `beta` is not from 0.0 to 1.0.

    Example:

    >>> import numpy as np
    >>> import keras_distill as kd
    >>> teacher = np.zeros((2, 5, 2), "float32")
    >>> student = teacher + np.log(np.array([0.25, 0.75], "float32"))
    >>> losses = [kd.losses.GeneralizedJSD(beta=0.0, per_sequence=whole) for whole in (False, True)]
    >>> [round(float(loss.compute_loss(teacher, student)), 4) for loss in losses]  # log(4 / 3) / 2, and 5 of them
    [0.1438, 0.7192]
    """

    function = staticmethod(generalized_jsd)
    hyper_parameters = ("beta",)
    takes_top_k = True

    @checked(beta=(0.0, 1.0))
    def __init__(
        self,
        temperature: Tensor = 1.0,
        beta: float = 0.5,
        per_sequence: bool = False,
        name: str | None = None,
    ):
        super().__init__(temperature, name=name)
        self.beta = check_number("beta", beta, 0.0, 1.0)
        self.per_sequence = bool(per_sequence)

    def per_sample(
        self, teacher_output: Tensor, student_output: Tensor, temperature: Any = None, mask: Tensor = None
    ) -> Tensor:
        values = super().per_sample(teacher_output, student_output, temperature)
        return values * _positions_per_sample(values, mask) if self.per_sequence else values

    def _settings(self):
        return {**super()._settings(), "per_sequence": self.per_sequence}


def _positions_per_sample(values, mask):
    """Return the average number of positions of a sample: the sum over a sample divided by the mean over positions."""
    counted = ops.ones_like(values)
    if mask is not None:
        counted = counted * ops.cast(expand_like(ops.cast(mask, "bool"), values), values.dtype)
    positions = ops.sum(counted, axis=tuple(range(1, len(values.shape))))
    samples = ops.sum(ops.cast(positions > 0, values.dtype))
    return ops.sum(positions) / ops.maximum(samples, 1.0)


@method("tv_distance", paper="Wen, Li, Du, Mou 2023", arxiv="2307.15190", peers=("DistiLLM",))
class TVDistance(LogitFunctionLoss):
    """Teach the student by the total variation distance to the teacher, see `tv_distance`.

    Not multiplied by T², as in the published code.

    Args:
        temperature: Softness T > 0 of both distributions, a number or a `keras.Variable`. Defaults to 1.0.
        name: Name in the logs. Defaults to `"tv_distance"`.

    Raises:
        ValueError: If the temperature is not finite and positive.

    Example:

    >>> import numpy as np
    >>> import keras_distill as kd
    >>> teacher, student = np.array([[0.0, 0.0]], "float32"), np.log(np.array([[0.25, 0.75]], "float32"))
    >>> round(float(kd.losses.TVDistance().compute_loss(teacher, student)), 4)
    0.25
    """

    function = staticmethod(tv_distance)
    takes_top_k = True
