"""Knowledge review: each stage of the teacher compared with all the deeper stages of the student, at several scales."""

import keras
from keras import ops

from keras_distill._core.messages import expected
from keras_distill.features.fusion import ReviewFusion
from keras_distill.losses.feature_maps.maps import average_pool, cast_pair
from keras_distill.losses.feature_maps.stages import check_one_shape
from keras_distill.losses.layers import FeatureLoss
from keras_distill.losses.registry import method


def reviewkd_hcl(teacher_features, student_features, pool_sizes=(4, 2, 1)):
    """Compute the hierarchical context loss of a stage: squared errors of the maps, and of the maps pooled.

    The mean squared error of the maps as they are has weight 1. Each size below their height adds that of the maps
    pooled to it, with half the weight of the one before. The sum is divided by the sum of the weights.

    Args:
        teacher_features: Float array `[batch, height, width, channels]`. Constant: no gradient reaches it.
        student_features: Float array of the same shape.
        pool_sizes: Heights (and widths) to pool to, skipped where not below the height. Defaults to `(4, 2, 1)`.

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
    check_one_shape(teacher, student)
    # Pooling is linear: the difference of the pooled maps is the pooled difference, which cancels less.
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
@keras.saving.register_keras_serializable(package="keras_distill")
class ReviewKD(FeatureLoss):
    """Teach each stage of the student, together with all deeper ones, what the stage of the teacher says.

    The student's maps are fused from the deepest to the shallowest by a `keras_distill.features.ReviewFusion`, trained
    along; each fused map is compared with the teacher's at several scales. The stages add up.

    Args:
        pool_sizes: Heights (and widths) to which the maps are pooled and compared again, whole numbers >= 1. Defaults
            to `(4, 2, 1)`.
        mid_width: Number of channels of what goes from stage to stage. Defaults to `None`: the channels of the
            student's deepest stage, at most 512.
        teacher_layer_name: Layer of the teacher, or a list of them, shallow to deep. Defaults to `"auto"`.
        student_layer_name: Layer of the student, likewise. Defaults to `"auto"`.
        preactivation: Whether to compare what comes before the activation of the layers. Defaults to `False`.
        name: Name in the logs. Defaults to `"reviewkd_hcl"`.

    Raises:
        ValueError: If a size is no whole number >= 1.

    Example:

    >>> import numpy as np
    >>> import keras_distill as kd
    >>> ones = np.ones((2, 8, 8, 3), "float32")
    >>> float(ReviewKD(teacher_layer_name="a", student_layer_name="b").compute_loss(ones, 4.0 * ones))
    9.0

    Reference:
        Chen, Liu, Zhao, Jia, "Distilling Knowledge via Knowledge Review", 2021, arXiv:2104.09044.
    """

    method = "reviewkd_hcl"
    staged = True

    def __init__(
        self,
        pool_sizes=(4, 2, 1),
        mid_width=None,
        teacher_layer_name="auto",
        student_layer_name="auto",
        preactivation=False,
        name=None,
    ):
        super().__init__(teacher_layer_name, student_layer_name, preactivation, name)
        pool_sizes = pool_sizes if isinstance(pool_sizes, (list, tuple)) else [pool_sizes]
        self.pool_sizes = [_count("pool_sizes", size) for size in pool_sizes]
        self.mid_width = None if mid_width is None else _count("mid_width", mid_width)

    def make_adapter(self, teacher_shape, student_shape):
        """Return a `ReviewFusion` to the shapes of the teacher's maps."""
        shapes = teacher_shape if isinstance(teacher_shape[0], (list, tuple)) else [teacher_shape]
        return ReviewFusion(shapes, self.mid_width, name=f"{self.name}_adapter")

    def per_sample(self, teacher_output, student_output):
        stages = zip(teacher_output, student_output, strict=True)
        return sum(reviewkd_hcl(*stage, self.pool_sizes) for stage in stages)

    def get_config(self):
        return {**super().get_config(), "pool_sizes": self.pool_sizes, "mid_width": self.mid_width}


def _count(name, value):
    if isinstance(value, bool) or not hasattr(value, "__index__") or value < 1:
        raise ValueError(expected(f"{name} to be whole numbers >= 1", f"{name}={value!r}"))
    return int(value)
