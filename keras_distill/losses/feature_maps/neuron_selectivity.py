"""Neuron selectivity transfer: the distribution of the channels' activation patterns over the positions."""

from typing import Any

from keras import ops

from keras_distill._core.checked import checked
from keras_distill.answers.answer import Tensor
from keras_distill.losses.divergences import cast_pair
from keras_distill.losses.feature_maps.maps import flatten_maps, pool_to_match, unit
from keras_distill.losses.layers import FeatureLoss
from keras_distill.losses.registry import method


@checked(teacher="[batch, *, *, *]", student="[batch, *, *, *]")
def nst(teacher: Tensor, student: Tensor) -> Tensor:
    """Compute the squared maximum mean discrepancy between the channels of teacher and student.

    The maps of the channels are scaled to unit length and compared by the kernel `(a . b)²`. The mean kernel among the
    teacher's channels, plus that among the student's, minus twice that between them equals
    `||mean_c t_c t_c' - mean_c s_c s_c'||²`. This form is computed, as it is never negative, and exactly zero where
    both are the same. The larger map is average-pooled to the size of the smaller one.

    Args:
        teacher: Float array `[batch, height, width, channels]`. Constant: no gradient reaches it.
        student: Float array `[batch, height, width, channels]` of any size and number of channels.

    Returns:
        Float array `[batch]`, from 0 to 2. A channel of zeros has no direction and passes no gradient.

    Raises:
        ValueError: If a height or width is unknown.

    Example:

    >>> import numpy as np
    >>> left, right = np.zeros((1, 1, 2, 3)), np.zeros((1, 1, 2, 5))
    >>> left[:, :, 0], right[:, :, 1] = 1.0, 5.0
    >>> round(float(nst(left, right)[0]), 4)
    2.0

    Reference:
        Huang, Wang, "Like What You Like: Knowledge Distill via Neuron Selectivity Transfer", 2017, arXiv:1707.01219.
    """
    teacher, student = pool_to_match(*cast_pair(teacher, student))
    teacher, student = (_scale_channels(x) for x in (teacher, student))
    if student.shape[1] <= max(teacher.shape[-1], student.shape[-1]):
        return ops.sum(ops.square(_position_products(student) - _position_products(teacher)), axis=(1, 2))
    return _compare_channels(teacher, student)


def _scale_channels(x):
    """Return the channels `[batch, positions, channels]`, of unit length, over the square root of their number."""
    return unit(flatten_maps(x), axis=1) / x.shape[-1] ** 0.5


def _position_products(x):
    return ops.matmul(x, ops.transpose(x, (0, 2, 1)))


def _compare_channels(teacher, student):
    """Return `||T T' - S S'||²` from matrices of channels by channels.

    With `D = S - T` and `P = S + T` it is half of `<D'D, P'P> + <D'P, P'D>`. Both terms have a factor `D`, so that
    nothing cancels where the student is close to the teacher. The smaller matrix is padded with channels of zeros.
    """
    width = max(teacher.shape[-1], student.shape[-1])
    teacher, student = (ops.pad(x, ((0, 0), (0, 0), (0, width - x.shape[-1]))) for x in (teacher, student))
    difference, total = student - teacher, student + teacher
    transposed = ops.transpose(difference, (0, 2, 1))
    squares = ops.matmul(transposed, difference) * ops.matmul(ops.transpose(total, (0, 2, 1)), total)
    mixed = ops.matmul(transposed, total)
    return 0.5 * ops.sum(squares + mixed * ops.transpose(mixed, (0, 2, 1)), axis=(1, 2))


@method("nst", paper="Huang, Wang 2017", arxiv="1707.01219", peers=("mdistiller", "RepDistiller"))
class NST(FeatureLoss):
    """Teach the student at which positions the teacher's channels respond: neuron selectivity transfer, see `nst`.

    The numbers of channels may differ, so no adapter is needed.

    Args:
        teacher_layer_name: Layer of the teacher, or a list of layers. Defaults to `"auto"`.
        student_layer_name: Layer of the student, in the same form. Defaults to `"auto"`.
        preactivation: Whether to take the features before the activation of the layers. Defaults to `False`.
        name: Name in the logs. Defaults to `"nst"`.

    Example:

    >>> import numpy as np
    >>> maps = np.random.default_rng(0).normal(size=(2, 4, 4, 8))
    >>> float(NST().compute_loss(maps, maps)), float(NST().compute_loss(maps, maps[:, ::-1])) > 0.01
    (0.0, True)
    """

    def per_sample(self, teacher_output: Any, student_output: Any) -> Tensor:
        return nst(teacher_output, student_output)
