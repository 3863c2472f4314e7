"""Correlation congruence: kernels between the samples of a batch, or products of consecutive errors."""

import math
from typing import Any

import keras
from keras import ops

from keras_distill._core.checked import POSITIVE, checked
from keras_distill._core.checks import check_choice, check_number, check_whole_number
from keras_distill._core.messages import expected
from keras_distill.answers.answer import Tensor
from keras_distill.features.adapters import match_each_width
from keras_distill.losses.divergences import absolute
from keras_distill.losses.embeddings.pairs import count_samples, gram, prepare_pair
from keras_distill.losses.feature_maps.maps import norm
from keras_distill.losses.layers import EmbeddingLoss, LayerNames
from keras_distill.losses.registry import method

FORMS = ("gaussian", "bilinear", "delta")


@checked(
    teacher_embed="[batch, *]",
    student_embed="[batch, *]",
    mask="[batch]",
    form=FORMS,
    gamma=POSITIVE,
    max_order=(1.0, math.inf),
)
def cc(
    teacher_embed: Tensor,
    student_embed: Tensor,
    form: str = "gaussian",
    gamma: float = 0.4,
    max_order: int = 2,
    mask: Tensor = None,
) -> Tensor:
    """Compute `||K(student) - K(teacher)|| / batch²` for a kernel matrix `K`, or `cc_delta`.

    The bilinear kernel of two rows is their inner product `g`; the Gaussian one, for rows of unit length, is the
    Taylor expansion `exp(-2 gamma) sum_p (2 gamma g)^p / p!` up to `max_order`.

    Args:
        teacher_embed: Float array `[batch, teacher_width]`. Constant: no gradient reaches it.
        student_embed: Float array `[batch, student_width]`; of the same width for `"delta"`.
        form: `"gaussian"`, `"bilinear"` or `"delta"`. Defaults to `"gaussian"`.
        gamma: Positive inverse width of the Gaussian kernel. Defaults to 0.4.
        max_order: Highest power in the expansion of the Gaussian kernel. Defaults to 2.
        mask: Bool array `[batch]`: which samples count. Defaults to `None`, all.

    Returns:
        Float array `[batch]`: the loss of the whole batch, repeated.

    Raises:
        ValueError: If the form is `"delta"` and the widths differ.

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
    loss = norm(difference, axis=(0, 1)) / ops.square(count_samples(counted))
    return ops.cast(loss * ops.ones_like(counted), dtype)


@checked(teacher_embed="[batch, *]", student_embed="[batch, *]", mask="[batch]")
def cc_delta(teacher_embed: Tensor, student_embed: Tensor, mask: Tensor = None) -> Tensor:
    """Compute the products of the absolute errors of consecutive samples, summed over the width.

    A widely used benchmark implements correlation congruence in this form.

    Args:
        teacher_embed: Float array `[batch, width]`. Constant: no gradient reaches it.
        student_embed: Float array `[batch, width]`.
        mask: Bool array `[batch]`: which samples count. Samples are consecutive if only samples that do not count are
            between them. Defaults to `None`, all.

    Returns:
        Float array `[batch]`: the mean over the pairs of consecutive samples, repeated; 0 if there is no pair.

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
        received = f"widths of {teacher.shape[-1]} and {student.shape[-1]}"
        fix = "Train in `keras_distill.Distiller`, which adds an adapter, or use another form."
        raise ValueError(expected("teacher and student embeddings of one width for the form 'delta'", received, fix))
    errors = ops.take(absolute(student - teacher), _sort_by_counted(counted), axis=0)
    # Samples that do not count have an error of 0 and come after all others, so their products are 0.
    products = ops.sum(errors[:-1] * errors[1:])
    return ops.cast(products / ops.maximum(ops.sum(counted) - 1.0, 1.0) * ops.ones_like(counted), dtype)


@method("cc", paper="Peng et al. 2019", arxiv="1904.01802", peers=("RepDistiller", "torchdistill"))
class CC(EmbeddingLoss):
    """Teach the student how the teacher's embeddings of the samples of a batch correlate: see `cc` and `cc_delta`.

    Embeddings are not normalized, and the kernels grow with their powers. Use layers with outputs of unit length (a
    `UnitNormalization`), or a small weight.

    Args:
        form: `"gaussian"`, the paper's kernel; `"bilinear"`, inner products; or `"delta"`, products of the errors of
            consecutive samples. `"delta"` needs equal widths; if they differ, a `Distiller` trains an adapter. Defaults
            to `"gaussian"`.
        gamma: Positive inverse width of the Gaussian kernel. Defaults to 0.4.
        max_order: Highest power in the expansion of the Gaussian kernel, a whole number >= 1. Defaults to 2.
        teacher_layer_name: Layer of the teacher. Defaults to `"auto"`, the one before the head.
        student_layer_name: Layer of the student. Defaults to `"auto"`, the one before the head.
        preactivation: Whether to take the embeddings before the activation of the layers. Defaults to `False`.
        name: Name in the logs. Defaults to `"cc"`.

    Raises:
        ValueError: If the form is unknown, or a number is out of range.

    Example:

    >>> import numpy as np
    >>> teacher, student = np.array([[1.0, 0.0], [0.0, 1.0]]), np.array([[1.0, 0.0], [1.0, 0.0]])
    >>> round(float(CC("bilinear").compute_loss(teacher, student)), 4)
    0.3536
    """

    hyper_parameters = ("form", "gamma", "max_order")

    def __init__(
        self,
        form: str = "gaussian",
        gamma: float = 0.4,
        max_order: int = 2,
        teacher_layer_name: LayerNames = "auto",
        student_layer_name: LayerNames = "auto",
        preactivation: bool = False,
        name: str | None = None,
    ):
        super().__init__(teacher_layer_name, student_layer_name, preactivation, name=name)
        self.form = check_choice("form", form, FORMS)
        self.max_order = check_whole_number("max_order", max_order)
        self.gamma = check_number("gamma", gamma, 0.0, math.inf, open_low=True)

    def make_adapter(self, teacher_shape: Any, student_shape: Any) -> keras.layers.Layer | None:
        """Create a dense layer to the teacher's width if the form needs equal widths and they differ."""
        if self.form != "delta":
            return None
        return match_each_width(teacher_shape, student_shape, f"{self.name}_adapter")

    def per_sample(self, teacher_output: Any, student_output: Any, mask: Tensor = None) -> Tensor:
        return cc(teacher_output, student_output, self.form, self.gamma, self.max_order, mask)


def _kernel_difference(teacher, student, slope, max_order):
    """Return `K(student) - K(teacher)` of inner products, for `K(g) = exp(-slope) sum_p (slope g)^p / p!`.

    Horner's rule computes the sum and its difference together, with `student - teacher` as a factor. The difference of
    two separate sums would not always be 0 for equal inputs, and the norm of a tiny number has a gradient of full size.
    """
    total, difference = ops.ones_like(student), ops.zeros_like(student)
    for order in range(max_order, 0, -1):
        difference = slope / order * ((student - teacher) * total + teacher * difference)
        total = 1.0 + slope / order * student * total
    return math.exp(-slope) * difference


def _sort_by_counted(counted):
    """Return the indices of the samples that count, in their order, followed by those of the others."""
    rows = ops.shape(counted)[0]
    return ops.argsort(ops.arange(rows) + ops.cast(1.0 - counted, "int32") * rows)
