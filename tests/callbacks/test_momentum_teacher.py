"""The teacher equals the closed form of the moving average of its student."""

import keras
import numpy as np
import pytest
from numpy.testing import assert_allclose

import keras_distill as kd
from keras_distill.stages import momentum_teacher

HARD = "sparse_categorical_crossentropy"


class Students(keras.callbacks.Callback):
    def on_train_begin(self, logs=None):
        self.weights = [self.model.student.get_weights()]

    def on_train_batch_end(self, batch, logs=None):
        self.weights.append(self.model.student.get_weights())


def make(student, **compile_arguments):
    distiller = kd.Distiller(momentum_teacher(student), student, "kd")
    distiller.compile(keras.optimizers.SGD(0.5), HARD, jit_compile=False, **compile_arguments)
    return distiller


def with_statistics():
    layers = [
        keras.layers.Dense(4, use_bias=False),
        keras.layers.BatchNormalization(),
        keras.layers.Dropout(0.2),
        keras.layers.Dense(3),
    ]
    return keras.Sequential([keras.Input((4,)), *layers])


@pytest.mark.parametrize("steps_per_execution", [1, 3])
def test_after_k_steps_it_equals_the_closed_form(data, steps_per_execution):
    distiller, students, m = make(with_statistics(), steps_per_execution=steps_per_execution), Students(), 0.9
    callbacks = [kd.callbacks.MomentumTeacher(m), students]
    distiller.fit(*data, batch_size=16, epochs=2, callbacks=callbacks, verbose=0)
    k = 12 // steps_per_execution
    assert len(students.weights) == k + 1
    for moved, *seen in zip(distiller.teacher.get_weights(), *students.weights, strict=True):
        mean = m**k * seen[0] + sum((1 - m) * m ** (k - i) * seen[i] for i in range(1, k + 1))
        assert np.abs(mean - seen[-1]).max() > 1e-3
        assert_allclose(moved, mean, rtol=1e-5, atol=1e-6)


def test_momentum_by_a_schedule_of_steps(mlp, data):
    distiller, students = make(mlp(4)), Students()
    schedule = kd.schedules.linear(0.0, 0.9, steps=6)
    callbacks = [kd.callbacks.MomentumTeacher(schedule), students]
    distiller.fit(*data, batch_size=32, epochs=2, callbacks=callbacks, verbose=0)
    mean = students.weights[0]
    for step, weights in enumerate(students.weights[1:], 1):
        m = schedule(step)
        mean = [m * old + (1 - m) * new for old, new in zip(mean, weights, strict=True)]
    for moved, weight in zip(distiller.teacher.get_weights(), mean, strict=True):
        assert_allclose(moved, weight, rtol=1e-5, atol=1e-6)


def test_the_limits(mlp, data):
    for momentum, source in ((1.0, 0), (0.0, -1)):
        distiller, students = make(mlp(4)), Students()
        distiller.fit(*data, callbacks=[kd.callbacks.MomentumTeacher(momentum), students], verbose=0)
        for moved, weight in zip(distiller.teacher.get_weights(), students.weights[source], strict=True):
            assert_allclose(moved, weight, rtol=1e-6, atol=1e-7)


def test_the_next_step_uses_the_updated_teacher(mlp, data):
    student = mlp(4)
    distiller = make(student)
    distiller.fit(*data, batch_size=96, callbacks=[kd.callbacks.MomentumTeacher(0.5)], verbose=0)
    teacher, copy = momentum_teacher(distiller.teacher), momentum_teacher(student)
    again = kd.Distiller(teacher, copy, "kd")
    again.compile(keras.optimizers.SGD(0.5), HARD, jit_compile=False)
    logs = [each.fit(*data, batch_size=96, verbose=0).history["distillation_loss"] for each in (distiller, again)]
    assert logs[0][0] > 1e-5
    assert_allclose(logs[0], logs[1], rtol=1e-4)


def test_nothing_is_traced_again(mlp, data):
    distiller = make(mlp(4))
    callback = kd.callbacks.MomentumTeacher(kd.schedules.cosine(0.5, 0.99, steps=6))
    distiller.fit(*data, batch_size=16, epochs=3, callbacks=[callback], verbose=0)
    assert callback._move.experimental_get_tracing_count() == 1
    assert int(distiller.optimizer.iterations) == 18


def test_the_teacher_stays_frozen(mlp, data):
    distiller = make(mlp(4))
    distiller.fit(*data, callbacks=[kd.callbacks.MomentumTeacher()], verbose=0)
    assert not distiller.teacher.trainable_variables
    assert len(distiller.trainable_variables) == 4


def test_bad_input(mlp, data):
    for momentum in (-0.1, 1.5, "high"):
        with pytest.raises(ValueError, match="Expected momentum to be a number from 0 to 1. Received: momentum="):
            kd.callbacks.MomentumTeacher(momentum)
    distiller = kd.Distiller(mlp(8), mlp(4), "kd")
    distiller.compile("sgd", HARD, jit_compile=False)
    with pytest.raises(
        ValueError,
        match=r"a built teacher and student of the same architecture\. Received: weights of shapes \[\(4, 8\)",
    ):
        distiller.fit(*data, callbacks=[kd.callbacks.MomentumTeacher()], verbose=0)
    with pytest.raises(ValueError, match="Expected momentum to be a number from 0 to 1"):
        make(mlp(4)).fit(*data, callbacks=[kd.callbacks.MomentumTeacher(lambda step: 2.0)], verbose=0)
    alone = mlp(4)
    alone.compile("sgd", "sparse_categorical_crossentropy")
    with pytest.raises(ValueError, match="Expected a Distiller. Received: Sequential"):
        alone.fit(*data, callbacks=[kd.callbacks.MomentumTeacher()], verbose=0)
