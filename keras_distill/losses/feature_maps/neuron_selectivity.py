"""Neuron selectivity transfer: the distribution of the channels' patterns over the positions."""

import keras
from keras import ops

from keras_distill.losses.feature_maps.maps import cast_pair, flatten_maps, pool_to_match, unit
from keras_distill.losses.layers import FeatureLoss
from keras_distill.losses.registry import method


def nst(teacher, student):
    """Compute the squared maximum mean discrepancy between the channels of teacher and student.

    A channel is its map, scaled to unit length; two are compared by the kernel `(a . b)²`. The mean kernel among the
    teacher's channels, plus that among the student's, minus twice that between them is
    `||mean_c t_c t_c' - mean_c s_c s_c'||²`, which is what is computed: it is never negative, and exactly zero where
    both are the same. The larger map is average-pooled to the size of the smaller one.

    Args:
        teacher: Float array `[batch, height, width, channels]`. Constant: no gradient reaches it.
        student: Float array likewise, of any size and any number of channels.

    Returns:
        Float array `[batch]`, from 0 to 2. A channel that is zero everywhere has no direction and passes no gradient.

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
    teacher, student = (_directions(x) for x in (teacher, student))
    if student.shape[1] <= max(teacher.shape[-1], student.shape[-1]):
        return ops.sum(ops.square(_over_positions(student) - _over_positions(teacher)), axis=(1, 2))
    return _over_channels(teacher, student)


def _directions(x):
    """Return the channels of unit length `[batch, positions, channels]`, over the root of their number."""
    return unit(flatten_maps(x), axis=1) / x.shape[-1] ** 0.5


def _over_positions(x):
    return ops.matmul(x, ops.transpose(x, (0, 2, 1)))


def _over_channels(teacher, student):
    """Return `||T T' - S S'||²` from matrices of channels by channels.

    With `D = S - T` and `P = S + T` it is half of `<D'D, P'P> + <D'P, P'D>`: a factor `D` in both, so that nothing
    cancels where the student is close to the teacher. Channels of zeros make up for the fewer ones.
    """
    width = max(teacher.shape[-1], student.shape[-1])
    teacher, student = (ops.pad(x, ((0, 0), (0, 0), (0, width - x.shape[-1]))) for x in (teacher, student))
    difference, total = student - teacher, student + teacher
    transposed = ops.transpose(difference, (0, 2, 1))
    squares = ops.matmul(transposed, difference) * ops.matmul(ops.transpose(total, (0, 2, 1)), total)
    mixed = ops.matmul(transposed, total)
    return 0.5 * ops.sum(squares + mixed * ops.transpose(mixed, (0, 2, 1)), axis=(1, 2))


@method("nst", paper="Huang, Wang 2017", arxiv="1707.01219", peers=("mdistiller", "RepDistiller"))
@keras.saving.register_keras_serializable(package="keras_distill")
class NST(FeatureLoss):
    """Teach the student at which positions the teacher's channels respond: neuron selectivity transfer.

    Matches the distribution of the channels' patterns by a maximum mean discrepancy with a polynomial kernel. Numbers
    of channels may differ: no adapter is needed. See `nst` for the formula.

    Args:
        teacher_layer_name: Layer of the teacher, a list of them, or `"auto"`. Defaults to `"auto"`.
        student_layer_name: Layer of the student, likewise. Defaults to `"auto"`.
        preactivation: Whether to take the features before the activation. Defaults to `False`.
        name: Name in the logs. Defaults to `"nst"`.

    Example:

    >>> import numpy as np
    >>> maps = np.random.default_rng(0).normal(size=(2, 4, 4, 8))
    >>> float(NST().compute_loss(maps, maps)), float(NST().compute_loss(maps, maps[:, ::-1])) > 0.01
    (0.0, True)

    Reference:
        Huang, Wang, "Like What You Like: Knowledge Distill via Neuron Selectivity Transfer", 2017, arXiv:1707.01219.
    """

    method = "nst"

    def per_sample(self, teacher_output, student_output):
        return nst(teacher_output, student_output)
