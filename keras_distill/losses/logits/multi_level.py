"""Distillation on three levels: single samples, relations between the samples of a batch, and between classes."""

import functools
import math
from collections.abc import Sequence
from typing import Any

from keras import ops

from keras_distill._core.checked import checked
from keras_distill._core.checks import check_number, check_temperature
from keras_distill._core.messages import expected
from keras_distill.answers.answer import Tensor
from keras_distill.losses import divergences
from keras_distill.losses.logits.base import LogitLoss
from keras_distill.losses.logits.rows import as_positions, as_rows, softmax_and_gap
from keras_distill.losses.registry import method

TEMPERATURES = (2.0, 3.0, 4.0, 5.0, 6.0)


@checked(teacher_logits="[..., classes]", student_logits="[..., classes]")
def instance_level(teacher_logits: Tensor, student_logits: Tensor, temperature: Tensor = 4.0) -> Tensor:
    """Compute `T² KL(p, q)` of each row: ordinary soft targets.

    Args:
        teacher_logits: Float array `[..., classes]`. Constant: no gradient reaches it.
        student_logits: Float array `[..., classes]`.
        temperature: Positive number, array or variable that divides both. Defaults to 4.0.

    Returns:
        Float array `[...]`, nats, never negative.

    Example:

    >>> import numpy as np
    >>> v, z = np.array([[4.0, 1.0, -2.0]], "float32"), np.array([[1.0, 2.0, 0.0]], "float32")
    >>> round(float(instance_level(v, z)[0]), 4)
    2.3722

    Reference:
        Jin, Wang, Lin, "Multi-level Logit Distillation", CVPR 2023.
    """
    values = divergences.kl_divergence(teacher_logits, student_logits, temperature)
    return values * ops.square(ops.cast(temperature, values.dtype))


@checked(teacher_logits="[..., classes]", student_logits="[..., classes]", mask="[*...]")
def batch_level(
    teacher_logits: Tensor, student_logits: Tensor, temperature: Tensor = 4.0, mask: Tensor = None
) -> Tensor:
    """Compare the similarities of the rows: `P P'` of the teacher's probabilities with `Q Q'` of the student's.

    Args:
        teacher_logits: Float array `[..., classes]`. Constant: no gradient reaches it.
        student_logits: Float array `[..., classes]`.
        temperature: Positive number, array or variable that divides both. Defaults to 4.0.
        mask: Optional bool array of the leading axes: which rows count. Defaults to `None`, all.

    Returns:
        Float array `[...]`: squared norms of the rows of `P P' - Q Q'`, whose mean is the authors' loss.

    Example:

    >>> import numpy as np
    >>> v, z = np.array([[9e3, 0.0], [0.0, 9e3]], "float32"), np.array([[9e3, 0.0], [9e3, 0.0]], "float32")
    >>> batch_level(v, z).numpy().tolist()  # The teacher distinguishes the two rows, the student does not.
    [1.0, 1.0]

    Reference:
        Jin, Wang, Lin, "Multi-level Logit Distillation", CVPR 2023.
    """
    # Rows of P - Q sum to zero, so a constant in the other factor would only add rounding.
    p, q, gap = _probabilities(teacher_logits, student_logits, temperature, mask, less=1.0 / student_logits.shape[-1])
    return as_positions(_gram_gap(p, q, gap), student_logits)


@checked(teacher_logits="[..., classes]", student_logits="[..., classes]", mask="[*...]")
def class_level(
    teacher_logits: Tensor, student_logits: Tensor, temperature: Tensor = 4.0, mask: Tensor = None
) -> Tensor:
    """Compare the similarities of the classes: `P' P` of the teacher's probabilities with `Q' Q` of the student's.

    Args:
        teacher_logits: Float array `[..., classes]`. Constant: no gradient reaches it.
        student_logits: Float array `[..., classes]`.
        temperature: Positive number, array or variable that divides both. Defaults to 4.0.
        mask: Optional bool array of the leading axes: which rows count. Defaults to `None`, all.

    Returns:
        Float scalar: the squared norm of `P' P - Q' Q`, over the number of classes.

    Example:

    >>> import numpy as np
    >>> v, z = np.array([[9e3, 0.0], [0.0, 9e3]], "float32"), np.array([[9e3, 0.0], [9e3, 0.0]], "float32")
    >>> float(class_level(v, z))
    1.0

    Reference:
        Jin, Wang, Lin, "Multi-level Logit Distillation", CVPR 2023.
    """
    p, q, gap = _probabilities(teacher_logits, student_logits, temperature, mask)
    return ops.mean(_gram_gap(ops.transpose(p), ops.transpose(q), ops.transpose(gap)))


