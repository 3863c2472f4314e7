"""Variational information distillation: a bound on the information of the student's features on the teacher's."""

import math
from typing import Any

import keras
from keras import ops

from keras_distill._core.checked import checked
from keras_distill._core.checks import check_number
from keras_distill._core.messages import expected
from keras_distill._core.tensors import same_shape, unmasked
from keras_distill.answers.answer import Tensor
from keras_distill.features.adapters import Parallel, make_for_each_layer
from keras_distill.features.variational import VariationalAdapter
from keras_distill.losses.divergences import cast_pair
from keras_distill.losses.feature_maps.stages import check_same_shape, pool_to_one_size
from keras_distill.losses.layers import FeatureLoss, LayerNames
from keras_distill.losses.registry import method


@checked(teacher_features="[batch, *..., *]", mean="[batch, *..., *]", variance="[*]")
def vid(teacher_features: Tensor, mean: Tensor, variance: Tensor) -> Tensor:
    """Compute the negative log-likelihood of the teacher's features under a normal distribution for each channel.

    It is `((mean - t)² / variance + log variance) / 2`, averaged over the elements of a sample, or of a position of a
    sequence. The constant
    `log(2 pi) / 2` is left out, so the value may be negative. Channels that the student cannot predict learn a large
    variance, and so have less weight.

    Args:
        teacher_features: Float array `[batch, height, width, channels]`, `[batch, time, channels]` or
            `[batch, channels]`. Constant: no gradient reaches it.
        mean: Float array of the same shape, predicted from the student's features.
        variance: Positive float array `[channels]`, which is learned.

    Returns:
        Float array `[batch]`; `[batch, time]` for sequences, whose masks and weights apply to each position.

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
    check_same_shape(teacher, mean)
    variance = ops.convert_to_tensor(variance, mean.dtype)
    # Divided by the standard deviation before it is squared, so that large features do not overflow.
    scaled = (mean - teacher) / ops.sqrt(variance)
    axes = -1 if len(mean.shape) == 3 else tuple(range(1, len(mean.shape)))
    return ops.mean(0.5 * (ops.square(scaled) + ops.log(variance)), axis=axes)


@method("vid", paper="Ahn, Hu, Damianou, Lawrence, Dai 2019", arxiv="1904.05835", peers=("mdistiller", "RepDistiller"))
class VID(FeatureLoss):
    """Teach the student features from which those of the teacher can be predicted: see `vid`.

    Three 1x1 convolutions predict each channel of the teacher from the student's features. They are trained with the
    student, and so is the variance of each channel. The larger map is first average-pooled to the size of the smaller
    one. The losses of several layers are added. Besides maps it takes sequences `[batch, time, channels]` of the same
    length, whose padding is left out, and vectors `[batch, channels]`.

    Args:
        initial_variance: Initial variance of each channel, above 1e-5. Defaults to 5.0.
        teacher_layer_name: Layer of the teacher, or a list of layers. Defaults to `"auto"`.
        student_layer_name: Layer of the student, in the same form. Defaults to `"auto"`.
        preactivation: Whether to take the features before the activation of the layers. Defaults to `False`.
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
    """

    hyper_parameters = ("initial_variance",)
    rank = None
    staged = True

    def __init__(
        self,
        initial_variance: float = 5.0,
        teacher_layer_name: LayerNames = "auto",
        student_layer_name: LayerNames = "auto",
        preactivation: bool = False,
        name: str | None = None,
    ):
        super().__init__(teacher_layer_name, student_layer_name, preactivation, name)
        self.initial_variance = check_number(
            "initial_variance", initial_variance, VariationalAdapter.FLOOR, math.inf, open_low=True
        )

    def make_adapter(self, teacher_shape: Any, student_shape: Any) -> keras.layers.Layer | None:
        """Create a `VariationalAdapter` to the teacher's channels for each layer."""

        def make(teacher: Any, student: keras.Model, name: Any) -> Any:
            return VariationalAdapter(teacher[-1], self.initial_variance, name=name)

        return make_for_each_layer(make, teacher_shape, student_shape, f"{self.name}_adapter")

    def adapt(self, student_outputs: Any, adapter: Any, training: bool = False) -> Any:
        """Return the student's outputs unchanged: they are pooled to the teacher's size before the adapter."""
        return student_outputs

    def prepare(self, teacher_output: Tensor, student_output: Tensor) -> tuple[Any, Any]:
        """Return both outputs, without masks, which convolutions do not accept, and without gradients to padding."""
        return teacher_output, keras.tree.map_structure(unmasked, student_output)

    def per_sample(self, teacher_output: Any, student_output: Any, adapter: Any, training: bool = False) -> Tensor:
        adapters = adapter.layers if isinstance(adapter, Parallel) else [adapter]
        stages = zip(teacher_output, student_output, adapters, strict=True)
        values = [_compare_stage(*stage, training) for stage in stages]
        if not all(same_shape(values[0].shape, each.shape) for each in values):
            received = ", ".join(str(tuple(each.shape)) for each in student_output)
            raise ValueError(expected("layers of one kind, and sequences of one length", received))
        return sum(values)


def _compare_stage(teacher, student, adapter, training):
    teacher, student = cast_pair(teacher, student)
    if len(teacher.shape) == len(student.shape) == 4:
        teacher, student = pool_to_one_size(teacher, student)
    return vid(teacher, adapter(student, training=training), adapter.variance)
