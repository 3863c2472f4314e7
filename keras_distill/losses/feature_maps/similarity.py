"""Similarities of the samples of a batch (SP) and of the channels of a sample (ICKD): row-normalized Gram matrices."""

from typing import Any

import keras
from keras import ops

from keras_distill._core.checked import checked
from keras_distill._core.checks import check_choice
from keras_distill._core.tensors import expand_like
from keras_distill.answers.answer import Tensor
from keras_distill.features.adapters import match_each_width
from keras_distill.losses.divergences import cast_pair
from keras_distill.losses.feature_maps.maps import flatten_maps, unit
from keras_distill.losses.feature_maps.stages import check_same_channels
from keras_distill.losses.layers import FeatureLoss, LayerNames
from keras_distill.losses.registry import method
from keras_distill.losses.weights import any_of_extra_axes

SCALES = ("imagenet", "cifar")


@checked(teacher="[batch, ...]", student="[batch, *...]", mask="[batch, *...]")
def sp(teacher: Tensor, student: Tensor, mask: Tensor = None) -> Tensor:
    """Compare the similarities of the samples of a batch between teacher and student.

    The similarities are the inner products of the flattened features of all pairs of samples, with each row of the
    matrix scaled to unit length. The loss is the squared Frobenius norm of the difference over the squared batch size.

    Args:
        teacher: Float array `[batch, ...]`. Constant: no gradient reaches it.
        student: Float array `[batch, ...]` of any shape from the second axis on.
        mask: Bool array of leading axes: the positions of the features that count. A sample without any such position
            is left out of the batch. Defaults to `None`, all.

    Returns:
        Float array `[batch]`, each sample's contribution. The loss is their mean over the samples that count.

    Example:

    >>> import numpy as np
    >>> alike, unlike = np.ones((2, 3)), np.eye(2)
    >>> round(float(np.mean(sp(unlike, alike))), 4)  # Rows (1, 0) and (1, 1) / sqrt(2)
    0.2929

    Reference:
        Tung, Mori, "Similarity-Preserving Knowledge Distillation", 2019, arXiv:1907.09682.
    """
    teacher, student = (_flatten_samples(x, mask) for x in cast_pair(teacher, student))
    squares = ops.sum(ops.square(_similarities(student) - _similarities(teacher)), axis=1)
    return squares / ops.cast(_count_samples(mask, student), student.dtype)


@checked(
    teacher="[batch, *, *, *]",
    student="[batch, *, *, *]",
    scale=SCALES,
    mask="[batch]",
)
def ickd(teacher: Tensor, student: Tensor, scale: str = "imagenet", mask: Tensor = None) -> Tensor:
    """Compare the similarities of the channels of a sample between teacher and student.

    The similarities are the inner products of the maps of all pairs of channels, with each row of the matrix scaled to
    unit length.

    Args:
        teacher: Float array `[batch, height, width, channels]`. Constant: no gradient reaches it.
        student: Float array `[batch, height, width, channels]` of any height and width, with the same channels.
        scale: The divisor of the squared Frobenius norm of the difference, summed over the batch: `"imagenet"` for
            `channels * batch²`, or `"cifar"` for `channels * batch`, as in the authors' code for these datasets.
            Defaults to `"imagenet"`.
        mask: Bool array `[batch]`: the samples that count. Defaults to `None`, all.

    Returns:
        Float array `[batch]`, whose mean over the samples that count is the loss.

    Raises:
        ValueError: If the numbers of channels differ.

    Example:

    >>> import numpy as np
    >>> alike, unlike = np.ones((1, 2, 1, 2)), np.eye(2).reshape(1, 2, 1, 2)
    >>> round(float(ickd(unlike, alike)[0]), 4)  # Rows (1, 0) and (1, 1) / sqrt(2)
    0.5858

    Reference:
        Liu et al., "Exploring Inter-Channel Correlation for Diversity-preserved Knowledge Distillation", 2021,
        arXiv:2202.03680.
    """
    teacher, student = cast_pair(teacher, student)
    check_same_channels(teacher, student)
    teacher, student = (_similarities(ops.transpose(flatten_maps(x), (0, 2, 1))) for x in (teacher, student))
    values = ops.sum(ops.square(student - teacher), axis=(1, 2)) / student.shape[-1]
    return values / ops.cast(_count_samples(mask, student), student.dtype) if scale == "imagenet" else values


