"""Attention transfer: the positions at which the teacher's feature maps have their energy."""

import math
from typing import Any

from keras import ops

from keras_distill._core.checked import checked
from keras_distill._core.checks import check_choice, check_number
from keras_distill._core.messages import expected
from keras_distill.answers.answer import Tensor
from keras_distill.losses.divergences import absolute, cast_pair
from keras_distill.losses.feature_maps.maps import norm, pool_to_match, unit
from keras_distill.losses.layers import FeatureLoss, LayerNames
from keras_distill.losses.registry import method

FORMS = ("paper", "mean")


@checked(
    teacher="[batch, *, *, *]",
    student="[batch, *, *, *]",
    power=(1.0, math.inf),
    form=FORMS,
)
def at(teacher: Tensor, student: Tensor, power: int = 2, form: str = "paper") -> Tensor:
    """Compute the distance between the attention maps of teacher and student.

    The attention map of a sample is a power of its features, summed over the channels and scaled to unit length, so
    the numbers of channels may differ. The larger map is average-pooled to the size of the smaller one.

    Args:
        teacher: Float array `[batch, height, width, channels]`. Constant: no gradient reaches it.
        student: Float array `[batch, height, width, channels]` of any size.
        power: Whole number >= 1, the exponent of the features. Defaults to 2.
        form: `"paper"` for the Euclidean distance of the maps of `|x|^power`, or `"mean"` for the mean squared
            difference of the maps of `x^power`, as in the authors' code. Defaults to `"paper"`.

    Returns:
        Float array `[batch]`. In the form `"paper"` it is from 0 to 2, and its gradient at 0 is 0.

    Raises:
        ValueError: If a height or width is unknown.

    Example:

    >>> import numpy as np
    >>> left, right = np.zeros((1, 1, 2, 3)), np.zeros((1, 1, 2, 3))
    >>> left[:, :, 0], right[:, :, 1] = 1.0, 5.0
    >>> round(float(at(left, right)[0]), 4), float(at(left, right, form="mean")[0])
    (1.4142, 1.0)

    Reference:
        Zagoruyko, Komodakis, "Paying More Attention to Attention", 2016, arXiv:1612.03928.
    """
    pair = pool_to_match(*cast_pair(teacher, student))
    if form == "mean":
        teacher_map, student_map = (unit(ops.mean(math.prod([x] * power), axis=-1), axis=(1, 2)) for x in pair)
        return ops.mean(ops.square(student_map - teacher_map), axis=(1, 2))
    teacher_map, student_map = (unit(ops.sum(math.prod([absolute(x)] * power), axis=-1), axis=(1, 2)) for x in pair)
    return norm(student_map - teacher_map, axis=(1, 2))


@method("at", paper="Zagoruyko, Komodakis 2016", arxiv="1612.03928", peers=("RepDistiller", "torchdistill"))
class AT(FeatureLoss):
    """Teach the student to look where the teacher looks: attention transfer, see `at`.

    Args:
        power: Whole number >= 1, the exponent of the features. Defaults to 2.
        form: `"paper"` for the Euclidean distance of the attention maps, or `"mean"` for their mean squared difference,
            as in the authors' code. Defaults to `"paper"`.
        teacher_layer_name: Layer of the teacher, or a list of layers. Defaults to `"auto"`.
        student_layer_name: Layer of the student, in the same form. Defaults to `"auto"`.
        preactivation: Whether to take the features before the activation of the layers. Defaults to `False`.
        name: Name in the logs. Defaults to `"at"`.

    Raises:
        ValueError: If the power is not a whole number >= 1, or the form is unknown.

    Example:

    >>> import numpy as np
    >>> ramp = np.arange(16.0).reshape(1, 4, 4, 1)
    >>> float(AT().compute_loss(ramp, 4.0 * ramp)), round(float(AT().compute_loss(ramp, ramp[:, ::-1])), 4)
    (0.0, 1.2849)
    """

    hyper_parameters = ("power", "form")

    def __init__(
        self,
        power: int = 2,
        form: str = "paper",
        teacher_layer_name: LayerNames = "auto",
        student_layer_name: LayerNames = "auto",
        preactivation: bool = False,
        name: str | None = None,
    ):
        super().__init__(teacher_layer_name, student_layer_name, preactivation, name=name)
        if check_number("power", power, 1, math.inf) % 1:
            raise ValueError(expected("power to be a whole number", f"power={power!r}"))
        self.power, self.form = int(power), check_choice("form", form, FORMS)

    def per_sample(self, teacher_output: Any, student_output: Any) -> Tensor:
        return at(teacher_output, student_output, self.power, self.form)
