"""Students that each teach the next, smaller one."""

import itertools

import keras

from keras_distill._core.messages import expected
from keras_distill.distiller import validation
from keras_distill.distiller.model import Distiller

_COPY_FIX = "A copy of a model is another model: keras.models.clone_model."


def chain(teacher, students, train, losses="kd", student_loss_weight=0.5, **kwargs):
    """Distil a teacher into a student through assistants.

    A student learns less from a teacher that is far larger than from one of a size in between. So the teacher teaches
    an assistant, the assistant a smaller one, and the last of them the student. Each stage is a `Distiller`; once its
    student is trained, it is the teacher of the next stage, frozen.

    Args:
        teacher: What a `Distiller` takes as its teacher.
        students: List of `keras.Model`s, from the largest assistant to the student.
        train: Function `(distiller, stage)` that compiles and fits a `Distiller`; stages count from 0. What it returns
            is not used.
        losses: What a `Distiller` takes as `distillation_losses`, or a function from a stage to that. Losses given as
            objects are copied for each stage. Defaults to `"kd"`.
        student_loss_weight: Weight from 0.0 to 1.0 of the hard labels, or a function from a stage to it. Defaults to
            0.5.
        **kwargs: Passed to `Distiller`.

    Returns:
        List of the trained students; the last one is the product. Those that have taught are frozen (`trainable` is
        `False`).

    Raises:
        ValueError: If an argument is not what it should be, before anything is trained; or if teacher, student and
            losses of a stage do not fit together, when that stage begins.

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
        train(Distiller(teacher, student, own_losses(losses, stage), student_loss_weight=weight, **kwargs), stage)
        teacher = student
    return students


def own_losses(losses, position):
    """Return the losses of one of several distillers, which share none: a loss may keep what it learns of its models.

    Args:
        losses: What a `Distiller` takes, or a function from a position to that.
        position: Index of the distiller.
    """
    if callable(losses):
        return losses(position)
    losses = losses if isinstance(losses, (list, tuple)) else [losses]
    return [
        type(loss).from_config(loss.get_config()) if isinstance(loss, keras.distillation.DistillationLoss) else loss
        for loss in losses
    ]


def check_students(students, least):
    """Return the students as a list; raise a `ValueError` unless they are as many different Keras models."""
    if not isinstance(students, (list, tuple)) or len(students) < least:
        raise ValueError(expected(f"students to be a list of at least {least}", f"students={students!r}"))
    for student in students:
        if not isinstance(student, keras.Model):
            raise ValueError(expected("each student to be a keras.Model", f"{student!r} of {type(student).__name__}"))
    if len({id(student) for student in students}) < len(students):
        names = ", ".join(student.name for student in students)
        raise ValueError(expected("students that are different models", f"one of them twice: {names}", _COPY_FIX))
    return list(students)


def check_train(train):
    """Raise a `ValueError` unless it can be called."""
    if not callable(train):
        fix = "It compiles and fits the Distiller of a stage."
        raise ValueError(expected("train to be a function (distiller, stage)", f"train={train!r}", fix))


def _check_chain(teacher, students):
    """Raise a `ValueError` now for what would stop a later stage, after hours of training."""
    if any(teacher is student for student in students):
        raise ValueError(expected("a teacher that is none of the students", repr(teacher.name), _COPY_FIX))
    models = [teacher, *students] if isinstance(teacher, keras.Model) else students
    for larger, smaller in itertools.pairwise(models):
        validation.check_models(larger, smaller, compare_outputs=False)
