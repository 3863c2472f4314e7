"""Divergences of logits, transformed logits, and a learned temperature."""

import keras
import numpy as np
from keras import ops

from keras_distill.losses import LogitsDistillation
from keras_distill.losses.logits import directed, distances, learned_temperature, skewed, standardized
from keras_distill.losses.logits.transformed_teacher import TTM, WTTM
from tests.conformance.cases import Quantities


def _counted(case):
    """Return which positions count: those whose label is not -100, or all if there are no labels."""
    shape = case["student_logits"].shape[:-1]
    return case["labels"] != -100 if "labels" in case else np.ones(shape, bool)


def _divergence(make, *hyper_parameters):
    """Return the handler of a loss with the hyper-parameters of each case, averaged over the positions that count."""

    def handler(case):
        numbers = {name: case.number(name) for name in hyper_parameters}
        return Quantities({"": _mean(case, make(**numbers))})

    return handler


def _mean(case, loss):
    teacher, mask = case["teacher_logits"], _counted(case)

    def mean(inputs):
        student = ops.copy(inputs["student_logits"])
        if not mask.all():
            student._keras_mask = ops.convert_to_tensor(mask)
        return loss.compute_loss(teacher, student)

    return mean


def _generalized_jsd(case):
    teacher, mask = case["teacher_logits"], _counted(case)
    temperature, beta = case.number("temperature"), case.number("beta")
    loss = distances.GeneralizedJSD(temperature, beta, per_sequence="labels" not in case)

    def total(inputs):
        rows = distances.generalized_jsd(teacher, inputs["student_logits"], temperature, beta)
        return ops.sum(rows[mask])

    entries = mask.sum() * teacher.shape[-1]
    return Quantities({"": _mean(case, loss), "sum": total, "mean": lambda inputs: total(inputs) / entries})


def _standardized(make):
    """Return the handler of a loss on standardized logits."""

    def handler(case):
        loss = standardized.LogitStandardization(make(case), epsilon=case.number("eps"))
        teacher, given = case["teacher_logits"], {"labels": case["labels"]} if "labels" in case else {}
        return Quantities({"": lambda inputs: loss.compute_loss(teacher, inputs["student_logits"], **given)})

    return handler


def _dkd(case):
    from keras_distill.losses.logits.decoupled import DKD

    return DKD(case.number("temperature"), case.number("alpha"), case.number("beta"))


def _ctkd(case):
    numbers = {name: case.number(name) for name in ("t_start", "t_end")}
    layer = learned_temperature.GlobalTemperature(**numbers, dtype=case.dtype)
    layer.build()
    loss, teacher = learned_temperature.CTKD(**numbers), case["teacher_logits"]

    def at(inputs, factor, compute):
        stored = [
            (layer.global_T, ops.reshape(inputs["global_T"], ())),
            (layer.gradient_scale, ops.cast(factor, case.dtype)),
        ]
        with keras.StatelessScope(state_mapping=stored):
            return compute(inputs)

    def value(inputs):
        return loss.compute_loss(teacher, inputs["student_logits"], adapter=layer)

    factor = case.number("grl_lambda")
    return Quantities(
        {"": lambda inputs: at(inputs, factor, value), "nogrl": lambda inputs: at(inputs, 1.0, value)},
        {"temperature": lambda inputs: at(inputs, factor, lambda _: ops.reshape(layer.temperature, (1,)))},
    )


HANDLERS = {
    "generalized_jsd": _generalized_jsd,
    "forward_kl": _divergence(lambda: directed.ForwardKL(subtract_entropy=False)),
    "reverse_kl": _divergence(directed.ReverseKL),
    "symmetric_kl": _divergence(lambda lam: directed.SymmetricKL(lam=lam, subtract_entropy=False), "lam"),
    "js_distance": _divergence(distances.JSDistance, "lam"),
    "tv_distance": _divergence(distances.TVDistance),
    "skew_forward_kl": _divergence(lambda lam: skewed.SkewForwardKL(lam=lam, subtract_entropy=False), "lam"),
    "skew_reverse_kl": _divergence(skewed.SkewReverseKL, "lam"),
    "ttm": _divergence(TTM, "temperature"),
    "wttm": _divergence(WTTM, "temperature"),
    "logit_std_kd": _standardized(lambda case: LogitsDistillation(case.number("temperature"))),
    "logit_std_dkd": _standardized(_dkd),
    "ctkd": _ctkd,
}
