"""Divergences that are bounded on both sides: to the mixture of teacher and student, and in total variation."""

import keras
from keras import ops

from keras_distill._core.checks import check_number
from keras_distill.losses import divergences
from keras_distill.losses.base import expand_like
from keras_distill.losses.logits.base import TemperedLogitLoss
from keras_distill.losses.logits.directed import forward_kl, reverse_kl
from keras_distill.losses.registry import method


def js_distance(teacher_logits, student_logits, temperature=1.0, lam=0.9):
    """Compute `lam KL(q, m) + (1 - lam) KL(p, m)` to the mixture `m = (1 - lam) p + lam q`.

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
    of_student = divergences.mixture_divergence(q, p, -log_ratio, 1.0 - lam)
    of_teacher = divergences.mixture_divergence(p, q, log_ratio, lam)
    return lam * of_student + (1.0 - lam) * of_teacher


def generalized_jsd(teacher_logits, student_logits, temperature=1.0, beta=0.5):
    """Compute `beta KL(p, m) + (1 - beta) KL(q, m)` to the mixture `m = beta p + (1 - beta) q`.

    At the ends, where that formula is zero, it is `KL(p, q)` (`beta = 0`) and `KL(q, p)` (`beta = 1`), to which its
    gradient is proportional nearby.

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


def tv_distance(teacher_logits, student_logits, temperature=1.0):
    """Compute `sum_c |p_c - q_c| / 2`: the probability on which teacher and student do not agree.

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
    # Two distributions differ by nothing in sum: what is left is the rounding of their normalisation.
    difference = difference - p * ops.stop_gradient(ops.sum(difference, axis=-1, keepdims=True))
    return 0.5 * ops.sum(ops.abs(difference), axis=-1)


@method("js_distance", paper="Wen, Li, Du, Mou 2023", arxiv="2307.15190", peers=("DistiLLM",))
@keras.saving.register_keras_serializable(package="keras_distill")
class JSDistance(TemperedLogitLoss):
    """Teach the student by both divergences to the mixture of the two: `lam KL(q, m) + (1 - lam) KL(p, m)`.

    With `m = (1 - lam) p + lam q`. Bounded; at `lam=0.5` the Jensen-Shannon divergence, which treats both alike. Equal
    to `GeneralizedJSD` at `beta = 1 - lam`, but for its ends. Not multiplied by T², as in the published code.

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

    Reference:
        Wen, Li, Du, Mou, "f-Divergence Minimization for Sequence-Level Knowledge Distillation", 2023,
        arXiv:2307.15190.
    """

    method = "js_distance"
    takes_top_k = True

    def __init__(self, temperature=1.0, lam=0.9, name=None):
        super().__init__(temperature, name=name)
        self.lam = check_number("lam", lam, 0.0, 1.0)

    def per_sample(self, teacher_output, student_output, temperature=1.0):
        return js_distance(teacher_output, student_output, temperature, self.lam)

    def get_config(self):
        return {**super().get_config(), "lam": self.lam}


@method("generalized_jsd", paper="Agarwal et al. 2023", arxiv="2306.13649", peers=("TRL",))
@keras.saving.register_keras_serializable(package="keras_distill")
class GeneralizedJSD(TemperedLogitLoss):
    """Teach the student by a divergence between the forward and the reverse one: `beta KL(p, m) + (1 - beta) KL(q, m)`.

    With `m = beta p + (1 - beta) q`. Small `beta` acts as the forward direction, large `beta` as the reverse one; at
    0.0 and 1.0 it is exactly `KL(p, q)` and `KL(q, p)`. Not multiplied by T², as in the published code.

    Args:
        temperature: Softness T > 0 of both distributions, a number or a `keras.Variable`. Defaults to 1.0.
        beta: The teacher's share of the mixture, from 0.0 to 1.0. Defaults to 0.5.
        per_sequence: Whether to add up the positions of a sample, as the published code does where there are no
            labels, rather than to average over all positions. Defaults to `False`.
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

    Reference:
        Agarwal et al., "On-Policy Distillation of Language Models: Learning from Self-Generated Mistakes", 2023,
        arXiv:2306.13649.
    """

    method = "generalized_jsd"
    takes_top_k = True

    def __init__(self, temperature=1.0, beta=0.5, per_sequence=False, name=None):
        super().__init__(temperature, name=name)
        self.beta = check_number("beta", beta, 0.0, 1.0)
        self.per_sequence = bool(per_sequence)

    def per_sample(self, teacher_output, student_output, temperature=1.0, mask=None):
        values = generalized_jsd(teacher_output, student_output, temperature, self.beta)
        return values * _positions_per_sample(values, mask) if self.per_sequence else values

    def get_config(self):
        return {**super().get_config(), "beta": self.beta, "per_sequence": self.per_sequence}


def _positions_per_sample(values, mask):
    """Return by what a mean over all positions falls short of the sum of a sample's, averaged over the samples."""
    counted = ops.ones_like(values)
    if mask is not None:
        counted = counted * ops.cast(expand_like(ops.cast(mask, "bool"), values), values.dtype)
    of_samples = ops.sum(counted, axis=tuple(range(1, len(values.shape))))
    samples = ops.sum(ops.cast(of_samples > 0, values.dtype))
    return ops.sum(of_samples) / ops.maximum(samples, 1.0)


@method("tv_distance", paper="Wen, Li, Du, Mou 2023", arxiv="2307.15190", peers=("DistiLLM",))
@keras.saving.register_keras_serializable(package="keras_distill")
class TVDistance(TemperedLogitLoss):
    """Teach the student by the probability on which it and the teacher do not agree: `sum_c |p_c - q_c| / 2`.

    Its gradient is bounded and does not shrink as the student comes near. Not multiplied by T², as in the published
    code.

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

    Reference:
        Wen, Li, Du, Mou, "f-Divergence Minimization for Sequence-Level Knowledge Distillation", 2023,
        arXiv:2307.15190.
    """

    method = "tv_distance"
    takes_top_k = True

    def per_sample(self, teacher_output, student_output, temperature=1.0):
        return tv_distance(teacher_output, student_output, temperature)