@checked(
    teacher_logits="[..., classes]",
    student_logits="[..., classes]",
    mask="[*...]",
    instance_weight=(0.0, math.inf),
    batch_weight=(0.0, math.inf),
    class_weight=(0.0, math.inf),
)
def mlkd(
    teacher_logits: Tensor,
    student_logits: Tensor,
    temperatures: Sequence[float] = TEMPERATURES,
    instance_weight: float = 1.0,
    batch_weight: float = 1.0,
    class_weight: float = 1.0,
    mask: Tensor = None,
) -> Tensor:
    """Compute multi-level logit distillation: the weighted sum of the three levels over all temperatures.

    Args:
        teacher_logits: Float array `[..., classes]`. Constant: no gradient reaches it.
        student_logits: Float array `[..., classes]`.
        temperatures: Positive numbers. Defaults to `(2.0, 3.0, 4.0, 5.0, 6.0)`.
        instance_weight: Weight of `instance_level`. Defaults to 1.0.
        batch_weight: Weight of `batch_level`. Defaults to 1.0.
        class_weight: Weight of `class_level`. Defaults to 1.0.
        mask: Optional bool array of the leading axes: which rows count. Defaults to `None`, all.

    Returns:
        Float array `[...]`: the first two levels of each row, plus the third, which is the same for all rows.

    Example:

    >>> import numpy as np
    >>> v, z = np.array([[1.0, 0.0]], "float32"), np.array([[0.0, 1.0]], "float32")
    >>> parts = [mlkd(v, z, (1.0,), *weights) for weights in ((1, 0, 0), (0, 1, 0), (0, 0, 1), (1, 1, 1))]
    >>> [round(float(part[0]), 4) for part in parts]  # Alone in its batch and as confident as the teacher.
    [0.4621, 0.0, 0.2136, 0.6757]

    Reference:
        Jin, Wang, Lin, "Multi-level Logit Distillation", CVPR 2023.
    """
    teacher, student, counted = as_rows(teacher_logits, student_logits, mask)
    levels = (
        (instance_weight, instance_level),
        (batch_weight, functools.partial(batch_level, mask=counted[:, 0])),
        (class_weight, functools.partial(class_level, mask=counted[:, 0])),
    )
    values = ops.zeros_like(counted[:, 0])
    for weight, level in levels:
        if weight:  # A level of weight 0 is not computed: that of the classes needs memory for their number squared.
            values += weight * sum(level(teacher, student, temperature) for temperature in temperatures)
    return as_positions(values, student_logits)


@method("mlkd", paper="Jin, Wang, Lin 2023", peers=("Multi-Level-Logit-Distillation",))
class MLKD(LogitLoss):
    """Teach the student soft targets, the similarities of samples and the similarities of classes: see `mlkd`.

    The loss is summed over several temperatures, so there is none to schedule. It is the part of the published training
    that needs one view of each sample; `multi_level_two_views` computes all of it. The second and third levels need
    memory for the square of the number of classes.

    Args:
        temperatures: Softnesses T > 0 to sum over. Defaults to `(2.0, 3.0, 4.0, 5.0, 6.0)`.
        instance_weight: Weight of `instance_level`, >= 0. Defaults to 1.0.
        batch_weight: Weight of `batch_level`, >= 0. Defaults to 1.0.
        class_weight: Weight of `class_level`, >= 0. Defaults to 1.0.
        name: Name in the logs. Defaults to `"mlkd"`.

    Raises:
        ValueError: If there is no temperature, one is not finite and positive, or a weight is negative or not finite.

    Example:

    >>> import numpy as np
    >>> import keras_distill as kd
    >>> teacher, student = np.array([[1.0, 0.0]], "float32"), np.array([[0.0, 1.0]], "float32")
    >>> round(float(kd.losses.MLKD(temperatures=[1.0]).compute_loss(teacher, student)), 4)
    0.6757
    """

    hyper_parameters = ("instance_weight", "batch_weight", "class_weight")
    not_top_k = "it compares samples with each other class by class, and they do not share the k"

    def __init__(
        self,
        temperatures: Sequence[float] = TEMPERATURES,
        instance_weight: float = 1.0,
        batch_weight: float = 1.0,
        class_weight: float = 1.0,
        name: str | None = None,
    ):
        super().__init__(name=name)
        if not isinstance(temperatures, (list, tuple)) or not temperatures:
            raise ValueError(expected("temperatures to be a list of one or more", f"temperatures={temperatures!r}"))
        self.temperatures = tuple(float(check_temperature(each, " in temperatures")) for each in temperatures)
        self.instance_weight = check_number("instance_weight", instance_weight, 0.0, math.inf)
        self.batch_weight = check_number("batch_weight", batch_weight, 0.0, math.inf)
        self.class_weight = check_number("class_weight", class_weight, 0.0, math.inf)

    def per_sample(self, teacher_output: Any, student_output: Any, mask: Tensor = None) -> Tensor:
        weights = self.instance_weight, self.batch_weight, self.class_weight
        return mlkd(teacher_output, student_output, self.temperatures, *weights, mask)

    def _settings(self):
        return {"temperatures": list(self.temperatures), **super()._settings()}


def _probabilities(teacher_logits, student_logits, temperature, mask, less=0.0):
    """Return `P - less`, `Q - less`, and `P - Q` without cancellation, as rows: zeros in rows that do not count."""
    teacher, student, counted = as_rows(teacher_logits, student_logits, mask)
    p, q, gap = softmax_and_gap(teacher, student, temperature)
    return (p - less) * counted, (q - less) * counted, -gap * counted


def _gram_gap(x, y, gap):
    """Return the squared norms of the rows of `X X' - Y Y' = X D' + D Y'`, given `D = X - Y`.

    No array is larger than the square of the smaller side, if the sides are known statically.
    """
    rows, columns = x.shape
    if rows is not None and (columns is None or rows <= columns):
        return ops.sum(ops.square(ops.matmul(x, ops.transpose(gap)) + ops.matmul(gap, ops.transpose(y))), axis=-1)
    within, across, own = (ops.matmul(ops.transpose(a), b) for a, b in ((gap, gap), (gap, y), (y, y)))
    square = ops.matmul(x, within) * x + 2.0 * ops.matmul(x, across) * gap + ops.matmul(gap, own) * gap
    return ops.sum(square, axis=-1)
