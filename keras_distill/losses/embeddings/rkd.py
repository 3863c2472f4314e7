"""Relational distillation: the distances of pairs and the angles of triples of samples."""

import math
from typing import Any

from keras import ops

from keras_distill._core.checked import checked
from keras_distill._core.checks import check_number
from keras_distill.answers.answer import Tensor
from keras_distill.losses.embeddings.pairs import center, count_samples, gram, prepare_pair, squared_distances
from keras_distill.losses.layers import EmbeddingLoss, LayerNames
from keras_distill.losses.registry import method

_SMALLEST_SQUARE = 1e-12
"""Lower bound of a squared distance, before the square root. For angles, it bounds the root itself."""


@checked(
    teacher_embed="[batch, *]",
    student_embed="[batch, *]",
    mask="[batch]",
    distance_weight=(0.0, math.inf),
    angle_weight=(0.0, math.inf),
)
def rkd(
    teacher_embed: Tensor,
    student_embed: Tensor,
    distance_weight: float = 25.0,
    angle_weight: float = 50.0,
    mask: Tensor = None,
) -> Tensor:
    """Compute `distance_weight * rkd_distance + angle_weight * rkd_angle`.

    Distances are relative to their mean, and angles do not depend on the scale, so widths and scales of the two
    embeddings may differ.

    Args:
        teacher_embed: Float array `[batch, teacher_width]`. Constant: no gradient reaches it.
        student_embed: Float array `[batch, student_width]`.
        distance_weight: Weight of the distances. Defaults to 25.0.
        angle_weight: Weight of the angles. Defaults to 50.0.
        mask: Bool array `[batch]`: which samples count. Defaults to `None`, all.

    Returns:
        Float array `[batch]`: the contribution of each sample. The loss is their mean.

    Example:

    >>> import numpy as np
    >>> teacher = np.array([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0]], "float32")
    >>> [round(float(value), 4) for value in rkd(teacher, 3.0 * teacher + 1.0)]  # Only moved and scaled.
    [0.0, 0.0, 0.0]

    Reference:
        Park, Kim, Lu, Cho, "Relational Knowledge Distillation", 2019, arXiv:1904.05068.
    """
    terms = ((distance_weight, rkd_distance), (angle_weight, rkd_angle))
    values = [weight * term(teacher_embed, student_embed, mask) for weight, term in terms if weight]
    return sum(values) if values else 0.0 * rkd_distance(teacher_embed, student_embed, mask)


@checked(teacher_embed="[batch, *]", student_embed="[batch, *]", mask="[batch]")
def rkd_distance(teacher_embed: Tensor, student_embed: Tensor, mask: Tensor = None) -> Tensor:
    """Compare the distances of all pairs of samples, in units of each model's mean distance, by smooth L1.

    Args:
        teacher_embed: Float array `[batch, teacher_width]`. Constant: no gradient reaches it.
        student_embed: Float array `[batch, student_width]`.
        mask: Bool array `[batch]`: which samples count. Defaults to `None`, all.

    Returns:
        Float array `[batch]`: for each sample, the mean over all samples, itself (0) included.

    Example:

    >>> import numpy as np
    >>> teacher, student = np.array([[0.0], [1.0], [2.0]]), np.array([[0.0], [2.0], [3.0]])
    >>> [round(float(value), 4) for value in rkd_distance(teacher, student)]  # 0.25² / 2 for 1, 2 and 1 of 3 pairs.
    [0.0104, 0.0208, 0.0104]

    Reference:
        Park, Kim, Lu, Cho, "Relational Knowledge Distillation", 2019, arXiv:1904.05068.
    """
    teacher, student, counted, dtype = prepare_pair(teacher_embed, student_embed, mask)
    difference = _relative_distances(student, counted) - _relative_distances(teacher, counted)
    return ops.cast(ops.sum(_smooth_l1(difference), axis=1) / count_samples(counted), dtype)


