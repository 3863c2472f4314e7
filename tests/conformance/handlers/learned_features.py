"""Handlers of `vid`, `ab`, `ft`, `reviewkd_hcl` and `ofd`, the methods with adapters."""

import keras
from keras import ops

from keras_distill.features.overhaul import batch_norm_margin
from keras_distill.features.variational import VariationalAdapter
from keras_distill.losses.feature_maps.activation_boundaries import AB
from keras_distill.losses.feature_maps.factor_transfer import FT
from keras_distill.losses.feature_maps.overhaul import OFD, ofd
from keras_distill.losses.feature_maps.review import ReviewKD
from keras_distill.losses.feature_maps.variational import VID
from tests.conformance.cases import Quantities


def _vid(case):
    teacher, variance = case["teacher_feat"], case.number("init_pred_var")
    loss = VID(variance)
    adapter = VariationalAdapter(teacher.shape[-1], variance, dtype=case.dtype)
    adapter.build(case["student_feat"].shape)
    assert adapter.FLOOR == case.number("eps")
    start = ops.convert_to_numpy(adapter.log_scale)[0]

    def value(inputs):
        held = [(each.kernel, inputs[f"kernel_{index}"]) for index, each in enumerate(adapter.convolutions)]
        # Not assigned, so that gradients reach the tensors.
        with keras.StatelessScope(state_mapping=[*held, (adapter.log_scale, inputs["log_scale"])]):
            return loss.compute_loss(teacher, inputs["student_feat"], adapter=adapter)

    return Quantities({"": value}, {"log_scale_init": lambda inputs: start})


def _ab(case):
    teachers = case.stages("teacher_feat")
    assert len(teachers) == case.number("num_stages")
    loss = AB(case.number("margin"))
    weights = [2.0 ** (index - len(teachers) + 1) for index in range(len(teachers))]

    def per_stage(inputs):
        stages = zip(weights, teachers, _students(inputs), strict=True)
        return ops.stack([weight * loss.compute_loss(teacher, student) for weight, teacher, student in stages])

    return Quantities({"": lambda inputs: loss.compute_loss(teachers, _students(inputs))}, {"per_stage": per_stage})


def _ft(case):
    teacher = case["teacher_feat"]
    assert case.number("eps") == 1e-12  # The epsilon of `maps.unit`.
    if case.name.startswith("authors"):
        loss = FT("factor", power=case.number("p"))
    else:
        loss = FT("map", power=case.number("p2"), map_power=case.number("p1"))
    return Quantities({"": lambda inputs: loss.compute_loss(teacher, inputs["student_feat"])})


def _reviewkd_hcl(case):
    teachers = case.stages("teacher_feat")
    assert len(teachers) == case.number("num_stages")
    loss = ReviewKD(case["pool_sizes"].tolist())
    return Quantities({"": lambda inputs: loss.compute_loss(teachers, _students(inputs))})


def _ofd(case):
    teacher, margin = case["teacher_feat"], case["margin"]
    loss = OFD(case.arrays["margin"])
    return Quantities(
        {
            "": lambda inputs: loss.compute_loss(teacher, inputs["student_feat"]),
            "sum": lambda inputs: ops.sum(ofd(teacher, inputs["student_feat"], margin)),
        },
        {"margin": lambda inputs: batch_norm_margin(case["bn_gamma"], case["bn_beta"])},
    )


def _students(inputs):
    return [inputs[f"student_feat_{index}"] for index in range(len(inputs))]


HANDLERS = {"vid": _vid, "ab": _ab, "ft": _ft, "reviewkd_hcl": _reviewkd_hcl, "ofd": _ofd}
