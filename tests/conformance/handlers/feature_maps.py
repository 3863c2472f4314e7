"""Handlers of the losses that compare feature maps directly or after a convolution."""

import functools

import keras
from keras import ops

from keras_distill.features.adapters import ConvRegressor
from keras_distill.losses.feature_maps.attention import AT
from keras_distill.losses.feature_maps.flow import FSP, fsp
from keras_distill.losses.feature_maps.hints import FeatureDistillation
from keras_distill.losses.feature_maps.neuron_selectivity import NST
from keras_distill.losses.feature_maps.similarity import ICKD, SP
from tests.conformance.cases import Quantities


def _compare(loss, case):
    """Return the loss as a function of the inputs: of the student's one feature map."""
    teacher = case["teacher_feat"]
    return lambda inputs: loss.compute_loss(teacher, inputs["student_feat"])


def _at(case):
    case.number("eps")
    form = "paper" if case.name.startswith("paper") else "mean"
    return Quantities({"": _compare(AT(power=case.number("p"), form=form), case)})


def _plain(loss, case):
    case.number("eps")
    return Quantities({"": _compare(loss(), case)})


def _ickd(case):
    case.number("eps")
    return Quantities({"": _compare(ICKD(), case), "cifar": _compare(ICKD(scale="cifar"), case)})


def _fsp(case):
    assert case.number("num_stages") == len(case.stages("student_feat"))
    teachers = case.stages("teacher_feat")
    loss = FSP(form="max" if case.name.startswith("maxpool") else "average")

    def students(inputs):
        return [inputs[f"student_feat_{index}"] for index in range(len(teachers))]

    def per_pair(inputs):
        maps = students(inputs)
        starts = range(len(teachers) - 1)
        return ops.stack([ops.mean(fsp(teachers[i : i + 2], maps[i : i + 2], loss.form)) for i in starts])

    values = {"per_pair": per_pair} if "per_pair" in case else {}
    return Quantities({"": lambda inputs: loss.compute_loss(teachers, students(inputs))}, values)


def _fitnet(case):
    loss, teacher = FeatureDistillation("mse"), case["teacher_feat"]
    if "kernel" not in case:
        return Quantities({"": _compare(loss, case)})
    shapes = (teacher.shape, case["student_feat"].shape)
    layer = _regressor(case, *shapes)

    def adapted(inputs):
        arrays = [inputs[name] for name in ("kernel", "bias", "bn_gamma", "bn_beta")]
        if layer.stride == 0.5:
            arrays[0] = ops.transpose(
                arrays[0], (0, 1, 3, 2)
            )  # A transposed convolution has the last two axes swapped.
        with keras.StatelessScope(state_mapping=list(zip(layer.trainable_variables, arrays, strict=True))):
            return layer(inputs["student_feat"], training=True)

    return Quantities({"": lambda inputs: loss.compute_loss(teacher, adapted(inputs))}, {"adapted": adapted})


def _regressor(case, teacher_shape, student_shape):
    """Build the regressor of the loss in the precision of the case."""
    loss = FeatureDistillation(adapter="regressor", preactivation=not case.number("use_relu"))
    config = loss.make_adapter(teacher_shape, student_shape).get_config()
    layer = ConvRegressor.from_config({**config, "dtype": case.dtype})
    assert case.number("stride") in (layer.stride, 1 / layer.stride)
    assert "padding" not in case or case.number("padding") == 1
    assert case.number("bn_eps") == layer.norm.epsilon
    layer.build(student_shape)
    return layer


HANDLERS = {
    "at": _at,
    "sp": functools.partial(_plain, SP),
    "nst": functools.partial(_plain, NST),
    "ickd": _ickd,
    "fsp": _fsp,
    "fitnet": _fitnet,
}
