"""Correlation congruence: kernels between the samples of a batch, or products of consecutive errors."""

import math

import keras
from keras import ops

from keras_distill._core.checks import check_number
from keras_distill._core.messages import expected
from keras_distill.features.adapters import for_each_layer, match_width
from keras_distill.losses.embeddings.pairs import count, gram, prepare_pair
from keras_distill.losses.feature_maps.maps import norm
from keras_distill.losses.layers import FeatureLoss
from keras_distill.losses.registry import method

FORMS = ("gaussian", "bilinear", "delta")


def cc(teacher_embed, student_embed, form="gaussian", gamma=0.4, max_order=2, mask=None):
    """Compute `||K(student) - K(teacher)|| / batch²` for a kernel matrix `K`, or the product form `cc_delta`.

    The bilinear kernel of two rows is their inner product `g`; the Gaussian one, for rows of unit length, is the
    Taylor expansion `exp(-2 gamma) sum_p (2 gamma g)^p / p!` up to `max_order`.

    Args:
        teacher_embed: Float array `[batch, teacher_width]`. Constant: no gradient reaches it.
        student_embed: Float array `[batch, student_width]`; of the same width for `"delta"`.
        form: `"gaussian"`, `"bilinear"` or `"delta"`. Defaults to `"gaussian"`.
        gamma: Positive inverse width of the Gaussian kernel. Defaults to 0.4.
        max_order: Highest power in the expansion of the Gaussian kernel. Defaults to 2.
        mask: Bool array `[batch]`, which samples count. Defaults to `None`, all.

    Returns:
        Float array `[batch]`: the loss, one number for the whole batch, repeated.

    Raises:
        ValueError: If the widths differ and the form is `"delta"`.

    Example:

    >>> import numpy as np
    >>> teacher, student = np.array([[1.0, 0.0], [0.0, 1.0]]), np.array([[1.0, 0.0], [1.0, 0.0]])
    >>> [round(float(value), 4) for value in cc(teacher, student, "bilinear")]  # sqrt(1 + 1) / 4
    [0.3536, 0.3536]

    Reference:
        Peng, Jin, Liu, Zhou, Wu, Liu, Li, Zhang, "Correlation Congruence for Knowledge Distillation", 2019,
        arXiv:1904.01802.
    """
    if form == "delta":
        return cc_delta(teacher_embed, student_embed, mask)
    teacher, student, counted, dtype = prepare_pair(teacher_embed, student_embed, mask)
    teacher, student = gram(teacher), gram(student)
    difference = student - teacher
    if form == "gaussian":
        difference = _kernel_difference(teacher, student, 2.0 * gamma, max_order)
    difference = difference * counted[:, None] * counted[None, :]
    loss = norm(difference, axis=(0, 1)) / ops.square(count(counted))
    return ops.cast(loss * ops.ones_like(counted), dtype)


def cc_delta(teacher_embed, student_embed, mask=None):
    """Compute the products of the absolute errors of consecutive samples, summed over the width.

    Args:
        teacher_embed: Float array `[batch, width]`. Constant: no gradient reaches it.
        student_embed: Float array `[batch, width]`.
        mask: Bool array `[batch]`, which samples count: consecutive are those that follow each other without the
            others. Defaults to `None`, all.

    Returns:
        Float array `[batch]`: the mean over the pairs of consecutive samples, repeated; 0 where there is none.

    Raises:
        ValueError: If the widths differ.

    Example:

    >>> import numpy as np
    >>> teacher, student = np.zeros((3, 1)), np.array([[1.0], [-2.0], [3.0]])
    >>> float(cc_delta(teacher, student)[0])  # (1 * 2 + 2 * 3) / 2
    4.0

    Reference:
        Peng, Jin, Liu, Zhou, Wu, Liu, Li, Zhang, "Correlation Congruence for Knowledge Distillation", 2019,
        arXiv:1904.01802.
    """
    teacher, student, counted, dtype = prepare_pair(teacher_embed, student_embed, mask)
    if teacher.shape[-1] != student.shape[-1]:
        received = f"a width of {teacher.shape[-1]} and of {student.shape[-1]}"
        fix = "Train in `keras_distill.Distiller`, which puts an adapter between them, or take another form."
        raise ValueError(expected("teacher and student embeddings of one width for the form 'delta'", received, fix))
    errors = ops.take(ops.abs(student - teacher), _counted_first(counted), axis=0)
    # A sample that does not count has no error, and stands behind all that do: its products are 0.
    products = ops.sum(errors[:-1] * errors[1:])
    return ops.cast(products / ops.maximum(ops.sum(counted) - 1.0, 1.0) * ops.ones_like(counted), dtype)


