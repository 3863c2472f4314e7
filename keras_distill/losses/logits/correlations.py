"""Correlation instead of equality: the student ranks the classes, and the samples of a class, as its teacher does."""

import math
from typing import Any

from keras import ops

from keras_distill._core.checked import POSITIVE, checked
from keras_distill._core.checks import check_number
from keras_distill.answers.answer import Tensor
from keras_distill.losses.divergences import wide_dtype
from keras_distill.losses.kl import shift_to_largest
from keras_distill.losses.logits.base import LogitFunctionLoss
from keras_distill.losses.logits.rows import as_positions, as_rows, mean_of_rows, softmax_and_gap
from keras_distill.losses.registry import method


@checked(teacher_logits="[..., classes]", student_logits="[..., classes]", epsilon=POSITIVE)
def inter_class(
    teacher_logits: Tensor, student_logits: Tensor, temperature: Tensor = 1.0, epsilon: float = 1e-8
) -> Tensor:
    """Compute one minus Pearson's correlation of the tempered probabilities over the classes, for each row.

    Args:
        teacher_logits: Float array `[..., classes]`. Constant: no gradient reaches it.
        student_logits: Float array `[..., classes]`.
        temperature: Positive number, array or variable that divides both. Defaults to 1.0.
        epsilon: Number added to the product of both norms. Defaults to 1e-8.

    Returns:
        Float array `[...]`, from 0 to 2; 1 where either row is constant.

    Example:

    >>> import numpy as np
    >>> v = np.array([[0.0, 1.0], [0.0, 1.0], [0.0, 0.0]], "float32")
    >>> inter_class(v, -v[::-1]).numpy().round(3).tolist()
    [1.0, 2.0, 1.0]

    Reference:
        Huang, You, Wang, Qian, Xu, "Knowledge Distillation from A Stronger Teacher", 2022, arXiv:2205.10536.
    """
    *sides, _, dtype = _wide_rows(teacher_logits, student_logits)
    teacher, student = (_deviations(rows, temperature) for rows in sides)
    return as_positions(ops.cast(_distance(teacher, student, -1, epsilon), dtype), student_logits)


@checked(teacher_logits="[..., classes]", student_logits="[..., classes]", mask="[*...]", epsilon=POSITIVE)
def intra_class(
    teacher_logits: Tensor,
    student_logits: Tensor,
    temperature: Tensor = 1.0,
    epsilon: float = 1e-8,
    mask: Tensor = None,
) -> Tensor:
    """Compute one minus Pearson's correlation of the tempered probabilities over the rows, averaged over the classes.

    Args:
        teacher_logits: Float array `[..., classes]`. Constant: no gradient reaches it.
        student_logits: Float array `[..., classes]`.
        temperature: Positive number, array or variable that divides both. Defaults to 1.0.
        epsilon: Number added to the product of both norms. Defaults to 1e-8.
        mask: Optional bool array of the leading axes: which rows count. Defaults to `None`, all.

    Returns:
        Float scalar, from 0 to 2. A class that either model finds equally likely in all rows counts as 1.

    Example:

    >>> import numpy as np
    >>> v = np.array([[0.0, 1.0], [1.0, 0.0]], "float32")
    >>> round(float(intra_class(v, v[::-1])), 3), float(intra_class(v[:1], v[:1]))
    (2.0, 1.0)

    Reference:
        Huang, You, Wang, Qian, Xu, "Knowledge Distillation from A Stronger Teacher", 2022, arXiv:2205.10536.
    """
    *sides, counted, dtype = _wide_rows(teacher_logits, student_logits, mask)
    teacher, student = (_centred_columns(rows, temperature, counted) for rows in sides)
    return ops.cast(ops.mean(_distance(teacher, student, 0, epsilon)), dtype)


@checked(
    teacher_logits="[..., classes]",
    student_logits="[..., classes]",
    mask="[*...]",
    beta=(0.0, math.inf),
    gamma=(0.0, math.inf),
    epsilon=POSITIVE,
)
def dist(
    teacher_logits: Tensor,
    student_logits: Tensor,
    temperature: Tensor = 1.0,
    beta: float = 2.0,
    gamma: float = 2.0,
    epsilon: float = 1e-8,
    mask: Tensor = None,
) -> Tensor:
    """Compute `T² (beta inter_class + gamma intra_class)`.

    A student that is much weaker than its teacher cannot match its probabilities. It can match their order and spacing,
    which is all that a correlation measures. Pearson's correlation is taken over classes (`inter_class`) and over rows
    (`intra_class`).

    Args:
        teacher_logits: Float array `[..., classes]`. Constant: no gradient reaches it.
        student_logits: Float array `[..., classes]`.
        temperature: Positive number, array or variable that divides both. Defaults to 1.0.
        beta: Weight of the correlation over classes. Defaults to 2.0.
        gamma: Weight of the correlation over rows. Defaults to 2.0.
        epsilon: Number added to the product of both norms. Defaults to 1e-8.
        mask: Optional bool array of the leading axes: which rows count. Defaults to `None`, all.

    Returns:
        Float array `[...]`: the term over classes of each row, plus the term over rows, which is the same for all.

    Example:

    >>> import numpy as np
    >>> v = np.array([[0.0, 1.0], [1.0, 0.0]], "float32")
    >>> dist(v, v[::-1], temperature=2.0, beta=1.0, gamma=1.0).numpy().round(3).tolist()
    [16.0, 16.0]

    Reference:
        Huang, You, Wang, Qian, Xu, "Knowledge Distillation from A Stronger Teacher", 2022, arXiv:2205.10536.
    """
    teacher, student, counted, dtype = _wide_rows(teacher_logits, student_logits, mask)
    inter = inter_class(teacher, student, temperature, epsilon)
    intra = intra_class(teacher, student, temperature, epsilon, mask=counted[:, 0])
    values = ops.square(ops.cast(temperature, inter.dtype)) * (beta * inter + gamma * intra)
    return as_positions(ops.cast(values, dtype), student_logits)