@checked(teacher_embed="[batch, *]", student_embed="[batch, *]", mask="[batch]")
def rkd_angle(teacher_embed: Tensor, student_embed: Tensor, mask: Tensor = None) -> Tensor:
    """Compare the cosines of the angles in all triangles of samples, by smooth L1.

    The memory grows with the square of the batch size, not with its cube: the triples are processed in blocks, and
    again for the gradient.

    Args:
        teacher_embed: Float array `[batch, teacher_width]`. Constant: no gradient reaches it.
        student_embed: Float array `[batch, student_width]`.
        mask: Bool array `[batch]`: which samples count. Defaults to `None`, all.

    Returns:
        Float array `[batch]`: for each sample, the mean over the angles of all pairs `(j, k)` as seen from it, with 0
        for pairs without an angle.

    Example:

    >>> import numpy as np
    >>> teacher = np.array([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0]])  # A right angle; below, a line.
    >>> student = np.array([[0.0], [1.0], [2.0]])
    >>> [round(float(value), 4) for value in rkd_angle(teacher, student)]  # (1 - 0)² / 2 for 2 of 9 pairs.
    [0.1111, 0.2682, 0.0095]

    Reference:
        Park, Kim, Lu, Cho, "Relational Knowledge Distillation", 2019, arXiv:1904.05068.
    """
    teacher, student, counted, dtype = prepare_pair(teacher_embed, student_embed, mask)
    sums = _angle_penalties(*_triangles(teacher, counted), *_triangles(student, counted))
    return ops.cast(sums / ops.square(count_samples(counted)), dtype)


@method(
    "rkd", paper="Park, Kim, Lu, Cho 2019", arxiv="1904.05068", peers=("mdistiller", "RepDistiller", "torchdistill")
)
class RKD(EmbeddingLoss):
    """Teach the student the distances and angles between the teacher's embeddings of a batch: see `rkd`.

    Args:
        distance_weight: Weight of the distances, >= 0. Defaults to 25.0.
        angle_weight: Weight of the angles, >= 0. Defaults to 50.0.
        teacher_layer_name: Layer of the teacher. Defaults to `"auto"`, the one before the head.
        student_layer_name: Layer of the student. Defaults to `"auto"`, the one before the head.
        preactivation: Whether to take the embeddings before the activation of the layers. Defaults to `False`.
        name: Name in the logs. Defaults to `"rkd"`.

    Raises:
        ValueError: If a weight is negative or not finite.

    Example:

    >>> import numpy as np
    >>> teacher, student = np.array([[0.0], [1.0], [2.0]], "float32"), np.array([[0.0], [2.0], [3.0]], "float32")
    >>> round(float(RKD(distance_weight=1.0, angle_weight=0.0).compute_loss(teacher, student)), 4)
    0.0139
    """

    hyper_parameters = ("distance_weight", "angle_weight")

    def __init__(
        self,
        distance_weight: float = 25.0,
        angle_weight: float = 50.0,
        teacher_layer_name: LayerNames = "auto",
        student_layer_name: LayerNames = "auto",
        preactivation: bool = False,
        name: str | None = None,
    ):
        super().__init__(teacher_layer_name, student_layer_name, preactivation, name=name)
        self.distance_weight = check_number("distance_weight", distance_weight, 0.0, math.inf)
        self.angle_weight = check_number("angle_weight", angle_weight, 0.0, math.inf)

    def per_sample(self, teacher_output: Any, student_output: Any, mask: Tensor = None) -> Tensor:
        return rkd(teacher_output, student_output, self.distance_weight, self.angle_weight, mask)


def _smooth_l1(difference):
    size = ops.abs(difference)
    bounded = ops.minimum(size, 1.0)
    return bounded * (size - 0.5 * bounded)


def _relative_distances(embed, counted):
    """Return the distances of all pairs over their mean, with 0 for samples that do not count."""
    others = counted[:, None] * counted[None, :] * (1.0 - ops.eye(ops.shape(embed)[0], dtype=embed.dtype))
    squares = squared_distances(gram(center(embed, counted)))
    distances = others * ops.sqrt(ops.maximum(squares, _SMALLEST_SQUARE))
    pairs = ops.sum(others)
    mean = ops.sum(distances) / ops.maximum(pairs, 1.0)
    return distances / ops.where(pairs > 0, mean, ops.ones_like(mean))


