"""Agreement against NumPy."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import keras_distill as kd
from keras_distill.metrics import Agreement, agreement


def outputs(*shape, seed=0):
    teacher, student = np.random.default_rng(seed).normal(size=(2, *shape)).astype("float32")
    return teacher, student


def equal(teacher, student):
    return (teacher.argmax(-1) == student.argmax(-1)).astype("float64")


SHAPES = pytest.mark.parametrize("shape", [(40, 3), (1, 3), (6, 5, 3), (5, 5, 3), (2, 3, 4, 3)])


@SHAPES
def test_fraction_of_equal_answers(shape):
    teacher, student = outputs(*shape)
    metric = Agreement()
    metric.update_state(teacher, student)
    np.testing.assert_allclose(metric.result(), equal(teacher, student).mean(), rtol=1e-6)
    np.testing.assert_allclose(agreement(teacher, student), equal(teacher, student).mean(), rtol=1e-6)


@SHAPES
@pytest.mark.parametrize("rank", [1, 2])
def test_weights_per_sample(shape, rank):
    teacher, student = outputs(*shape)
    weights = np.random.default_rng(1).uniform(0.5, 2, shape[:1] + (1,) * (rank - 1)).astype("float32")
    metric = Agreement()
    metric.update_state(teacher, student, weights)
    full = np.broadcast_to(weights.reshape((-1,) + (1,) * (len(shape) - 2)), shape[:-1])
    np.testing.assert_allclose(metric.result(), np.average(equal(teacher, student), weights=full), rtol=1e-5)


@pytest.mark.parametrize("shape", [(6, 5, 3), (5, 5, 3)])
@pytest.mark.parametrize("rank", [0, 1, 2])
def test_masks(shape, rank):
    teacher, student = outputs(*shape)
    random = np.random.default_rng(2)
    mask = random.uniform(size=shape[:2]) < 0.6
    weights = random.uniform(0.5, 2, (shape[0], shape[1] if rank == 2 else 1)).astype("float32")
    student_outputs = tf.constant(student)
    student_outputs._keras_mask = tf.constant(mask)
    metric = Agreement()
    metric.update_state(teacher, student_outputs, {0: None, 1: weights[:, 0], 2: weights}[rank])
    full = mask * (weights if rank else 1.0)
    np.testing.assert_allclose(metric.result(), np.average(equal(teacher, student), weights=full), rtol=1e-5)


def test_streams_and_resets():
    teacher, student = outputs(50, 4)
    metric = Agreement()
    update = tf.function(metric.update_state, reduce_retracing=True)
    for start in range(0, 50, 7):
        update(teacher[start : start + 7], student[start : start + 7])
    np.testing.assert_allclose(metric.result(), equal(teacher, student).mean(), rtol=1e-6)
    metric.reset_state()
    metric.update_state(teacher, teacher)
    assert metric.result() == 1.0


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float64"])
def test_dtypes_and_probabilities(dtype):
    teacher, student = outputs(50, 4)
    probabilities = tf.cast(tf.nn.softmax(3.0 * student), dtype)
    metric = Agreement()
    metric.update_state(tf.cast(teacher, "float64"), probabilities)
    np.testing.assert_allclose(
        metric.result(), equal(teacher, tf.cast(probabilities, "float64").numpy()).mean(), rtol=1e-6
    )


def test_config_round_trip():
    metric = Agreement(name="fidelity", dtype="float64")
    again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(metric))
    assert type(again) is Agreement and again.get_config() == metric.get_config()
    assert (again.name, again.dtype, Agreement().name) == ("fidelity", "float64", "agreement")


def test_is_public():
    assert kd.metrics.Agreement is Agreement and kd.metrics.agreement is agreement


@pytest.mark.parametrize(
    "teacher, student", [(np.zeros((2, 3)), np.zeros((3, 3))), (np.zeros((0, 3)),) * 2, (np.zeros((2, 0)),) * 2]
)
def test_nothing_to_compare(teacher, student):
    with pytest.raises(
        ValueError, match=r"^Expected outputs of one shape, with at least one sample\. Received: \(.*\)\."
    ):
        agreement(teacher, student)


def test_offline_gives_a_float():
    assert type(agreement([[1, 2]], [[3, 4]])) is float and agreement([[1, 2]], [[3, 4]]) == 1.0
    assert agreement([[1.0, 2.0]], [[4.0, 3.0]]) == 0.0
