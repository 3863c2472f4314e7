"""Distillation of activation boundaries: which neurons fire, rather than how strongly."""

import math

import keras
from keras import ops

from keras_distill._core.checks import check_number
from keras_distill.features.adapters import Connector, for_each_layer
from keras_distill.losses.feature_maps.maps import cast_pair
from keras_distill.losses.feature_maps.stages import check_one_shape, check_stage_weights, weighted_stages
from keras_distill.losses.layers import FeatureLoss
from keras_distill.losses.registry import method


def ab(teacher_features, student_features, margin=1.0):
    """Compute how far the student's neurons are from firing where the teacher's fire, and from resting where they rest.

    A squared hinge, summed over the elements of a sample: `(s - margin)²` where the teacher's element is positive and
    `s <= margin`, `(s + margin)²` where it is not and `s > -margin`, 0 elsewhere.

    Args:
        teacher_features: Float array `[batch, height, width, channels]`, before the activation. Constant: no gradient
            reaches it.
        student_features: Float array of the same shape, before the activation.
        margin: How far beyond zero the student has to be, > 0. Defaults to 1.0.

    Returns:
        Float array `[batch]`.

    Raises:
        ValueError: If the shapes differ.

    Example:

    >>> import numpy as np
    >>> teacher, student = np.array([5.0, 5.0, -5.0, -5.0]), np.array([2.0, 0.0, 0.0, 1.0])
    >>> float(ab(teacher.reshape(1, 1, 1, 4), student.reshape(1, 1, 1, 4))[0])  # 0 + 1 + 1 + 4
    6.0

    Reference:
        Heo, Lee, Yun, Choi, "Knowledge Transfer via Distillation of Activation Boundaries Formed by Hidden Neurons",
        2018, arXiv:1811.03233.
    """
    teacher, student = cast_pair(teacher_features, student_features)
    check_one_shape(teacher, student)
    sign = ops.where(teacher > 0, ops.ones_like(teacher), -ops.ones_like(teacher))
    return ops.sum(ops.square(ops.relu(margin - sign * student)), axis=(1, 2, 3))


@method("ab", paper="Heo, Lee, Yun, Choi 2018", arxiv="1811.03233", peers=("RepDistiller",))
@keras.saving.register_keras_serializable(package="keras_distill")
class AB(FeatureLoss):
    """Teach the student which of the teacher's neurons fire.

    The boundary between firing and resting is what a ReLU network is made of; matching it, with a margin, starts the
    student well before the magnitudes matter. It needs features before their activation. Where the channels of a pair
    of layers differ, a connector (1x1 convolution and batch normalisation) is trained along.

    Args:
        margin: How far beyond zero the student's neurons have to be, > 0. Defaults to 1.0.
        scale: Factor of the whole loss, which is a sum over elements, >= 0. Defaults to 3 / 1000, the authors'.
        stage_weights: One number for each layer. Defaults to `None`: the last layer counts 1, each one before it half
            as much as the next.
        teacher_layer_name: Layer of the teacher, or a list of them, shallow to deep. Defaults to `"auto"`.
        student_layer_name: Layer of the student, likewise. Defaults to `"auto"`.
        preactivation: Whether to compare what comes before the activation of the layers. Defaults to `True`.
        name: Name in the logs. Defaults to `"ab"`.

    Raises:
        ValueError: If the margin is not positive, or a weight negative.

    Example:

    >>> import numpy as np
    >>> ones = np.ones((1, 2, 2, 3), "float32")
    >>> loss = AB(scale=1.0, teacher_layer_name="stage_2", student_layer_name="stage_1")
    >>> float(loss.compute_loss(ones, 0.0 * ones))
    12.0

    Reference:
        Heo, Lee, Yun, Choi, "Knowledge Transfer via Distillation of Activation Boundaries Formed by Hidden Neurons",
        2018, arXiv:1811.03233.
    """

    method = "ab"
    staged = True

    def __init__(
        self,
        margin=1.0,
        scale=3e-3,
        stage_weights=None,
        teacher_layer_name="auto",
        student_layer_name="auto",
        preactivation=True,
        name=None,
    ):
        super().__init__(teacher_layer_name, student_layer_name, preactivation, name)
        self.margin = check_number("margin", margin, 0.0, math.inf, open_low=True)
        self.scale = check_number("scale", scale, 0.0, math.inf)
        self.stage_weights = check_stage_weights(stage_weights)

    def make_adapter(self, teacher_shape, student_shape):
        """Return a `Connector` where the channels of a pair of layers differ, `None` where none do."""

        def make(teacher, student, name):
            return None if teacher[-1] == student[-1] else Connector(teacher[-1], name=name)

        return for_each_layer(make, teacher_shape, student_shape, f"{self.name}_adapter")

    def per_sample(self, teacher_output, student_output):
        stages = [ab(*pair, self.margin) for pair in zip(teacher_output, student_output, strict=True)]
        return self.scale * weighted_stages(stages, self.stage_weights)

    def get_config(self):
        own = {"margin": self.margin, "scale": self.scale, "stage_weights": self.stage_weights}
        return {**super().get_config(), **own}
