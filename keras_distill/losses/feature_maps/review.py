"""Knowledge review: each stage of the teacher compared with this and all deeper stages of the student."""

from collections.abc import Sequence
from typing import Any

import keras
from keras import ops

from keras_distill._core.checked import checked
from keras_distill._core.checks import check_whole_number
from keras_distill._core.messages import expected
from keras_distill.answers.answer import Tensor
from keras_distill.features.adapters import is_list_of_shapes
from keras_distill.features.fusion import ReviewFusion
from keras_distill.losses.divergences import cast_pair
from keras_distill.losses.feature_maps.maps import average_pool
from keras_distill.losses.feature_maps.stages import check_same_shape
from keras_distill.losses.layers import FeatureLoss, LayerNames
from keras_distill.losses.registry import method


@checked(teacher_features="[batch, *, *, *]", student_features="[batch, *, *, *]")
def reviewkd_hcl(teacher_features: Tensor, student_features: Tensor, pool_sizes: Sequence[int] = (4, 2, 1)) -> Tensor:
    """Compute the hierarchical context loss of a stage: squared errors of the maps at several scales.

    The mean squared error of the maps themselves has weight 1. For each pool size below their height, that of the
    pooled maps is added with half the weight of the size before. The sum is divided by the sum of the weights.

    Args:
        teacher_features: Float array `[batch, height, width, channels]`. Constant: no gradient reaches it.
        student_features: Float array of the same shape.
        pool_sizes: Heights (and widths) to pool to. Sizes not below the height are skipped. Defaults to `(4, 2, 1)`.

    Returns:
        Float array `[batch]`.

    Raises:
        ValueError: If the shapes differ, or the height or width is unknown.

    Example:

    >>> import numpy as np
    >>> teacher, student = np.zeros((2, 1, 2, 2, 1), "float32")
    >>> student[0, :, 0] = 2.0
    >>> round(float(reviewkd_hcl(teacher, student)[0]), 4)  # (2 + 1 / 2) / (1 + 1 / 2)
    1.6667

    Reference:
        Chen, Liu, Zhao, Jia, "Distilling Knowledge via Knowledge Review", 2021, arXiv:2104.09044.
    """
    teacher, student = cast_pair(teacher_features, student_features)
    check_same_shape(teacher, student)
    # Pooling is linear: the pooled difference is the difference of the pooled maps, with less cancellation.
    difference = student - teacher
    value = _mean_square(difference)
    weight = total = 1.0
    for size in pool_sizes:
        if size < _height(difference):
            weight /= 2.0
            total += weight
            value = value + weight * _mean_square(average_pool(difference, (size, size)))
    return value / total


def _mean_square(x):
    return ops.mean(ops.square(x), axis=(1, 2, 3))


def _height(maps):
    if None in maps.shape[1:3]:
        fix = "Give the model's `Input` a fixed size."
        raise ValueError(expected("feature maps of known height and width", f"{tuple(maps.shape)}", fix))
    return maps.shape[1]


@method("reviewkd_hcl", paper="Chen, Liu, Zhao, Jia 2021", arxiv="2104.09044", peers=("mdistiller", "torchdistill"))
class ReviewKD(FeatureLoss):
    """Teach each stage of the student, together with all deeper ones, the stage of the teacher: see `reviewkd_hcl`.

    The student's maps are fused from the deepest to the shallowest by a `keras_distill.features.ReviewFusion`, which is
    trained with the student. Each fused map is compared with the teacher's, and the losses of all stages are added.

    Args:
        pool_sizes: Heights (and widths) to which the maps are pooled for further comparisons, whole numbers >= 1.
            Defaults to `(4, 2, 1)`.
        mid_width: Number of channels of the maps that are passed from stage to stage. Defaults to `None`: the channels
            of the student's deepest stage, at most 512.
        teacher_layer_name: Layer of the teacher, or a list of layers from shallow to deep. Defaults to `"auto"`.
        student_layer_name: Layer of the student, in the same form. Defaults to `"auto"`.
        preactivation: Whether to take the features before the activation of the layers. Defaults to `False`.
        name: Name in the logs. Defaults to `"reviewkd_hcl"`.

    Raises:
        ValueError: If a size is not a whole number >= 1.

    Example:

    >>> import numpy as np
    >>> import keras_distill as kd
    >>> ones = np.ones((2, 8, 8, 3), "float32")
    >>> float(ReviewKD(teacher_layer_name="a", student_layer_name="b").compute_loss(ones, 4.0 * ones))
    9.0
    """

    hyper_parameters = ("pool_sizes", "mid_width")
    staged = True

    def __init__(
        self,
        pool_sizes: Sequence[int] = (4, 2, 1),
        mid_width: int | None = None,
        teacher_layer_name: LayerNames = "auto",
        student_layer_name: LayerNames = "auto",
        preactivation: bool = False,
        name: str | None = None,
    ):
        super().__init__(teacher_layer_name, student_layer_name, preactivation, name)
        sizes = pool_sizes if isinstance(pool_sizes, (list, tuple)) else [pool_sizes]
        self.pool_sizes = [check_whole_number("pool_sizes", size) for size in sizes]
        self.mid_width = None if mid_width is None else check_whole_number("mid_width", mid_width)

    def make_adapter(self, teacher_shape: Any, student_shape: Any) -> keras.layers.Layer | None:
        """Create a `ReviewFusion` to the shapes of the teacher's maps."""
        shapes = teacher_shape if is_list_of_shapes(teacher_shape) else [teacher_shape]
        return ReviewFusion(shapes, self.mid_width, name=f"{self.name}_adapter")

    def per_sample(self, teacher_output: Any, student_output: Any) -> Tensor:
        stages = zip(teacher_output, student_output, strict=True)
        return sum(reviewkd_hcl(*stage, self.pool_sizes) for stage in stages)
