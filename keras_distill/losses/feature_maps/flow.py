"""Flow of the solution procedure: how the features of one layer turn into those of the next."""

import itertools
from collections.abc import Sequence
from typing import Any

import keras
from keras import ops

from keras_distill._core.checked import checked
from keras_distill._core.checks import check_choice
from keras_distill._core.messages import expected
from keras_distill.answers.answer import Tensor
from keras_distill.features.adapters import match_each_width
from keras_distill.losses.divergences import cast_pair
from keras_distill.losses.feature_maps.maps import average_pool, flatten_maps, max_pool, norm, smaller_size
from keras_distill.losses.feature_maps.stages import check_same_channels
from keras_distill.losses.layers import FeatureLoss, LayerNames
from keras_distill.losses.registry import method

FORMS = ("average", "max")


@checked(form=FORMS)
def fsp(teacher: Sequence[Tensor], student: Sequence[Tensor], form: str = "average") -> Tensor:
    """Compare the flow from layer to layer of the teacher with that of the student.

    The flow between two layers of a model is a matrix. Its entries are the inner products of the maps of two channels,
    one of each layer, divided by the number of positions. The larger map is pooled to the size of the smaller one.

    Args:
        teacher: List of two or more float arrays `[batch, height, width, channels]`, in the order of the layers.
            Constant: no gradient reaches them.
        student: List of as many float arrays with the same channels, of any height and width.
        form: `"average"` for the mean squared difference of the matrices of average-pooled maps; `"max"` for the sum of
            the Euclidean norms of the columns of their difference (one for each channel of the later layer), for
            max-pooled maps. Defaults to `"average"`.

    Returns:
        Float array `[batch]`, summed over consecutive layers.

    Raises:
        ValueError: If there are fewer than two layers, or the numbers of layers or channels differ.

    Example:

    >>> import numpy as np
    >>> teacher, student = [np.ones((1, 2, 2, 1)), 3.0 * np.ones((1, 1, 1, 1))], [np.ones((1, 2, 2, 1))] * 2
    >>> float(fsp(teacher, student)[0])  # (3 - 1)²
    4.0

    Reference:
        Yim, Joo, Bae, Kim, "A Gift from Knowledge Distillation: Fast Optimization, Network Minimization and Transfer
        Learning", 2017.
    """
    check_stages(teacher, student)
    pairs = [cast_pair(*pair) for pair in zip(teacher, student, strict=True)]
    teacher, student = zip(*pairs, strict=True)
    pool = max_pool if form == "max" else average_pool
    flows = zip(_flows(teacher, pool), _flows(student, pool), strict=True)
    return sum(_difference(student_flow - teacher_flow, form) for teacher_flow, student_flow in flows)


def check_count(teacher: Sequence[Tensor], student: Sequence[Tensor]) -> None:
    """Raise a `ValueError` unless two lists have the same length, at least two."""
    if len(teacher) < 2 or len(teacher) != len(student):
        received = f"{len(teacher)} of the teacher, {len(student)} of the student"
        fix = "Pass two lists of names, `teacher_layer_name=[...]` and `student_layer_name=[...]`."
        raise ValueError(expected("two layers or more, and as many of both models", received, fix))


def check_stages(teacher: Sequence[Tensor], student: Sequence[Tensor]) -> None:
    """Raise a `ValueError` unless both models have the same number of layers, at least two, and the same channels."""
    check_count(teacher, student)
    for one, other in zip(teacher, student, strict=True):
        check_same_channels(one, other)


def _flows(stages, pool):
    """Return the flow `[batch, channels, channels of the next layer]` between each pair of consecutive layers."""
    return [_flow(bottom, top, pool) for bottom, top in itertools.pairwise(stages)]


def _flow(bottom, top, pool):
    height, width = size = smaller_size(bottom, top)
    bottom, top = (flatten_maps(pool(x, size)) for x in (bottom, top))
    return ops.matmul(ops.transpose(bottom, (0, 2, 1)), top) / (height * width)


def _difference(difference, form):
    if form == "max":
        return ops.sum(norm(difference, axis=1), axis=-1)
    return ops.mean(ops.square(difference), axis=(1, 2))


@method("fsp", paper="Yim, Joo, Bae, Kim 2017", peers=("RepDistiller", "torchdistill"))
class FSP(FeatureLoss):
    """Teach the student how the teacher's features change from layer to layer: see `fsp`.

    It compares two or more layers at once. If the widths of student and teacher differ, the `Distiller` adds a 1x1
    convolution after the student's features and trains it.

    Args:
        form: `"average"` for mean squared differences and average pooling, or `"max"` for norms and max pooling.
            Defaults to `"average"`.
        teacher_layer_name: List of two or more layers of the teacher, or `"auto"`. Defaults to `"auto"`.
        student_layer_name: List of as many layers of the student, or `"auto"`. Defaults to `"auto"`.
        preactivation: Whether to take the features before the activation of the layers. Defaults to `False`.
        name: Name in the logs. Defaults to `"fsp"`.

    Raises:
        ValueError: If the form is unknown, or a `Distiller` finds fewer than two layers.

    Example:

    >>> import numpy as np
    >>> maps = [np.ones((2, 4, 4, 3), "float32"), np.ones((2, 2, 2, 5), "float32")]
    >>> float(FSP().compute_loss(maps, maps)), float(FSP().compute_loss(maps, [maps[0], 0.0 * maps[1]]))
    (0.0, 1.0)
    """

    hyper_parameters = ("form",)
    staged = True

    def __init__(
        self,
        form: str = "average",
        teacher_layer_name: LayerNames = "auto",
        student_layer_name: LayerNames = "auto",
        preactivation: bool = False,
        name: str | None = None,
    ):
        super().__init__(teacher_layer_name, student_layer_name, preactivation, name=name)
        self.form = check_choice("form", form, FORMS)

    def validate_model_compatibility(self, teacher: keras.Model, student: keras.Model) -> None:
        """Find the layers in both models.

        Raises:
            ValueError: If a model does not have them, or there are fewer than two.
        """
        super().validate_model_compatibility(teacher, student)
        names = (self.teacher_layer_name, self.student_layer_name)
        check_count(*(each if isinstance(each, (list, tuple)) else [each] for each in names))

    def validate_outputs(self, teacher_outputs: Any, student_outputs: Any) -> None:
        """Raise a `ValueError` unless both models have the same number of feature maps, at least two."""
        super().validate_outputs(teacher_outputs, student_outputs)
        check_stages(keras.tree.flatten(teacher_outputs), keras.tree.flatten(student_outputs))

    def make_adapter(self, teacher_shape: Any, student_shape: Any) -> keras.layers.Layer | None:
        """Create 1x1 convolutions for the layers with different channels, or return `None` if there is none."""
        return match_each_width(teacher_shape, student_shape, f"{self.name}_adapter")

    def per_sample(self, teacher_output: Any, student_output: Any) -> Tensor:
        return fsp(teacher_output, student_output, self.form)
