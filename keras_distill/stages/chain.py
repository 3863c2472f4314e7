"""A chain of students, each of which teaches the next, smaller one."""

import itertools
from collections.abc import Callable, Sequence
from typing import Any

import keras

from keras_distill._core.checked import checked
from keras_distill._core.checks import check_model
from keras_distill._core.deprecation import renamed_arguments
from keras_distill._core.messages import expected
from keras_distill.distiller import validation
from keras_distill.distiller.model import Distiller

_LOSS: Any = keras.distillation.DistillationLoss
_COPY_FIX = "Copy a model with keras.models.clone_model."

Train = Callable[[Distiller, int], Any]
"""Function `(distiller, stage)` that compiles and fits the `Distiller` of a stage."""


@renamed_arguments(losses="distillation_losses")
@checked(students=Any, student_loss_weight=Any)
def chain(
    teacher: Any,
    students: Sequence[keras.Model],
    train: Train,
    distillation_losses: Any = "kd",
    student_loss_weight: float | Callable[[int], float] = 0.5,
    **kwargs: Any,
) -> list[keras.Model]:
    """Distil a teacher into a student through assistants.

    A student learns less from a much larger teacher than from one of intermediate size. So the teacher teaches an
    assistant, the assistant teaches a smaller one, and the last assistant teaches the student. Each stage is a
    `Distiller`; its trained student is frozen and becomes the teacher of the next stage.

    Args:
        teacher: A teacher, as `Distiller` takes it.
        students: List of `keras.Model`s, from the largest assistant to the student.
        train: Function `(distiller, stage)` that compiles and fits a `Distiller`; stages count from 0. Its return
            value is ignored.
        distillation_losses: As in `Distiller`, or a function from a stage to that. Loss objects are copied for each
            stage. Defaults to `"kd"`.
        student_loss_weight: Weight of the hard labels, from 0.0 to 1.0, or a function from a stage to it. Defaults to
            0.5.
        **kwargs: Passed to `Distiller`.

    Returns:
        List of the trained students; the last one is the product. All others are frozen (`trainable` is `False`).

    Raises:
        ValueError: If an argument is invalid, before anything is trained; or if teacher, student and losses of a stage
            do not fit together, when that stage begins.

    Example:

    >>> import numpy as np
    >>> import keras_distill as kd
    >>> from keras_distill import stages
    >>> def model(width):
    ...     return keras.Sequential([keras.Input((4,)), keras.layers.Dense(width), keras.layers.Dense(3)])
    >>> def train(distiller, stage):
    ...     distiller.compile("adam", "sparse_categorical_crossentropy", run_eagerly=True)
    ...     distiller.fit(np.ones((8, 4)), np.arange(8) % 3, verbose=0)
    >>> assistant, student = stages.chain(model(32), [model(16), model(4)], train)
    >>> assistant.trainable, student.trainable
    (False, True)

    Reference:
        Mirzadeh, Farajtabar, Li, Levine, Matsukawa, Ghasemzadeh, "Improved Knowledge Distillation via Teacher
        Assistant", 2019, arXiv:1902.03393.
    """
    students = check_students(students, least=1)
    check_train(train)
    _check_chain(teacher, students)
    for stage, student in enumerate(students):
        weight = student_loss_weight(stage) if callable(student_loss_weight) else student_loss_weight
        losses = copy_losses(distillation_losses, stage)
        train(Distiller(teacher, student, losses, student_loss_weight=weight, **kwargs), stage)
        teacher = student
    return students


def copy_losses(losses: Any, position: int) -> Any:
    """Return the losses of one of several distillers, with loss objects copied.

    Distillers cannot share a loss object, since a loss may have state that belongs to its models.

    Args:
        losses: The losses, as `Distiller` takes them, or a function from a position to them.
        position: Index of the distiller.
    """
    if callable(losses):
        return losses(position)
    given: list[Any] = list(losses) if isinstance(losses, (list, tuple)) else [losses]
    return [type(loss).from_config(loss.get_config()) if isinstance(loss, _LOSS) else loss for loss in given]


def check_students(students: Any, least: int) -> list[keras.Model]:
    """Return a list of at least `least` different Keras models; raise a `ValueError` for anything else."""
    if not isinstance(students, (list, tuple)) or len(students) < least:
        raise ValueError(expected(f"students to be a list of at least {least}", f"students={students!r}"))
    for student in students:
        check_model("each student", student)
    if len({id(student) for student in students}) < len(students):
        names = ", ".join(student.name for student in students)
        raise ValueError(expected("students that are different models", f"one of them twice: {names}", _COPY_FIX))
    return list(students)


def check_train(train: Any) -> None:
    """Raise a `ValueError` unless `train` is callable."""
    if not callable(train):
        fix = "It compiles and fits the Distiller of a stage."
        raise ValueError(expected("train to be a function (distiller, stage)", f"train={train!r}", fix))


def _check_chain(teacher: Any, students: list[keras.Model]) -> None:
    """Raise a `ValueError` before the training for an error that would stop a later stage."""
    if any(teacher is student for student in students):
        raise ValueError(expected("a teacher that is not among the students", repr(teacher.name), _COPY_FIX))
    models = [teacher, *students] if isinstance(teacher, keras.Model) else students
    for larger, smaller in itertools.pairwise(models):
        validation.check_models(larger, smaller, compare_outputs=False)
