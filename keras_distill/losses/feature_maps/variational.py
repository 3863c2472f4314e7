"""Variational information distillation: a lower bound on what the student's features tell about the teacher's."""

import math

import keras
from keras import ops

from keras_distill._core.checks import check_number
from keras_distill.features.adapters import Parallel, for_each_layer
from keras_distill.features.variational import VariationalAdapter
from keras_distill.losses.base import unmasked
from keras_distill.losses.feature_maps.maps import cast_pair
from keras_distill.losses.feature_maps.stages import check_one_shape, one_size
from keras_distill.losses.layers import FeatureLoss
from keras_distill.losses.registry import method


def vid(teacher_features, mean, variance):
    """Compute the negative log-likelihood of the teacher's features under a normal distribution of each channel.

    `((mean - t)² / variance + log variance) / 2`, averaged over the elements of a sample. The constant
    `log(2 pi) / 2` is left out, so the value may be negative.

    Args:
        teacher_features: Float array `[batch, height, width, channels]`. Constant: no gradient reaches it.
        mean: Float array of the same shape: what is predicted from the student's features.
        variance: Positive float array `[channels]`, learned.

    Returns:
        Float array `[batch]`.

    Raises:
        ValueError: If the shapes differ.

    Example:

    >>> import numpy as np
    >>> ones = np.ones((1, 2, 2, 3), "float32")
    >>> float(vid(ones, 3.0 * ones, np.ones(3, "float32"))[0])
    2.0

    Reference:
        Ahn, Hu, Damianou, Lawrence, Dai, "Variational Information Distillation for Knowledge Transfer", 2019,
        arXiv:1904.05835.
    """
    teacher, mean = cast_pair(teacher_features, mean)
    check_one_shape(teacher, mean)
    variance = ops.convert_to_tensor(variance, mean.dtype)
    # Divided by the deviation before it is squared: large features overflow later.
    scaled = (mean - teacher) / ops.sqrt(variance)
    return ops.mean(0.5 * (ops.square(scaled) + ops.log(variance)), axis=(1, 2, 3))


@method("vid", paper="Ahn, Hu, Damianou, Lawrence, Dai 2019", arxiv="1904.05835", peers=("mdistiller", "RepDistiller"))
@keras.saving.register_keras_serializable(package="keras_distill")
class VID(FeatureLoss):
    """Teach the student features from which those of the teacher can be predicted.

    A small network of three 1x1 convolutions predicts each channel of the teacher from the student's features, with a
    variance of each channel that is learned as well: channels that the student cannot predict weigh less. The larger
    map is average-pooled to the size of the smaller one first. Several layers add up.

    Args:
        initial_variance: Variance of every channel at the start, above 1e-5. Defaults to 5.0.
        teacher_layer_name: Layer of the teacher, or a list of them. Defaults to `"auto"`.
        student_layer_name: Layer of the student, likewise. Defaults to `"auto"`.
        preactivation: Whether to compare what comes before the activation of the layers. Defaults to `False`.
        name: Name in the logs. Defaults to `"vid"`.

    Raises:
        ValueError: If the variance is too small.

    Example:

    >>> import numpy as np
    >>> import keras_distill as kd
    >>> loss = VID(teacher_layer_name="stage_2", student_layer_name="stage_1")
    >>> teacher, student = np.zeros((2, 4, 4, 3), "float32"), np.zeros((2, 8, 8, 2), "float32")
    >>> adapter = loss.make_adapter(teacher.shape, student.shape)
    >>> round(float(loss.compute_loss(teacher, student, adapter=adapter)), 4)  # log(5) / 2
    0.8047

    Reference:
        Ahn, Hu, Damianou, Lawrence, Dai, "Variational Information Distillation for Knowledge Transfer", 2019,
        arXiv:1904.05835.
    """

    method = "vid"
    staged = True

    def __init__(
        self,
        initial_variance=5.0,
        teacher_layer_name="auto",
        student_layer_name="auto",
        preactivation=False,
        name=None,
    ):
        super().__init__(teacher_layer_name, student_layer_name, preactivation, name)
        self.initial_variance = check_number(
            "initial_variance", initial_variance, VariationalAdapter.FLOOR, math.inf, open_low=True
        )

    def make_adapter(self, teacher_shape, student_shape):
        """Return a `VariationalAdapter` to the teacher's channels; one for each of several layers."""

        def make(teacher, student, name):
            return VariationalAdapter(teacher[-1], self.initial_variance, name=name)

        return for_each_layer(make, teacher_shape, student_shape, f"{self.name}_adapter")

    def adapt(self, student_outputs, adapter, training=False):
        """Return the student's outputs as they are: they are pooled to the teacher's size before the adapter."""
        return student_outputs

    def prepare(self, teacher_output, student_output):
        """Return both; convolutions take no masks, and padded samples get no gradient."""
        return teacher_output, keras.tree.map_structure(unmasked, student_output)

    def per_sample(self, teacher_output, student_output, adapter, training=False):
        adapters = adapter.layers if isinstance(adapter, Parallel) else [adapter]
        stages = zip(teacher_output, student_output, adapters, strict=True)
        return sum(_of_stage(*stage, training) for stage in stages)

    def get_config(self):
        return {**super().get_config(), "initial_variance": self.initial_variance}


def _of_stage(teacher, student, adapter, training):
    teacher, student = one_size(*cast_pair(teacher, student))
    return vid(teacher, adapter(student, training=training), adapter.variance)