@method("cc", paper="Peng et al. 2019", arxiv="1904.01802", peers=("RepDistiller", "torchdistill"))
@keras.saving.register_keras_serializable(package="keras_distill")
class CC(FeatureLoss):
    """Teach the student how the teacher's embeddings of the samples of a batch correlate. See `cc` and `cc_delta`.

    Embeddings are taken as they are. The kernels grow with their powers: give them layers of unit length (a
    `UnitNormalization`), or a small weight.

    Args:
        form: `"gaussian"`, the paper's kernel; `"bilinear"`, inner products; `"delta"`, products of the errors of
            consecutive samples, as in a widely used benchmark. `"delta"` needs equal widths; a `Distiller` trains an
            adapter along where they differ. Defaults to `"gaussian"`.
        gamma: Positive inverse width of the Gaussian kernel. Defaults to 0.4.
        max_order: Highest power in the expansion of the Gaussian kernel, a whole number >= 1. Defaults to 2.
        teacher_layer_name: Layer of the teacher. Defaults to `"auto"`, the one before the head.
        student_layer_name: Layer of the student. Defaults to `"auto"`, the one before the head.
        preactivation: Whether to take the embeddings before the activation of the layers. Defaults to `False`.
        name: Name in the logs. Defaults to `"cc"`.

    Raises:
        ValueError: If the form is not known, or a number out of range.

    Example:

    >>> import numpy as np
    >>> teacher, student = np.array([[1.0, 0.0], [0.0, 1.0]]), np.array([[1.0, 0.0], [1.0, 0.0]])
    >>> round(float(CC("bilinear").compute_loss(teacher, student)), 4)
    0.3536

    Reference:
        Peng, Jin, Liu, Zhou, Wu, Liu, Li, Zhang, "Correlation Congruence for Knowledge Distillation", 2019,
        arXiv:1904.01802.
    """

    method = "cc"
    automatic = "embedding"
    rank = 2

    def __init__(
        self,
        form="gaussian",
        gamma=0.4,
        max_order=2,
        teacher_layer_name="auto",
        student_layer_name="auto",
        preactivation=False,
        name=None,
    ):
        super().__init__(teacher_layer_name, student_layer_name, preactivation, name=name)
        if form not in FORMS:
            raise ValueError(expected(f"form to be one of {', '.join(FORMS)}", f"form={form!r}"))
        if isinstance(max_order, bool) or not isinstance(max_order, int) or max_order < 1:
            raise ValueError(expected("max_order to be a whole number >= 1", f"max_order={max_order!r}"))
        self.form, self.max_order = form, max_order
        self.gamma = check_number("gamma", gamma, 0.0, math.inf, open_low=True)

    def make_adapter(self, teacher_shape, student_shape):
        """Return a dense layer to the teacher's width where the form needs one width and there are two."""
        if self.form != "delta":
            return None
        return for_each_layer(match_width, teacher_shape, student_shape, f"{self.name}_adapter")

    def per_sample(self, teacher_output, student_output, mask=None):
        return cc(teacher_output, student_output, self.form, self.gamma, self.max_order, mask)

    def get_config(self):
        return {"form": self.form, "gamma": self.gamma, "max_order": self.max_order, **super().get_config()}


def _kernel_difference(teacher, student, slope, max_order):
    """Return `K(student) - K(teacher)` of inner products, for `K(g) = exp(-slope) sum_p (slope g)^p / p!`.

    By Horner's rule for the sum and its difference at once, with `student - teacher` as a factor. The difference of
    two sums is not always 0 where these are equal, and the norm of ever so little has a gradient of full size.
    """
    total, difference = ops.ones_like(student), ops.zeros_like(student)
    for order in range(max_order, 0, -1):
        difference = slope / order * ((student - teacher) * total + teacher * difference)
        total = 1.0 + slope / order * student * total
    return math.exp(-slope) * difference


def _counted_first(counted):
    """Return the indices of the samples, those that count first, each kind in its order."""
    rows = ops.shape(counted)[0]
    return ops.argsort(ops.arange(rows) + ops.cast(1.0 - counted, "int32") * rows)
