"""The overhaul of feature distillation: features before the ReLU, of which the negative ones only count so far."""

import math

import keras
from keras import ops

from keras_distill._core.checks import check_number
from keras_distill._core.messages import expected
from keras_distill.features.adapters import Parallel, for_each_layer
from keras_distill.features.overhaul import MarginConnector, margin_before_relu
from keras_distill.losses.feature_maps.maps import cast_pair
from keras_distill.losses.feature_maps.stages import check_one_shape, check_stage_weights, weighted_stages
from keras_distill.losses.layers import FeatureLoss
from keras_distill.losses.registry import method

_FIX = "Give the margins as numbers, one list of floats for each layer: OFD(margin=[...])."


def ofd(teacher_features, student_features, margin):
    """Compute the partial squared distance to the teacher's features, summed over the elements of a sample.

    The target is `max(t, margin)`: how negative the teacher is does not matter beyond the margin. Nothing is asked of
    a student's element that lies at or below a target that is not positive: after the ReLU both are zero.

    Args:
        teacher_features: Float array `[batch, height, width, channels]`, before the ReLU. Constant: no gradient
            reaches it.
        student_features: Float array of the same shape.
        margin: Float array `[channels]`, such as `batch_norm_margin` computes, or a number.

    Returns:
        Float array `[batch]`.

    Raises:
        ValueError: If the shapes differ.

    Example:

    >>> import numpy as np
    >>> teacher, student = np.array([3.0, -5.0, -5.0]), np.array([1.0, 1.0, -2.0])
    >>> float(ofd(teacher.reshape(1, 1, 1, 3), student.reshape(1, 1, 1, 3), margin=-1.0)[0])  # 4 + 4 + 0
    8.0

    Reference:
        Heo, Kim, Yun, Park, Kwak, Choi, "A Comprehensive Overhaul of Feature Distillation", 2019, arXiv:1904.01866.
    """
    teacher, student = cast_pair(teacher_features, student_features)
    check_one_shape(teacher, student)
    # Not `cast`: it takes a list through float32.
    margin = ops.stop_gradient(ops.convert_to_tensor(margin, teacher.dtype))
    target = ops.maximum(teacher, margin)
    counts = ops.logical_or(student > target, target > 0)
    return ops.sum(ops.square(ops.where(counts, student - target, ops.zeros_like(target))), axis=(1, 2, 3))


