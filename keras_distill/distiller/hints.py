"""Warnings about what a `Distiller` leaves out or freezes, which the user may not expect."""

import warnings
from typing import Any

import keras


def warn_of_shared_layers(teacher: keras.Model, student: keras.Model) -> None:
    """Warn of trainable layers that belong to teacher and student: a teacher never changes, so neither do they.

    Args:
        teacher: The teacher, before it is frozen.
        student: The student.
    """
    of_teacher = {id(variable) for variable in teacher.variables}
    shared = [
        layer.name
        for layer in student._flatten_layers(include_self=False, recursive=True)
        if any(id(variable) in of_teacher for variable in layer._trainable_variables if variable.trainable)
    ]
    if shared:
        names = ", ".join(map(repr, shared[:5])) + (", ..." if len(shared) > 5 else "")
        fix = "To train them, give the student copies: keras.models.clone_model(student), then set_weights."
        warnings.warn(
            f"Teacher and student share the layers {names}: they are frozen with the teacher. {fix}", stacklevel=3
        )


def warn_of_own_steps(student: Any) -> None:
    """Warn of a student whose class has a `train_step` or `compute_loss` of its own: the `Distiller` has others.

    Args:
        student: The student.
    """
    for name in ("train_step", "compute_loss"):
        if getattr(type(student), name) is not getattr(keras.Model, name):
            fix = f"To use it, write it as `{name}` of a subclass of Distiller."
            warnings.warn(
                f"The student's own `{name}` does not run: a Distiller trains by its own. {fix}", stacklevel=3
            )
