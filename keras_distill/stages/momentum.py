"""A teacher whose weights follow those of its student."""

import keras

from keras_distill._core.checked import checked
from keras_distill._core.checks import check_model
from keras_distill._core.messages import expected


@checked()
def momentum_teacher(student: keras.Model) -> keras.Model:
    """Copy a student and its weights to make its momentum teacher.

    `keras_distill.callbacks.MomentumTeacher` then updates the weights of the copy.

    Args:
        student: A built `keras.Model`.

    Returns:
        A `keras.Model` of the same architecture with copies of the weights.

    Raises:
        ValueError: If the student is not a built `keras.Model`.

    Example:

    >>> import numpy as np
    >>> import keras_distill as kd
    >>> from keras_distill import stages
    >>> student = keras.Sequential([keras.Input((4,)), keras.layers.Dense(8), keras.layers.Dense(3)])
    >>> teacher = stages.momentum_teacher(student)
    >>> distiller = kd.Distiller(teacher, student, "kd")
    >>> distiller.compile("adam", "sparse_categorical_crossentropy", run_eagerly=True)
    >>> follow = kd.callbacks.MomentumTeacher(momentum=0.99)
    >>> history = distiller.fit(np.ones((8, 4)), np.arange(8) % 3, callbacks=[follow], verbose=0)

    Reference:
        Tarvainen, Valpola, "Mean teachers are better role models: Weight-averaged consistency targets improve
        semi-supervised deep learning results", 2017, arXiv:1703.01780.
    """
    if not check_model("student", student).built:
        raise ValueError(expected("student to be a built keras.Model", repr(student), "Call it on a batch first."))
    teacher = keras.models.clone_model(student)
    if not teacher.built:
        teacher.build_from_config(student.get_build_config())
    teacher.set_weights(student.get_weights())
    return teacher
