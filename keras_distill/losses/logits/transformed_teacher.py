"""Transformed teacher matching: the temperature is the teacher's alone."""

import keras
from keras import ops

from keras_distill.losses import divergences
from keras_distill.losses.logits.base import TemperedLogitLoss
from keras_distill.losses.registry import method


def ttm(teacher_logits, student_logits, temperature=4.0):
    """Compute `KL(p, q)` of the teacher at temperature T and the student at 1.

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


def wttm(teacher_logits, student_logits, temperature=4.0):
    """Compute `ttm`, each row weighted by how smooth the teacher is on it.

    The weight is the sum over the classes of the teacher's probabilities to the power 1/T: 1 where it is sure of one
    class, and larger the more it spreads (for T > 1).

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


def wttm_of_top_k(top_k, teacher_reduced, student_reduced, temperature):
    """Compute `wttm` of what a store keeps of a teacher: the weight is that of all classes.

    Args:
        top_k: A `keras_distill.targets.TopK`.
        teacher_reduced: Float array `[..., k + 1]`, the teacher's logits with the rest as one, at the temperature.
        student_reduced: Float array `[..., k + 1]`, the student's at temperature 1.
        temperature: Positive number, array or variable that divides the teacher's logits.

    Returns:
        Float array `[...]`, never negative.
    """
    teacher = ops.cast(teacher_reduced, divergences.working_dtype(teacher_reduced, student_reduced))
    temperature = ops.cast(temperature, teacher.dtype)
    whole = teacher[..., : top_k.k]
    if top_k.k < top_k.classes:
        whole = ops.concatenate([whole, ops.cast(top_k.rest_at(1.0), teacher.dtype)[..., None]], axis=-1)
    log_weight = ops.logsumexp(teacher / temperature, axis=-1) - ops.logsumexp(whole, axis=-1) / temperature
    return ops.exp(ops.stop_gradient(log_weight)) * ttm(teacher, student_reduced, temperature)


def _centred(teacher_logits, student_logits, temperature):
    """Return the teacher's logits, the largest of each row at 0, and the temperature, in one precision."""
    teacher, student = ops.convert_to_tensor(teacher_logits), ops.convert_to_tensor(student_logits)
    dtype = divergences.working_dtype(teacher, student)
    teacher = ops.stop_gradient(ops.cast(teacher, dtype))
    # Before the division: of two large logits it would round away their difference.
    return teacher - ops.max(teacher, axis=-1, keepdims=True), ops.cast(temperature, dtype)


@method("ttm", paper="Zheng, Yang 2024", arxiv="2402.11148", peers=("TTM",))
@keras.saving.register_keras_serializable(package="keras_distill")
class TTM(TemperedLogitLoss):
    """Teach the student, at temperature 1, the softened teacher.

    The student's logits are not divided by T, so what it learns is a power transform of the teacher's distribution;
    compared with `LogitsDistillation` this adds a regularisation of the student's entropy. No factor T².

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

    Reference:
        Zheng, Yang, "Knowledge Distillation Based on Transformed Teacher Matching", 2024, arXiv:2402.11148.
    """

    method = "ttm"
    takes_top_k = True

    def __init__(self, temperature=4.0, name=None):
        super().__init__(temperature, name=name)

    def reduce_top_k(self, teacher, student_logits, temperature):
        """Return the rows of k + 1 logits: the teacher's at the temperature, the student's at 1."""
        unchecked = type(teacher)(
            teacher.indices, teacher.values, teacher.rest, teacher.temperatures, classes=teacher.classes
        )
        return teacher.reduced(student_logits, temperature)[0], unchecked.reduced(student_logits, 1.0)[1]

    def per_sample(self, teacher_output, student_output, temperature=4.0):
        return ttm(teacher_output, student_output, temperature)


@method("wttm", paper="Zheng, Yang 2024", arxiv="2402.11148", peers=("TTM",))
@keras.saving.register_keras_serializable(package="keras_distill")
class WTTM(TemperedLogitLoss):
    """Teach the student, at temperature 1, the softened teacher, most where that teacher is smooth.

    `TTM` with a weight for each sample, the sum of the teacher's probabilities to the power 1/T: samples on which the
    teacher says more than one class count more.

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

    Reference:
        Zheng, Yang, "Knowledge Distillation Based on Transformed Teacher Matching", 2024, arXiv:2402.11148.
    """

    method = "wttm"
    takes_top_k = True

    def __init__(self, temperature=4.0, name=None):
        super().__init__(temperature, name=name)

    reduce_top_k = TTM.reduce_top_k

    def per_sample(self, teacher_output, student_output, temperature=4.0, top_k=None):
        if top_k is not None:
            return wttm_of_top_k(top_k, teacher_output, student_output, temperature)
        return wttm(teacher_output, student_output, temperature)
