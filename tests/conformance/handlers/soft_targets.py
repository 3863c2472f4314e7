"""Handlers of `kd` and `soft_target_ce`."""

import keras

import keras_distill as kd
from tests.conformance.cases import Quantities


def _kd(case):
    teacher, temperature = case["teacher_logits"], case.number("temperature")
    loss = kd.losses.LogitsDistillation(temperature)
    losses = {"": lambda inputs: loss.compute_loss(teacher, inputs["student_logits"])}
    values = {}
    if "logit_matching_limit" in case:
        limit = kd.losses.LogitMatching()
        losses["logit_matching_limit"] = lambda inputs: limit.compute_loss(teacher, inputs["student_logits"])
    return Quantities(losses, values)


def _soft_target_ce(case):
    teacher, temperature = case["teacher_logits"], case.number("temperature")
    plain, scaled = (
        kd.losses.LogitsDistillation(temperature, "categorical_crossentropy", temperature_squared=squared)
        for squared in (False, True)
    )
    return Quantities(
        {
            "": lambda inputs: plain.compute_loss(teacher, inputs["student_logits"]),
            "t2": lambda inputs: scaled.compute_loss(teacher, inputs["student_logits"]),
        },
        {"target_probs": lambda inputs: keras.ops.softmax(teacher / temperature)},
    )


HANDLERS = {"kd": _kd, "soft_target_ce": _soft_target_ce}
