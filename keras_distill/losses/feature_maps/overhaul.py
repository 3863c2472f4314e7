"""The overhaul of feature distillation: features before the ReLU, compared down to a negative margin."""

import math
from collections.abc import Sequence
from typing import Any

import keras
from keras import ops

from keras_distill._core.checked import checked
from keras_distill._core.checks import check_number
from keras_distill._core.messages import expected
from keras_distill.answers.answer import Tensor
from keras_distill.features.adapters import Parallel, is_list_of_shapes, make_for_each_layer
from keras_distill.features.overhaul import MarginConnector, margin_before_relu
from keras_distill.losses.divergences import cast_pair
from keras_distill.losses.feature_maps.stages import check_same_shape, check_stage_weights, weighted_stages
from keras_distill.losses.layers import FeatureLoss, LayerNames
from keras_distill.losses.registry import method

_FIX = "Give the margins as numbers, one list of floats for each layer: `OFD(margin=[...])`."


@checked(
    teacher_features="[batch, *, *, *]",
    student_features="[batch, *, *, *]",
    margin="[...]",
)
def ofd(teacher_features: Tensor, student_features: Tensor, margin: Any) -> Tensor:
    """Compute the partial squared distance to the teacher's features, summed over the elements of a sample.

    The target is `max(t, margin)`: beyond the margin, it does not matter how negative the teacher is. An element of the
    student at or below a target that is not positive costs nothing, since both are zero after the ReLU.

    Args:
        teacher_features: Float array `[batch, height, width, channels]`, before the ReLU. Constant: no gradient
            reaches it.
        student_features: Float array of the same shape.
        margin: Float array `[channels]`, such as the result of `batch_norm_margin`, or a number.

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
    check_same_shape(teacher, student)
    # Not `cast`, which converts a list to float32 first.
    margin = ops.stop_gradient(ops.convert_to_tensor(margin, teacher.dtype))
    target = ops.maximum(teacher, margin)
    counts = ops.logical_or(student > target, target > 0)
    return ops.sum(ops.square(ops.where(counts, student - target, ops.zeros_like(target))), axis=(1, 2, 3))


@method("ofd", paper="Heo, Kim, Yun, Park, Kwak, Choi 2019", arxiv="1904.01866", peers=("mdistiller",))
class OFD(FeatureLoss):
    """Teach the student the part of the teacher's features before the ReLU that matters after it: see `ofd`.

    A connector (1x1 convolution and batch normalization) is trained with the student for each layer. The margin is the
    mean of the negative features of each channel, computed from the teacher's batch normalization.

    The loss is a sum over elements, in the order of thousands. The authors multiply it by 1e-3: pass this as `scale`,
    or as the weight in the `Distiller`.

    Args:
        margin: `"auto"` to compute it from the batch normalization of the teacher; or a list with one number <= 0 for
            each channel of the teacher, or a list of such lists for several layers. Defaults to `"auto"`, which
            requires the teacher's layer to be a batch normalization, the ReLU that follows one, or the sum of one with
            a shortcut (or its ReLU).
        scale: Factor of the loss, >= 0. Defaults to 1.0.
        stage_weights: One number >= 0 for each layer. Defaults to `None`: the last layer has weight 1, and each other
            layer half the weight of the next.
        teacher_layer_name: Layer of the teacher, or a list of layers from shallow to deep. Defaults to `"auto"`.
        student_layer_name: Layer of the student, in the same form. Defaults to `"auto"`.
        preactivation: Whether to take the features before the activation of the layers. Defaults to `True`.
        name: Name in the logs. Defaults to `"ofd"`.

    Raises:
        ValueError: If the margin is of another form, or a weight is negative.

    Example:

    >>> import numpy as np
    >>> import keras_distill as kd
    >>> loss = OFD(margin=[-0.5, -0.5, -0.5], teacher_layer_name="norm_2", student_layer_name="norm_1")
    >>> float(loss.compute_loss(np.full((1, 2, 2, 3), -4.0), np.zeros((1, 2, 2, 3))))
    3.0
    """

    hyper_parameters = ("margin", "scale", "stage_weights")
    staged = True

    def __init__(
        self,
        margin: Any = "auto",
        scale: float = 1.0,
        stage_weights: Sequence[float] | None = None,
        teacher_layer_name: LayerNames = "auto",
        student_layer_name: LayerNames = "auto",
        preactivation: bool = True,
        name: str | None = None,
    ):
        super().__init__(teacher_layer_name, student_layer_name, preactivation, name)
        self.margin = margin if isinstance(margin, str) and margin == "auto" else _check_margin(margin)
        self.scale = check_number("scale", scale, 0.0, math.inf)
        self.stage_weights = check_stage_weights(stage_weights)
        self._margins = None if self.margin == "auto" else _list_by_layer(self.margin)

    def validate_model_compatibility(self, teacher: keras.Model, student: keras.Model) -> None:
        """Find the layers in both models, and the margins in the teacher.

        Raises:
            ValueError: If a model does not have the layers, or the teacher's layers do not determine the margins.
        """
        super().validate_model_compatibility(teacher, student)
        if self.margin == "auto":
            names: Any = self.teacher_layer_name
            names = names if isinstance(names, list) else [names]
            self._margins = [margin_before_relu(teacher, name, self.preactivation, _FIX) for name in names]

    def make_adapter(self, teacher_shape: Any, student_shape: Any) -> keras.layers.Layer | None:
        """Create a `MarginConnector` to the teacher's channels for each layer."""
        count = len(teacher_shape) if is_list_of_shapes(teacher_shape) else 1
        margins = iter(self._known_margins(count))
        return make_for_each_layer(
            lambda teacher, student, name: MarginConnector(_check_count(next(margins), teacher), name=name),
            teacher_shape,
            student_shape,
            f"{self.name}_adapter",
        )

    def per_sample(self, teacher_output: Any, student_output: Any, adapter: Any = None) -> Tensor:
        if adapter is None:
            margins = self._known_margins(len(teacher_output))
        else:
            connectors: Any = adapter.layers if isinstance(adapter, Parallel) else [adapter]
            margins = [each.margin for each in connectors]
        stages = zip(teacher_output, student_output, margins, strict=True)
        return self.scale * weighted_stages([ofd(*stage) for stage in stages], self.stage_weights)

    def _known_margins(self, count):
        if self._margins is None:
            raise ValueError(expected("a loss that knows the models", "margin='auto' without models", _FIX))
        if len(self._margins) != count:
            raise ValueError(expected(f"{count} lists of margins, one for each layer", f"{len(self._margins)}", _FIX))
        return self._margins


def _check_margin(margin: Any) -> list[Any]:
    """Return numbers, or lists of numbers, as Python floats; raise a `ValueError` if one is positive."""
    margin = margin.tolist() if hasattr(margin, "tolist") else margin
    if isinstance(margin, (list, tuple)) and margin:
        return [_check_margin(each) if isinstance(each, (list, tuple)) else _check_number(each) for each in margin]
    raise ValueError(expected("margin to be 'auto' or a list of floats", f"margin={margin!r}"))


def _check_number(value):
    return -check_number("-margin", -value if hasattr(value, "__neg__") else value, 0.0, math.inf)


def _list_by_layer(margin: Any) -> list[Any]:
    return margin if isinstance(margin[0], list) else [margin]


def _check_count(margin: Any, teacher_shape: Any) -> Any:
    if len(margin) != teacher_shape[-1]:
        what = f"{teacher_shape[-1]} margins, one for each channel of the teacher"
        raise ValueError(expected(what, f"{len(margin)}", _FIX))
    return margin
