"""Transformed teacher matching: the temperature applies to the teacher only."""

from typing import Any

from keras import ops

from keras_distill._core.checked import checked
from keras_distill.answers.answer import Tensor
from keras_distill.losses import divergences
from keras_distill.losses.logits.base import LogitFunctionLoss
from keras_distill.losses.registry import method


@checked(teacher_logits="[..., classes]", student_logits="[..., classes]")
def ttm(teacher_logits: Tensor, student_logits: Tensor, temperature: Tensor = 4.0) -> Tensor:
    """Compute `KL(p, q)` of the teacher at temperature T and the student at temperature 1.

    The student's logits are not divided by T, so the student learns a power transform of the teacher's distribution.
    Compared with `kd`, this adds a regularization of the student's entropy.

    Args:
        teacher_logits: Float array `[..., classes]`. Constant: no gradient reaches it.
        student_logits: Float array `[..., classes]`.
        temperature: Positive number, array or variable that divides the teacher's logits. Defaults to 4.0.

    Returns:
        Float array `[...]`, nats, never negative.

    Example:

    >>> import numpy as np
    >>> teacher, student = np.array([[8.0, 0.0]], "float32"), np.array([[2.0, 0.0]], "float32")
    >>> float(ttm(teacher, student, temperature=4.0)[0])
    0.0

    Reference:
        Zheng, Yang, "Knowledge Distillation Based on Transformed Teacher Matching", 2024, arXiv:2402.11148.
    """
    teacher, temperature = _centred(teacher_logits, student_logits, temperature)
    return divergences.kl_divergence(teacher / temperature, student_logits)


@checked(teacher_logits="[..., classes]", student_logits="[..., classes]")
def wttm(teacher_logits: Tensor, student_logits: Tensor, temperature: Tensor = 4.0) -> Tensor:
    """Compute `ttm`, with each row weighted by the smoothness of the teacher.

    The weight is the sum over the classes of the teacher's probabilities to the power 1/T: 1 where the teacher is
    certain of one class, and larger the more it spreads (for T > 1).

    Args:
        teacher_logits: Float array `[..., classes]`. Constant: no gradient reaches it.
        student_logits: Float array `[..., classes]`.
        temperature: Positive number, array or variable that divides the teacher's logits. Defaults to 4.0.

    Returns:
        Float array `[...]`, never negative.

    Example:

    >>> import numpy as np
    >>> teacher, student = np.zeros((1, 16), "float32"), np.eye(1, 16, dtype="float32")
    >>> ratio = wttm(teacher, student, temperature=2.0) / ttm(teacher, student, temperature=2.0)
    >>> round(float(ratio[0]), 4)  # 16 sqrt(1 / 16)
    4.0

    Reference:
        Zheng, Yang, "Knowledge Distillation Based on Transformed Teacher Matching", 2024, arXiv:2402.11148.
    """
    teacher, temperature = _centred(teacher_logits, student_logits, temperature)
    log_weight = ops.logsumexp(teacher / temperature, axis=-1) - ops.logsumexp(teacher, axis=-1) / temperature
    return ops.exp(log_weight) * ttm(teacher_logits, student_logits, temperature)


def wttm_of_top_k(top_k: Any, teacher_reduced: Tensor, student_reduced: Tensor, temperature: Tensor) -> Tensor:
    """Compute `wttm` from a stored top-k answer, with the weight over all classes.

    Args:
        top_k: A `keras_distill.targets.TopK`.
        teacher_reduced: Float array `[..., k + 1]`, the teacher's logits at the temperature, with the rest last.
        student_reduced: Float array `[..., k + 1]`, the student's at temperature 1.
        temperature: Positive number, array or variable that divides the teacher's logits.

    Returns:
        Float array `[...]`, never negative.
    """
    teacher = ops.cast(teacher_reduced, divergences.working_dtype(teacher_reduced, student_reduced))
    temperature = ops.cast(temperature, teacher.dtype)
    at_one = teacher[..., : top_k.k]
    if top_k.k < top_k.classes:
        at_one = ops.concatenate([at_one, ops.cast(top_k.rest_at(1.0), teacher.dtype)[..., None]], axis=-1)
    log_weight = ops.logsumexp(teacher / temperature, axis=-1) - ops.logsumexp(at_one, axis=-1) / temperature
    return ops.exp(ops.stop_gradient(log_weight)) * ttm(teacher, student_reduced, temperature)


def _centred(teacher_logits, student_logits, temperature):
    """Return the teacher's logits, with the largest of each row at 0, and the temperature, in one precision."""
    teacher, student = divergences.cast_pair(teacher_logits, student_logits)
    # Before the division, which would round away the difference of two large logits.
    return teacher - ops.max(teacher, axis=-1, keepdims=True), ops.cast(temperature, student.dtype)


@method("ttm", paper="Zheng, Yang 2024", arxiv="2402.11148", peers=("TTM",))
class TTM(LogitFunctionLoss):
    """Teach the student, at temperature 1, the softened teacher: see `ttm`. Not multiplied by T².

    Args:
        temperature: Softness T > 0 of the teacher's distribution, a number or a `keras.Variable`. Defaults to 4.0.
        name: Name in the logs. Defaults to `"ttm"`.

    Raises:
        ValueError: If the temperature is not finite and positive.

    Example:

    >>> import numpy as np
    >>> import keras_distill as kd
    >>> teacher, student = np.array([[8.0, 0.0]], "float32"), np.array([[2.0, 0.0]], "float32")
    >>> float(kd.losses.TTM(temperature=4.0).compute_loss(teacher, student))
    0.0
    """

    function = staticmethod(ttm)
    takes_top_k = True

    def __init__(self, temperature: Any = 4.0, name: str | None = None):
        super().__init__(temperature, name=name)

    def reduce_top_k(self, teacher: Tensor, student_logits: Tensor, temperature: Tensor) -> tuple[Tensor, Tensor]:
        """Return the rows of k + 1 logits: the teacher's at the temperature, and the student's at temperature 1."""
        unchecked = type(teacher)(
            teacher.indices, teacher.values, teacher.rest, teacher.temperatures, classes=teacher.classes
        )
        return teacher.reduced(student_logits, temperature)[0], unchecked.reduced(student_logits, 1.0)[1]


@method("wttm", paper="Zheng, Yang 2024", arxiv="2402.11148", peers=("TTM",))
class WTTM(TTM):
    """Teach the student the softened teacher, with more weight on samples where the teacher is smooth: see `wttm`.

    Args:
        temperature: Softness T > 0 of the teacher's distribution, a number or a `keras.Variable`. Defaults to 4.0.
        name: Name in the logs. Defaults to `"wttm"`.

    Raises:
        ValueError: If the temperature is not finite and positive.

    Example:

    >>> import numpy as np
    >>> import keras_distill as kd
    >>> teacher, student = np.zeros((1, 16), "float32"), np.log(np.array([[0.85] + [0.01] * 15], "float32"))
    >>> losses = kd.losses.WTTM(temperature=2.0), kd.losses.TTM(temperature=2.0)
    >>> weighted, plain = (float(loss.compute_loss(teacher, student)) for loss in losses)
    >>> round(weighted / plain, 4)  # 16 sqrt(1 / 16)
    4.0
    """

    function = staticmethod(wttm)

    def per_sample(
        self, teacher_output: Any, student_output: Any, temperature: Tensor = None, top_k: Any = None
    ) -> Tensor:
        if top_k is not None:
            return wttm_of_top_k(top_k, teacher_output, student_output, temperature)
        return super().per_sample(teacher_output, student_output, temperature)
