"""Handlers of `rkd`, `pkt`, `cc` and `crd`."""

import keras

from keras_distill.features.contrastive_memory import ContrastiveMemory
from keras_distill.losses.contrastive import CRD
from keras_distill.losses.embeddings.cc import CC
from keras_distill.losses.embeddings.pkt import PKT
from keras_distill.losses.embeddings.rkd import RKD
from tests.conformance.cases import Quantities


def _rkd(case):
    teacher = case["teacher_embed"]
    weights = case.number("distance_weight"), case.number("angle_weight")
    assert case.number("eps") == 1e-12
    parts = {"": RKD(*weights), "distance": RKD(1.0, 0.0), "angle": RKD(0.0, 1.0)}
    return Quantities({part: _of_embeddings(loss, teacher) for part, loss in parts.items() if _stored(part, case)})


def _pkt(case):
    return Quantities({"": _of_embeddings(PKT(case.number("eps")), case["teacher_embed"])})


def _cc(case):
    form = case.name.split("_")[0]
    options = {"gamma": case.number("gamma"), "max_order": case.number("max_p")} if "gamma" in case else {}
    return Quantities({"": _of_embeddings(CC(form, **options), case["teacher_embed"])})


def _crd(case):
    """Every computation starts from the stored variables and makes one step."""
    layer, stored = _memory(case)
    temperature, momentum = case.number("nce_t"), case.number("momentum")
    loss = CRD(case.number("n_data"), layer.width, temperature, momentum)
    indices = {key: case[key] for key in ("index", "contrast_index")}
    assert case.number("nce_k") == indices["contrast_index"].shape[1] - 1 and case.number("eps") == 1e-7

    def step(inputs):
        mapping = [(variable, keras.ops.convert_to_tensor(make(inputs))) for variable, make in stored]
        with keras.StatelessScope(state_mapping=mapping) as scope:
            value = loss.compute_loss(
                case["teacher_embed"], inputs["student_embed"], adapter=layer, training=True, **indices
            )
        return value, scope

    after = {
        "memory_student_after": layer.memory_student,
        "memory_teacher_after": layer.memory_teacher,
        "z_student": layer.z_student,
        "z_teacher": layer.z_teacher,
    }
    values = {
        key: lambda inputs, variable=variable: step(inputs)[1].get_current_value(variable)
        for key, variable in after.items()
    }
    return Quantities({"": lambda inputs: step(inputs)[0]}, values)


def _memory(case):
    """Return the layer of a case, and for each variable the function that returns its stored value."""
    teacher, student, bank = (case[key].shape for key in ("teacher_embed", "student_embed", "memory_student"))
    layer = ContrastiveMemory(*bank, case.number("nce_t"), case.number("momentum"), dtype=case.dtype)
    layer.build(teacher_shape=teacher, student_shape=student)
    stored = [
        (layer.embed_student.kernel, lambda inputs: keras.ops.transpose(inputs["embed_s_weight"])),
        (layer.embed_student.bias, lambda inputs: inputs["embed_s_bias"]),
        (layer.embed_teacher.kernel, lambda inputs: keras.ops.transpose(inputs["embed_t_weight"])),
        (layer.embed_teacher.bias, lambda inputs: inputs["embed_t_bias"]),
        (layer.memory_student, lambda inputs: case["memory_student"]),
        (layer.memory_teacher, lambda inputs: case["memory_teacher"]),
        (layer.z_student, lambda inputs: case["z_student_init"]),
        (layer.z_teacher, lambda inputs: case["z_teacher_init"]),
    ]
    return layer, stored


def _of_embeddings(loss, teacher):
    return lambda inputs: loss.compute_loss(teacher, inputs["student_embed"])


def _stored(part, case):
    return not part or f"loss_{part}" in case


HANDLERS = {"rkd": _rkd, "pkt": _pkt, "cc": _cc, "crd": _crd}
