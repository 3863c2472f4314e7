"""Similarities, of the samples of a batch (SP) and of the channels of a sample (ICKD): row-normalised Gram matrices."""

import keras
from keras import ops

from keras_distill._core.messages import expected, unknown_name
from keras_distill.features import adapters
from keras_distill.losses.base import expand_like
from keras_distill.losses.feature_maps.maps import cast_pair, flatten_maps, unit
from keras_distill.losses.layers import FeatureLoss
from keras_distill.losses.registry import method

SCALES = ("imagenet", "cifar")


def sp(teacher, student, mask=None):
    """Compute how differently teacher and student see the samples of a batch as alike.

    The similarities are the scalar products of the flattened features of every two samples, each row of the matrix
    scaled to unit length. The loss is the squared Frobenius norm of the difference over the squared batch size.

    Args:
        teacher: Float array `[batch, ...]`. Constant: no gradient reaches it.
        student: Float array `[batch, ...]`, of any shape from the second axis on.
        mask: Bool array of leading axes, or `None`: positions to leave out of the features, and samples with no
            position left out of the batch. Defaults to `None`.

    Returns:
        Float array `[batch]`, each sample's share; their mean (over the samples that `mask [batch]` leaves) is the
        loss.

    Example:

    >>> import numpy as np
    >>> alike, unlike = np.ones((2, 3)), np.eye(2)
    >>> round(float(np.mean(sp(unlike, alike))), 4)  # Rows (1, 0) and (1, 1) / sqrt(2)
    0.2929

    Reference:
        Tung, Mori, "Similarity-Preserving Knowledge Distillation", 2019, arXiv:1907.09682.
    """
    teacher, student = (_samples(x, mask) for x in cast_pair(teacher, student))
    squares = ops.sum(ops.square(_similarities(student) - _similarities(teacher)), axis=1)
    count = ops.cast(_count(mask, student), student.dtype)
    if mask is None or len(mask.shape) == 1:
        return squares / count
    # Of masks per position the mean of the values knows nothing: it is over all samples.
    return squares / count * (ops.cast(ops.shape(student)[0], student.dtype) / count)