@method("dist", paper="Huang, You, Wang, Qian, Xu 2022", arxiv="2205.10536", peers=("image_classification_sota",))
class DIST(LogitFunctionLoss):
    """Teach the student to order the classes of a sample, and the samples of a class, as its teacher does: see `dist`.

    The second term compares the samples of a batch, so it becomes more accurate with the batch size.

    Args:
        temperature: Softness T > 0 of both distributions, a number or a `keras.Variable`. Defaults to 1.0.
        beta: Weight of the correlation over classes, >= 0. Defaults to 2.0.
        gamma: Weight of the correlation over samples, >= 0. Defaults to 2.0.
        epsilon: Number > 0 added to the product of the norms in a correlation. Defaults to 1e-8.
        name: Name in the logs. Defaults to `"dist"`.

    Raises:
        ValueError: If the temperature or `epsilon` is not finite and positive, or a weight is negative or not finite.

    Example:

    >>> import numpy as np
    >>> import keras_distill as kd
    >>> teacher = np.array([[0.0, 1.0], [1.0, 0.0]], "float32")
    >>> loss = kd.losses.DIST()
    >>> round(float(loss.compute_loss(teacher, 3.0 * teacher)), 4)  # More confident, at no cost.
    0.0
    """

    function = staticmethod(dist)
    hyper_parameters = ("beta", "gamma", "epsilon")
    not_top_k = "it correlates over the classes, each of which counts"

    def __init__(
        self,
        temperature: Any = 1.0,
        beta: float = 2.0,
        gamma: float = 2.0,
        epsilon: float = 1e-8,
        name: str | None = None,
    ):
        super().__init__(temperature, name=name)
        self.beta = check_number("beta", beta, 0.0, math.inf)
        self.gamma = check_number("gamma", gamma, 0.0, math.inf)
        self.epsilon = check_number("epsilon", epsilon, 0.0, math.inf, open_low=True)

    def per_sample(
        self, teacher_output: Any, student_output: Any, temperature: Tensor = None, mask: Tensor = None
    ) -> Tensor:
        return super().per_sample(teacher_output, student_output, temperature, mask=mask)


def _wide_rows(teacher_logits, student_logits, mask=None):
    """Return rows in float64 if the backend has it, since T² amplifies the rounding, and the dtype of the result."""
    *rows, counted = as_rows(teacher_logits, student_logits, mask)
    wide = wide_dtype(rows[0].dtype)
    return *(ops.cast(each, wide) for each in (*rows, counted)), rows[0].dtype


def _deviations(rows, temperature):
    """Return the tempered probabilities minus their mean `1 / classes`: exactly zero where all logits are the same."""
    logits = shift_to_largest(rows) / ops.cast(temperature, rows.dtype)
    excess = ops.expm1(logits)
    return (excess - ops.mean(excess, axis=-1, keepdims=True)) / ops.sum(ops.exp(logits), axis=-1, keepdims=True)


def _centred_columns(rows, temperature, counted):
    """Return the tempered probabilities minus their mean over the rows that count, and zero in the other rows."""
    # One row is subtracted first, so that a value that is the same in all rows becomes exactly zero. The result does
    # not depend on the choice of the row, so no gradient is lost.
    anchor = ops.stop_gradient(ops.take(rows, ops.argmax(counted[:, 0]), axis=0))
    gap = softmax_and_gap(anchor[None], rows, temperature)[2] * counted
    return (gap - mean_of_rows(gap, counted)) * counted


def _distance(a, b, axis, epsilon):
    """Return one minus the cosine of two centred arrays, with `epsilon` added to the product of their norms."""
    a_norm, b_norm = _norm(a, axis), _norm(b, axis)
    product = a_norm * b_norm
    large = product > epsilon
    # The product of the norms minus the dot product, computed from the angle where the two would cancel.
    between = a / ops.where(large, a_norm, 1.0) - b / ops.where(large, b_norm, 1.0)
    apart = product * ops.sum(ops.square(between), axis=axis, keepdims=True) / 2.0
    gap = ops.where(large, apart, product - ops.sum(a * b, axis=axis, keepdims=True))
    return ops.squeeze((gap + epsilon) / (product + epsilon), axis)


def _norm(x, axis):
    squared = ops.sum(ops.square(x), axis=axis, keepdims=True)
    nonzero = squared > 0.0
    # The square root has no gradient at zero: the gradient is defined as zero there.
    return ops.where(nonzero, ops.sqrt(ops.where(nonzero, squared, 1.0)), 0.0)