def _similarities(rows):
    """Return the inner products `[..., rows, rows]` of rows `[..., rows, width]`, with each row of unit length."""
    return unit(ops.matmul(rows, ops.swapaxes(rows, -1, -2)), axis=-1)


def _flatten_samples(x, mask):
    """Return the features of each sample as one row, with zeros at masked positions."""
    if mask is not None:
        x = ops.where(ops.cast(expand_like(mask, x), "bool"), x, ops.zeros_like(x))
    return ops.reshape(x, (ops.shape(x)[0], -1))


def _count_samples(mask, x):
    """Return the number of samples that count, at least 1."""
    if mask is None:
        return ops.shape(x)[0]
    counted = ops.any(ops.cast(mask, "bool"), axis=tuple(range(1, len(mask.shape))))
    return ops.maximum(ops.sum(ops.cast(counted, "int32")), 1)


@method("sp", paper="Tung, Mori 2019", arxiv="1907.09682", peers=("mdistiller", "RepDistiller"))
class SP(FeatureLoss):
    """Teach the student which samples of a batch are similar to the teacher: see `sp`.

    Features of any rank, size and width can be compared, so no adapter is needed. Masked samples are left out.

    Args:
        teacher_layer_name: Layer of the teacher, or a list of layers. Defaults to `"auto"`.
        student_layer_name: Layer of the student, in the same form. Defaults to `"auto"`.
        preactivation: Whether to take the features before the activation of the layers. Defaults to `False`.
        name: Name in the logs. Defaults to `"sp"`.

    Example:

    >>> import numpy as np
    >>> maps = np.random.default_rng(0).normal(size=(3, 4, 4, 8))
    >>> float(SP().compute_loss(maps, -2.0 * maps))  # Only the angles between samples count.
    0.0
    """

    rank = None

    def per_sample(self, teacher_output: Any, student_output: Any, mask: Tensor = None) -> Tensor:
        return sp(teacher_output, student_output, mask)


@method("ickd", paper="Liu et al. 2021", arxiv="2202.03680", peers=("torchdistill",))
class ICKD(FeatureLoss):
    """Teach the student which channels of the teacher respond alike: inter-channel correlation, see `ickd`.

    Heights and widths may differ. If the numbers of channels differ, the `Distiller` adds a 1x1 convolution after the
    student's features and trains it.

    Args:
        scale: `"imagenet"` or `"cifar"`: whether the sum over the batch is divided by `channels * batch²` or by
            `channels * batch`. Defaults to `"imagenet"`.
        teacher_layer_name: Layer of the teacher, or a list of layers. Defaults to `"auto"`.
        student_layer_name: Layer of the student, in the same form. Defaults to `"auto"`.
        preactivation: Whether to take the features before the activation of the layers. Defaults to `False`.
        name: Name in the logs. Defaults to `"ickd"`.

    Raises:
        ValueError: If the scale is unknown.

    Example:

    >>> import numpy as np
    >>> maps = np.random.default_rng(0).normal(size=(3, 4, 4, 8))
    >>> round(float(ICKD().compute_loss(maps, maps[:, ::-1])), 12)  # Positions are not compared.
    0.0
    """

    hyper_parameters = ("scale",)

    def __init__(
        self,
        scale: str = "imagenet",
        teacher_layer_name: LayerNames = "auto",
        student_layer_name: LayerNames = "auto",
        preactivation: bool = False,
        name: str | None = None,
    ):
        super().__init__(teacher_layer_name, student_layer_name, preactivation, name=name)
        self.scale = check_choice("scale", scale, SCALES)

    def make_adapter(self, teacher_shape: Any, student_shape: Any) -> keras.layers.Layer | None:
        """Create a 1x1 convolution if the numbers of channels differ."""
        return match_each_width(teacher_shape, student_shape, f"{self.name}_adapter")

    def per_sample(self, teacher_output: Any, student_output: Any, mask: Tensor = None) -> Tensor:
        mask = None if mask is None else any_of_extra_axes(mask, 1)
        return ickd(teacher_output, student_output, self.scale, mask)