def ickd(teacher, student, scale="imagenet", mask=None):
    """Compute how differently teacher and student see the channels of a sample as alike.

    The similarities are the scalar products of every two channels' maps, each row of the matrix scaled to unit length.

    Args:
        teacher: Float array `[batch, height, width, channels]`. Constant: no gradient reaches it.
        student: Float array likewise, of any height and width and as many channels.
        scale: What the squared Frobenius norm of the difference, summed over the batch, is divided by: `"imagenet"`
            for `channels * batch²`, `"cifar"` for `channels * batch`, as in the authors' code for these datasets.
            Defaults to `"imagenet"`.
        mask: Bool array `[batch]` of the samples that count, or `None`. Defaults to `None`.

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
    if teacher.shape[-1] != student.shape[-1]:
        received = f"teacher features of shape {tuple(teacher.shape)}, student features of {tuple(student.shape)}"
        fix = "Train in `keras_distill.Distiller`: it makes the adapter."
        raise ValueError(expected("as many channels of the student as of the teacher", received, fix))
    teacher, student = (_similarities(ops.transpose(flatten_maps(x), (0, 2, 1))) for x in (teacher, student))
    values = ops.sum(ops.square(student - teacher), axis=(1, 2)) / student.shape[-1]
    return values / ops.cast(_count(mask, student), student.dtype) if scale == "imagenet" else values


def _similarities(rows):
    """Return the scalar products `[..., rows, rows]` of rows `[..., rows, width]`, scaled to unit length row by row."""
    return unit(ops.matmul(rows, ops.swapaxes(rows, -1, -2)), axis=-1)


def _samples(x, mask):
    """Return the features of each sample as one row, without what is masked."""
    if mask is not None:
        x = ops.where(ops.cast(expand_like(mask, x), "bool"), x, ops.zeros_like(x))
    return ops.reshape(x, (ops.shape(x)[0], -1))


def _count(mask, x):
    """Return the number of samples that count, at least one."""
    if mask is None:
        return ops.shape(x)[0]
    counted = ops.any(ops.cast(mask, "bool"), axis=tuple(range(1, len(mask.shape))))
    return ops.maximum(ops.sum(ops.cast(counted, "int32")), 1)


@method("sp", paper="Tung, Mori 2019", arxiv="1907.09682", peers=("mdistiller", "RepDistiller"))
@keras.saving.register_keras_serializable(package="keras_distill")
class SP(FeatureLoss):
    """Teach the student which samples of a batch the teacher sees as alike: similarity-preserving distillation.

    Features of any rank, size and width are compared, sample with sample: no adapter is needed. Masked samples leave
    the batch. See `sp` for the formula.

    Args:
        teacher_layer_name: Layer of the teacher, a list of them, or `"auto"`. Defaults to `"auto"`.
        student_layer_name: Layer of the student, likewise. Defaults to `"auto"`.
        preactivation: Whether to take the features before the activation. Defaults to `False`.
        name: Name in the logs. Defaults to `"sp"`.

    Example:

    >>> import numpy as np
    >>> maps = np.random.default_rng(0).normal(size=(3, 4, 4, 8))
    >>> float(SP().compute_loss(maps, -2.0 * maps))  # Only the angles between samples count.
    0.0

    Reference:
        Tung, Mori, "Similarity-Preserving Knowledge Distillation", 2019, arXiv:1907.09682.
    """

    method = "sp"
    rank = None

    def validate_outputs(self, teacher_outputs, student_outputs):
        """Raise a `ValueError` unless both have one structure, and each tensor a batch axis and one more."""
        super().validate_outputs(teacher_outputs, student_outputs)
        for owner, outputs in (("teacher", teacher_outputs), ("student", student_outputs)):
            for output in keras.tree.flatten(outputs):
                if len(output.shape) < 2:
                    received = f"{owner} features of shape {tuple(output.shape)}"
                    raise ValueError(expected(f"features [batch, ...] for the loss {self.name!r}", received))

    def per_sample(self, teacher_output, student_output, mask=None):
        return sp(teacher_output, student_output, mask)


@method("ickd", paper="Liu et al. 2021", arxiv="2202.03680", peers=("torchdistill",))
@keras.saving.register_keras_serializable(package="keras_distill")
class ICKD(FeatureLoss):
    """Teach the student which channels of the teacher respond alike: inter-channel correlation distillation.

    Heights and widths may differ. Where the numbers of channels do, the `Distiller` puts a 1x1 convolution behind the
    student's features and trains it along. See `ickd` for the formula.

    Args:
        scale: `"imagenet"` or `"cifar"`: whether the sum over the batch is divided by `channels * batch²` or by
            `channels * batch`. Defaults to `"imagenet"`.
        teacher_layer_name: Layer of the teacher, a list of them, or `"auto"`. Defaults to `"auto"`.
        student_layer_name: Layer of the student, likewise. Defaults to `"auto"`.
        preactivation: Whether to take the features before the activation. Defaults to `False`.
        name: Name in the logs. Defaults to `"ickd"`.

    Raises:
        ValueError: If the scale is not known.

    Example:

    >>> import numpy as np
    >>> maps = np.random.default_rng(0).normal(size=(3, 4, 4, 8))
    >>> round(float(ICKD().compute_loss(maps, maps[:, ::-1])), 12)  # Where the channels respond is not compared.
    0.0

    Reference:
        Liu et al., "Exploring Inter-Channel Correlation for Diversity-preserved Knowledge Distillation", 2021,
        arXiv:2202.03680.
    """

    method = "ickd"

    def __init__(
        self,
        scale="imagenet",
        teacher_layer_name="auto",
        student_layer_name="auto",
        preactivation=False,
        name=None,
    ):
        super().__init__(teacher_layer_name, student_layer_name, preactivation, name=name)
        if scale not in SCALES:
            raise ValueError(unknown_name("scale", scale, SCALES))
        self.scale = scale

    def make_adapter(self, teacher_shape, student_shape):
        """Return a 1x1 convolution where the numbers of channels differ."""
        name = f"{self.name}_adapter"
        return adapters.for_each_layer(adapters.match_width, teacher_shape, student_shape, name)

    def per_sample(self, teacher_output, student_output, mask=None):
        return ickd(teacher_output, student_output, self.scale, mask)

    def get_config(self):
        return {**super().get_config(), "scale": self.scale}
