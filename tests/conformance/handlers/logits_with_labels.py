"""Handlers of `dkd`, `nkd`, `wsld`, `dist` and `mlkd`."""

from keras import ops

from keras_distill.losses.logits.correlations import DIST, inter_class, intra_class
from keras_distill.losses.logits.decoupled import DKD, NKD, non_target_class_divergence, target_class_divergence
from keras_distill.losses.logits.multi_level import MLKD, batch_level, class_level, instance_level, mlkd
from keras_distill.losses.logits.two_views import multi_level_two_views
from keras_distill.losses.logits.weighted_soft_labels import EPSILON, WSLD
from tests.conformance.cases import Quantities


def _dkd(case):
    teacher, labels, temperature = case["teacher_logits"], case["labels"], case.number("temperature")
    loss = DKD(temperature, case.number("alpha"), case.number("beta"))

    def part(divergence):
        return lambda inputs: (
            temperature**2 * ops.mean(divergence(teacher, inputs["student_logits"], labels, temperature))
        )

    return Quantities(
        {
            "": lambda inputs: loss.compute_loss(teacher, inputs["student_logits"], labels=labels),
            "tckd": part(target_class_divergence),
            "nckd": part(non_target_class_divergence),
        }
    )


def _nkd(case):
    return _of_labels(case, NKD(case.number("temperature"), case.number("gamma")))


def _wsld(case):
    loss = WSLD(case.number("temperature"), case.number("alpha"))
    return _of_labels(case, loss, {"eps": lambda inputs: EPSILON})


def _of_labels(case, loss, values=None):
    teacher, labels = case["teacher_logits"], case["labels"]
    losses = {"": lambda inputs: loss.compute_loss(teacher, inputs["student_logits"], labels=labels)}
    return Quantities(losses, values or {})


def _dist(case):
    teacher, tau, eps = case["teacher_logits"], case.number("tau"), case.number("eps")
    loss = DIST(tau, case.number("beta"), case.number("gamma"), eps)

    def part(distance):
        return lambda inputs: tau**2 * ops.mean(distance(teacher, inputs["student_logits"], tau, eps))

    return Quantities(
        {
            "": lambda inputs: loss.compute_loss(teacher, inputs["student_logits"]),
            "inter": part(inter_class),
            "intra": part(intra_class),
        }
    )


def _mlkd(case):
    if "student_logits_weak" in case:
        return _two_views(case)
    teacher, temperatures = case["teacher_logits"], tuple(map(float, case["temperatures"]))
    loss = MLKD(temperatures)
    levels = {"instance": instance_level, "batch": batch_level, "class": class_level}

    def part(*weights):
        return lambda inputs: ops.mean(mlkd(teacher, inputs["student_logits"], temperatures, *weights))

    def at(level, temperature):
        return lambda inputs: ops.mean(level(teacher, inputs["student_logits"], temperature))

    return Quantities(
        {
            "": lambda inputs: loss.compute_loss(teacher, inputs["student_logits"]),
            "instance": part(1.0, 0.0, 0.0),
            "batch": part(0.0, 1.0, 0.0),
            "class": part(0.0, 0.0, 1.0),
        },
        {f"{name}_T{each:g}": at(level, each) for name, level in levels.items() for each in temperatures},
    )


def _two_views(case):
    teachers, labels = (case["teacher_logits_weak"], case["teacher_logits_strong"]), case["labels"]
    temperatures = tuple(map(float, case["temperatures"]))
    # The published code takes the weak view at 2 and 6, and the strong one at 3, 5 and at `temperature`.
    strong = (3.0, case.number("temperature"), 5.0)
    weights = {name: case.number(name) for name in ("ce_weight", "kd_weight")}

    def parts(inputs):
        weak, hard = inputs["student_logits_weak"], inputs["student_logits_strong"]
        return multi_level_two_views(teachers[0], weak, teachers[1], hard, labels, temperatures, strong, **weights)

    losses = {name: lambda inputs, name=name: parts(inputs)[name] for name in ("ce", "kd", "cc", "bc")}
    return Quantities({"": lambda inputs: sum(parts(inputs).values()), **losses})


HANDLERS = {"dkd": _dkd, "nkd": _nkd, "wsld": _wsld, "dist": _dist, "mlkd": _mlkd}
