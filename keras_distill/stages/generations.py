"""Students that are taught by their own kind."""

import numbers

import keras

from keras_distill._core.messages import expected
from keras_distill.stages.chain import chain, check_train


def born_again(student_factory, generations, train, teacher=None, losses="kd", student_loss_weight=0.5, **kwargs):
    """Train generations of one architecture, each taught by the one before.

    A student as large as its teacher often surpasses it. The first generation is taught by `teacher`; without one, it
    learns from the hard labels alone. Each next generation starts from new initial weights and is taught by the one
    before. `keras_distill.teachers.Ensemble(models)` of the returned models is the ensemble of the paper.

    Args:
        student_factory: Function without arguments that returns a new `keras.Model` at each call, always of one
            architecture.
        generations: Number of generations to train, at least 1.
        train: Function `(distiller, generation)` that compiles and fits a `Distiller`; generations count from 0. It
            should give labels. Without a `teacher`, generation 0 comes in a `Distiller` as well, so that `train` is
            one for all: its `student_loss_weight` is 1.0, and its teacher an untrained model that has no say.
        teacher: What teaches the first generation, as a `Distiller` takes it. Defaults to `None`, the hard labels.
        losses: As in `chain`, by generation. Defaults to `"kd"`.
        student_loss_weight: As in `chain`, by generation. Defaults to 0.5.
        **kwargs: Passed to `Distiller`.

    Returns:
        List of all trained generations, oldest first, without `teacher`. All but the last are frozen.

    Raises:
        ValueError: If an argument is not what it should be, before anything is trained.

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
    if not isinstance(generations, numbers.Integral) or isinstance(generations, bool) or generations < 1:
        raise ValueError(expected("generations to be a whole number >= 1", f"generations={generations!r}"))
    if not callable(student_factory) or isinstance(student_factory, keras.Model):
        raise ValueError(
            expected(
                "student_factory to be a function that returns a new model", f"student_factory={student_factory!r}"
            )
        )
    check_train(train)
    untaught = teacher is None

    def weight(generation):
        if untaught and generation == 0:
            return 1.0
        return student_loss_weight(generation) if callable(student_loss_weight) else student_loss_weight

    students = [student_factory() for _ in range(generations)]
    teacher = student_factory() if untaught else teacher
    return chain(teacher, students, train, losses, weight, **kwargs)