@method("ofd", paper="Heo, Kim, Yun, Park, Kwak, Choi 2019", arxiv="1904.01866", peers=("mdistiller",))
@keras.saving.register_keras_serializable(package="keras_distill")
class OFD(FeatureLoss):
    """Teach the student the teacher's features before the ReLU, the part of them that matters after it.

    A connector (1x1 convolution and batch normalisation) is trained along for each layer. The margin up to which
    negative features count is their mean, channel by channel, which the batch normalisation of the teacher tells.

    The loss is a sum over elements, and so in the thousands: the authors multiply it by 1e-3 (`scale`, or the weight
    given to the `Distiller`).

    Args:
        margin: `"auto"` to take it from the batch normalisation of the teacher; or a list of one number <= 0 for each
            channel of the teacher, a list of such lists for several layers. Defaults to `"auto"`, for which the layer
            of the teacher has to be a batch normalisation, the ReLU that follows one, or the sum of one with a
            shortcut (or its ReLU).
        scale: Factor of the whole loss, >= 0. Defaults to 1.0.
        stage_weights: One number for each layer. Defaults to `None`: the last layer counts 1, each one before it half
            as much as the next.
        teacher_layer_name: Layer of the teacher, or a list of them, shallow to deep. Defaults to `"auto"`.
        student_layer_name: Layer of the student, likewise. Defaults to `"auto"`.
        preactivation: Whether to compare what comes before the activation of the layers. Defaults to `True`.
        name: Name in the logs. Defaults to `"ofd"`.

    Raises:
        ValueError: If the margin is neither, or a weight negative.

    Example:

    >>> import numpy as np
    >>> import keras_distill as kd
    >>> loss = OFD(margin=[-0.5, -0.5, -0.5], teacher_layer_name="norm_2", student_layer_name="norm_1")
    >>> float(loss.compute_loss(np.full((1, 2, 2, 3), -4.0), np.zeros((1, 2, 2, 3))))
    3.0

    Reference:
        Heo, Kim, Yun, Park, Kwak, Choi, "A Comprehensive Overhaul of Feature Distillation", 2019, arXiv:1904.01866.
    """

    method = "ofd"
    staged = True

    def __init__(
        self,
        margin="auto",
        scale=1.0,
        stage_weights=None,
        teacher_layer_name="auto",
        student_layer_name="auto",
        preactivation=True,
        name=None,
    ):
        super().__init__(teacher_layer_name, student_layer_name, preactivation, name)
        self.margin = margin if isinstance(margin, str) and margin == "auto" else _numbers(margin)
        self.scale = check_number("scale", scale, 0.0, math.inf)
        self.stage_weights = check_stage_weights(stage_weights)
        self._margins = None if self.margin == "auto" else _per_layer(self.margin)

    def validate_model_compatibility(self, teacher, student):
        """Raise a `ValueError` unless both models have the layers, and the teacher's tell the margins."""
        super().validate_model_compatibility(teacher, student)
        if self.margin == "auto":
            names = self.teacher_layer_name if isinstance(self.teacher_layer_name, list) else [self.teacher_layer_name]
            self._margins = [margin_before_relu(teacher, name, self.preactivation, _FIX) for name in names]

    def make_adapter(self, teacher_shape, student_shape):
        """Return a `MarginConnector` to the teacher's channels; one for each of several layers."""
        count = len(teacher_shape) if isinstance(teacher_shape[0], (list, tuple)) else 1
        margins = iter(self._known_margins(count))
        return for_each_layer(
            lambda teacher, student, name: MarginConnector(_fitting(next(margins), teacher), name=name),
            teacher_shape,
            student_shape,
            f"{self.name}_adapter",
        )

    def per_sample(self, teacher_output, student_output, adapter=None):
        if adapter is None:
            margins = self._known_margins(len(teacher_output))
        else:
            margins = [each.margin for each in (adapter.layers if isinstance(adapter, Parallel) else [adapter])]
        stages = zip(teacher_output, student_output, margins, strict=True)
        return self.scale * weighted_stages([ofd(*stage) for stage in stages], self.stage_weights)

    def _known_margins(self, count):
        if self._margins is None:
            raise ValueError(expected("a loss that has seen the models", "margin='auto' and no models yet", _FIX))
        if len(self._margins) != count:
            raise ValueError(expected(f"{count} lists of margins, one for each layer", f"{len(self._margins)}", _FIX))
        return self._margins

    def get_config(self):
        own = {"margin": self.margin, "scale": self.scale, "stage_weights": self.stage_weights}
        return {**super().get_config(), **own}


def _numbers(margin):
    """Return numbers, or lists of them, as Python's own; raise a `ValueError` for one that is above zero."""
    margin = margin.tolist() if hasattr(margin, "tolist") else margin
    if isinstance(margin, (list, tuple)) and margin:
        return [_numbers(each) if isinstance(each, (list, tuple)) else _number(each) for each in margin]
    raise ValueError(expected("margin to be 'auto' or a list of floats", f"margin={margin!r}"))


def _number(value):
    return -check_number("-margin", -value if hasattr(value, "__neg__") else value, 0.0, math.inf)


def _per_layer(margin):
    return margin if isinstance(margin[0], list) else [margin]


def _fitting(margin, teacher_shape):
    if len(margin) != teacher_shape[-1]:
        what = f"{teacher_shape[-1]} margins, one for each channel of the teacher"
        raise ValueError(expected(what, f"{len(margin)}", _FIX))
    return margin
