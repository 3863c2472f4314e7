"""Generations of one architecture, each taught by the one before."""

from collections.abc import Callable
from typing import Any

import keras

from keras_distill._core.checked import checked
from keras_distill._core.checks import check_whole_number
from keras_distill._core.deprecation import renamed_arguments
from keras_distill._core.messages import expected
from keras_distill.stages.chain import Train, chain, check_train


@renamed_arguments(losses="distillation_losses")
@checked(generations=Any, student_loss_weight=Any)
def born_again(
    student_factory: Callable[[], keras.Model],
    generations: int,
    train: Train,
    teacher: Any = None,
    distillation_losses: Any = "kd",
    student_loss_weight: float | Callable[[int], float] = 0.5,
    **kwargs: Any,
) -> list[keras.Model]:
    """Train generations of one architecture, each taught by the one before.

    A student as large as its teacher often surpasses it. The first generation is taught by `teacher`; without one, it
    learns from the hard labels alone. Each later generation starts from new initial weights and is taught by the one
    before. `keras_distill.teachers.Ensemble(models)` of the returned models is the ensemble of the paper.

    Args:
        student_factory: Function of no arguments that returns a new `keras.Model` at each call, always of the same
            architecture.
        generations: Number of generations to train, at least 1.
        train: Function `(distiller, generation)` that compiles and fits a `Distiller`; generations count from 0. It
            should fit on labels. Without a `teacher`, `train` receives a `Distiller` for generation 0, too: its
            `student_loss_weight` is 1.0, and its teacher is an untrained model without influence.
        teacher: Teacher of the first generation, as `Distiller` takes it. Defaults to `None`, the hard labels alone.
        distillation_losses: As in `chain`, by generation. Defaults to `"kd"`.
        student_loss_weight: As in `chain`, by generation. Defaults to 0.5.
        **kwargs: Passed to `Distiller`.

    Returns:
        List of all trained generations, oldest first, without `teacher`. All but the last are frozen.

    Raises:
        ValueError: If an argument is invalid, before anything is trained.

    Example:

    >>> import numpy as np
    >>> import keras_distill as kd
    >>> from keras_distill import stages
    >>> def student():
    ...     return keras.Sequential([keras.Input((4,)), keras.layers.Dense(8), keras.layers.Dense(3)])
    >>> def train(distiller, generation):
    ...     distiller.compile("adam", "sparse_categorical_crossentropy", run_eagerly=True)
    ...     distiller.fit(np.ones((8, 4)), np.arange(8) % 3, verbose=0)
    >>> models = stages.born_again(student, generations=2, train=train)
    >>> len(models), kd.teachers.Ensemble(models)(np.ones((2, 4))).shape
    (2, TensorShape([2, 3]))

    Reference:
        Furlanello, Lipton, Tschannen, Itti, Anandkumar, "Born-Again Neural Networks", 2018, arXiv:1805.04770.
    """
    generations = check_whole_number("generations", generations)
    if not callable(student_factory) or isinstance(student_factory, keras.Model):
        received = f"student_factory={student_factory!r}"
        raise ValueError(expected("student_factory to be a function that returns a new model", received))
    check_train(train)
    untaught = teacher is None

    def weigh_labels(generation: int) -> float:
        if untaught and generation == 0:
            return 1.0
        return student_loss_weight(generation) if callable(student_loss_weight) else student_loss_weight

    students = [student_factory() for _ in range(generations)]
    teacher = student_factory() if untaught else teacher
    return chain(teacher, students, train, distillation_losses, weigh_labels, **kwargs)
