"""Distillation of activation boundaries: which neurons fire, rather than how strongly."""

import math
from collections.abc import Sequence
from typing import Any

import keras
from keras import ops

from keras_distill._core.checked import checked
from keras_distill._core.checks import check_number
from keras_distill.answers.answer import Tensor
from keras_distill.features.adapters import Connector, make_for_each_layer
from keras_distill.losses.divergences import cast_pair
from keras_distill.losses.feature_maps.stages import check_same_shape, check_stage_weights, weighted_stages
from keras_distill.losses.layers import FeatureLoss, LayerNames
from keras_distill.losses.registry import method


@checked(teacher_features="[batch, ...]", student_features="[batch, *...]", margin=(0.0, math.inf))
def ab(teacher_features: Tensor, student_features: Tensor, margin: float = 1.0) -> Tensor:
    """Compute how far the student's neurons are from the side of zero on which the teacher's are.

    It is a squared hinge, summed over the elements of a sample: `(s - margin)²` where the teacher's element is positive
    and `s <= margin`, `(s + margin)²` where it is not positive and `s > -margin`, and 0 elsewhere.

    The boundary between firing and resting partitions the input space of a ReLU network. Matching it, with a margin,
    initializes the student well before the magnitudes matter.

    Args:
        teacher_features: Float array `[batch, height, width, channels]`, before the activation. Constant: no gradient
            reaches it.
        student_features: Float array of the same shape, before the activation.
        margin: Distance from zero that the student must reach, > 0. Defaults to 1.0.

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
    check_same_shape(teacher, student)
    sign = ops.where(teacher > 0, ops.ones_like(teacher), -ops.ones_like(teacher))
    return ops.sum(ops.square(ops.relu(margin - sign * student)), axis=(1, 2, 3))


@method("ab", paper="Heo, Lee, Yun, Choi 2018", arxiv="1811.03233", peers=("RepDistiller",))
class AB(FeatureLoss):
    """Teach the student which of the teacher's neurons fire: see `ab`.

    It compares features before their activation. If the channels of a pair of layers differ, a connector (1x1
    convolution and batch normalization) is trained with the student.

    Args:
        margin: Distance from zero that the student's neurons must reach, > 0. Defaults to 1.0.
        scale: Factor of the loss, which is a sum over elements, >= 0. Defaults to 3e-3, as in the paper's code.
        stage_weights: One number >= 0 for each layer. Defaults to `None`: the last layer has weight 1, and each other
            layer half the weight of the next.
        teacher_layer_name: Layer of the teacher, or a list of layers from shallow to deep. Defaults to `"auto"`.
        student_layer_name: Layer of the student, in the same form. Defaults to `"auto"`.
        preactivation: Whether to take the features before the activation of the layers. Defaults to `True`.
        name: Name in the logs. Defaults to `"ab"`.

    Raises:
        ValueError: If the margin is not positive, or a weight is negative.

    Example:

    >>> import numpy as np
    >>> ones = np.ones((1, 2, 2, 3), "float32")
    >>> loss = AB(scale=1.0, teacher_layer_name="stage_2", student_layer_name="stage_1")
    >>> float(loss.compute_loss(ones, 0.0 * ones))
    12.0
    """

    hyper_parameters = ("margin", "scale", "stage_weights")
    staged = True

    def __init__(
        self,
        margin: float = 1.0,
        scale: float = 3e-3,
        stage_weights: Sequence[float] | None = None,
        teacher_layer_name: LayerNames = "auto",
        student_layer_name: LayerNames = "auto",
        preactivation: bool = True,
        name: str | None = None,
    ):
        super().__init__(teacher_layer_name, student_layer_name, preactivation, name)
        self.margin = check_number("margin", margin, 0.0, math.inf, open_low=True)
        self.scale = check_number("scale", scale, 0.0, math.inf)
        self.stage_weights = check_stage_weights(stage_weights)

    def make_adapter(self, teacher_shape: Any, student_shape: Any) -> keras.layers.Layer | None:
        """Create a `Connector` for each pair of layers with different channels, or return `None` if there is none."""

        def make(teacher: Any, student: keras.Model, name: Any) -> Any:
            return None if teacher[-1] == student[-1] else Connector(teacher[-1], name=name)

        return make_for_each_layer(make, teacher_shape, student_shape, f"{self.name}_adapter")

    def per_sample(self, teacher_output: Any, student_output: Any) -> Tensor:
        stages = [ab(*pair, self.margin) for pair in zip(teacher_output, student_output, strict=True)]
        return self.scale * weighted_stages(stages, self.stage_weights)
