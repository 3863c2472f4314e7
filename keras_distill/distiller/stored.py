"""What losses compare when the teacher is a store: stored layers instead of those of a model."""

import fnmatch
from typing import Any

import keras

from keras_distill._core.messages import expected, unknown_name
from keras_distill.features.layers import is_pattern
from keras_distill.features.pairing import choose_layers
from keras_distill.features.taps import tap
from keras_distill.losses.layers import LayerPair


def validate(loss: Any, teacher: Any, student: keras.Model) -> None:
    """Raise a `ValueError` unless a store and a student hold what a loss compares.

    Args:
        loss: A distillation loss. If it compares layers, their names are set.
        teacher: A stored teacher.
        student: The student.
    """
    if not isinstance(loss, LayerPair):
        loss.validate_model_compatibility(teacher, student)
        return
    asked, name = loss.layers_config(), getattr(loss, "name", type(loss).__name__)
    if "auto" in (asked["teacher_layer_name"], asked["student_layer_name"]):
        fix = f"It has {_listed(teacher)}."
        raise ValueError(expected(f"layers by name for {name!r} on a store of soft targets", "'auto'", fix))
    teachers = _stored_names(teacher, asked["teacher_layer_name"], loss.preactivation)
    students = choose_layers(student, student, *(asked["student_layer_name"],) * 2)[1]
    if isinstance(teachers, list) or isinstance(students, list):
        teachers, students = (each if isinstance(each, list) else [each] for each in (teachers, students))
        if len(teachers) != len(students):
            received = f"{len(teachers)} stored layers and {len(students)} of the student"
            raise ValueError(expected("as many layers of both", received))
    loss.teacher_layer_name, loss.student_layer_name = teachers, students


def _stored_names(teacher, names, preactivation):
    """Return the stored layers that match a name, a pattern or a list of them."""
    if names is None:
        return None
    if not isinstance(names, str):
        return keras.tree.flatten([_stored_names(teacher, name, preactivation) for name in names])
    suffix = tap("layer", preactivation).removeprefix("layer")
    plain = [key.removesuffix(suffix) for key in teacher.features if key.endswith(suffix)]
    if names in plain:
        return names
    found = [name for name in plain if fnmatch.fnmatchcase(name, names)]
    if not found or not is_pattern(names):
        raise ValueError(unknown_name("teacher_layer_name, a layer in the store,", names, plain))
    return found


def _listed(teacher):
    return ", ".join(map(repr, teacher.features)) or "no layers: name some in `kd.targets.write(features=[...])`"
