"""Attention transfer: where in its feature map the teacher has its energy."""

import math

import keras
from keras import ops

from keras_distill._core.checks import check_number
from keras_distill._core.messages import expected, unknown_name
from keras_distill.losses.feature_maps.maps import cast_pair, norm, pool_to_match, unit
from keras_distill.losses.layers import FeatureLoss
from keras_distill.losses.registry import method

FORMS = ("paper", "mean")


def at(teacher, student, power=2, form="paper"):
    """Compute the distance between the attention maps of teacher and student.

    The attention map of a sample is a power of its features, summed over the channels and scaled to unit length: the
    two may have any number of channels. The larger map is average-pooled to the size of the smaller one.

    Args:
        teacher: Float array `[batch, height, width, channels]`. Constant: no gradient reaches it.
        student: Float array likewise, of any size.
        power: Whole number >= 1 that the features are raised to. Defaults to 2.
        form: `"paper"` for the Euclidean distance of the maps of `|x|^power`, `"mean"` for the mean squared difference
            of the maps of `x^power`, as the authors' code has it. Defaults to `"paper"`.

    Returns:
        Float array `[batch]`, from 0 to 2 (`"paper"`; the gradient at 0 is 0).

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
    teacher_map, student_map = (unit(ops.sum(math.prod([ops.abs(x)] * power), axis=-1), axis=(1, 2)) for x in pair)
    return norm(student_map - teacher_map, axis=(1, 2))


@method("at", paper="Zagoruyko, Komodakis 2016", arxiv="1612.03928", peers=("RepDistiller", "torchdistill"))
@keras.saving.register_keras_serializable(package="keras_distill")
class AT(FeatureLoss):
    """Teach the student to look where the teacher looks: attention transfer.

    Compares the energy of the feature maps position by position, whatever their numbers of channels: no adapter is
    needed. See `at` for the formula.

    Args:
        power: Whole number >= 1 that the features are raised to. Defaults to 2.
        form: `"paper"` for the Euclidean distance of the attention maps, `"mean"` for their mean squared difference
            (the authors' code). Defaults to `"paper"`.
        teacher_layer_name: Layer of the teacher, a list of them, or `"auto"`. Defaults to `"auto"`.
        student_layer_name: Layer of the student, likewise. Defaults to `"auto"`.
        preactivation: Whether to take the features before the activation. Defaults to `False`.
        name: Name in the logs. Defaults to `"at"`.

    Raises:
        ValueError: If the power is no whole number >= 1, or the form is not known.

    Example:

    >>> import numpy as np
    >>> ramp = np.arange(16.0).reshape(1, 4, 4, 1)
    >>> float(AT().compute_loss(ramp, 4.0 * ramp)), round(float(AT().compute_loss(ramp, ramp[:, ::-1])), 4)
    (0.0, 1.2849)

    Reference:
        Zagoruyko, Komodakis, "Paying More Attention to Attention", 2016, arXiv:1612.03928.
    """

    method = "at"

    def __init__(
        self,
        power=2,
        form="paper",
        teacher_layer_name="auto",
        student_layer_name="auto",
        preactivation=False,
        name=None,
    ):
        super().__init__(teacher_layer_name, student_layer_name, preactivation, name=name)
        if check_number("power", power, 1, math.inf) % 1:
            raise ValueError(expected("power to be a whole number", f"power={power!r}"))
        if form not in FORMS:
            raise ValueError(unknown_name("form", form, FORMS))
        self.power, self.form = int(power), form

    def per_sample(self, teacher_output, student_output):
        return at(teacher_output, student_output, self.power, self.form)

    def get_config(self):
        return {**super().get_config(), "power": self.power, "form": self.form}