def _triangles(embed, counted):
    """Return the three arrays `[batch, batch]` that determine the angles of all triples, see `_cosines`."""
    products = gram(center(embed, counted))
    squares = squared_distances(products)
    inverse = ops.rsqrt(ops.maximum(squares, _SMALLEST_SQUARE**2))
    apart = ops.logical_and(squares > 0, counted[:, None] * counted[None, :] > 0)
    return products, 0.5 * ops.diagonal(products)[:, None] - products, ops.where(apart, inverse, 0.0 * inverse)


def _cosines(anchors, products, halves, inverse):
    """Return the cosine of the angle between `j` and `k` as seen from each anchor `i`, `[anchors, batch, batch]`.

    It is `(g_jk - g_ij - g_ik + g_ii) / (n_ij n_ik)` for inner products `g` and distances `n`, with
    `halves = g_ii / 2 - g_ij` and `inverse = 1 / n`, which is 0 for points without a direction.
    """
    halves, inverse = ops.take(halves, anchors, axis=0), ops.take(inverse, anchors, axis=0)
    inner = products + halves[:, :, None] + halves[:, None, :]
    return inner * inverse[:, :, None] * inverse[:, None, :]


@ops.custom_gradient
def _angle_penalties(*triangles):
    """Return the sum of smooth L1 over all pairs `(j, k)`, for each anchor `[batch]`.

    The gradient is explicit to save memory: no array `[batch, batch, batch]` is stored for it.

    Args:
        *triangles: The results of `_triangles` for the teacher and for the student.
    """
    # Otherwise the backend would record the operations of all blocks.
    triangles = [ops.stop_gradient(each) for each in triangles]
    rows = ops.shape(triangles[0])[0]
    anchors = _blocks(rows)
    values = ops.map(lambda block: ops.sum(_smooth_l1(_differences(block, triangles)[0]), axis=(1, 2)), anchors)
    return ops.reshape(values, (-1,))[:rows], lambda upstream: _angle_gradients(upstream, anchors, triangles)


def _angle_gradients(upstream, anchors, triangles):
    """Return the gradient of `_angle_penalties` with respect to each argument. The teacher's is zero."""
    inverse = triangles[-1]
    rows, (blocks, size) = ops.shape(inverse)[0], ops.shape(anchors)
    upstream = ops.reshape(ops.pad(upstream, [[0, blocks * size - rows]]), (blocks, size))

    def gradients(given: Any) -> Any:
        block, upstream = given
        difference, cosines = _differences(block, triangles)
        slopes = ops.clip(difference, -1.0, 1.0) * upstream[:, None, None]
        lengths = ops.take(inverse, block, axis=0)
        inner = slopes * lengths[:, :, None] * lengths[:, None, :]
        return ops.sum(inner, axis=0), 2.0 * ops.sum(inner, axis=2), 2.0 * ops.sum(slopes * cosines, axis=2)

    products, halves, logarithms = ops.map(gradients, (anchors, upstream))
    halves, logarithms = (ops.reshape(each, (-1, rows))[:rows] for each in (halves, logarithms))
    lengths = ops.where(inverse > 0, logarithms, 0.0) / ops.where(inverse > 0, inverse, 1.0)
    return *map(ops.zeros_like, triangles[:3]), ops.sum(products, axis=0), halves, lengths


def _differences(block, triangles):
    """Return the student's cosines minus the teacher's, as seen from a block of anchors, and the student's."""
    cosines = _cosines(block, *triangles[3:])
    return cosines - _cosines(block, *triangles[:3]), cosines


def _blocks(rows):
    """Return the indices of all rows, `[blocks, anchors]`, padded by repeating the last.

    A block has about a million triples. These are plain operators, since `rows` is a tensor if the batch is unknown.
    """
    blocks = rows * (rows // 32) * (rows // 32) // 1024 + 1
    size = -(-rows // blocks)
    blocks = -(-rows // size)
    return ops.reshape(ops.minimum(ops.arange(blocks * size), rows - 1), (blocks, size))
