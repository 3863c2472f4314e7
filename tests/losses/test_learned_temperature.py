"""A temperature that is learned against the student: its value, its gradient, its ramp, and its training."""

import itertools
import math

import keras
import numpy as np
import pytest
import tensorflow as tf
from loss_table import pair, softmax

import keras_distill as kd
from keras_distill.losses.logits.learned_temperature import CTKD, GlobalTemperature, ctkd, scale_gradient


def soft_targets(teacher, student, temperature):
    """Return `T² KL` averaged over the rows, in float64."""
    p, q = softmax(teacher / temperature), softmax(student / temperature)
    return temperature**2 * np.mean(np.sum(p * np.log(p / q), -1))


def slope(teacher, student, temperature):
    """Return the derivative of `soft_targets` along the temperature, by a symmetric difference of high order."""
    steps, weights = np.array([-2, -1, 1, 2]) * 1e-3 * temperature, np.array([1, -8, 8, -1]) / 12e-3 / temperature
    values = [soft_targets(teacher, student, temperature + step) for step in steps]
    return float(np.dot(weights, values))


def adapter_at(raw, factor, dtype="float64", **arguments):
    layer = GlobalTemperature(dtype=dtype, **arguments)
    layer.build()
    layer.global_T.assign(raw)
    layer.gradient_scale.assign(factor)
    return layer


@pytest.mark.parametrize("raw, start, end", [(1.0, 1.0, 20.0), (-4.0, 1.0, 20.0), (0.5, 2.0, 3.0)])
@pytest.mark.parametrize("factor", [-1.0, -0.3, 0.0])
def test_value_and_both_gradients(raw, start, end, factor):
    teacher, student = pair(4, 6, dtype="float64")
    adapter = adapter_at(raw, factor, t_start=start, t_end=end)
    logits = tf.constant(student)
    with tf.GradientTape() as tape:
        tape.watch(logits)
        value = CTKD(start, end).compute_loss(teacher, logits, adapter=adapter)
    gradient, of_temperature = tape.gradient(value, [logits, adapter.global_T.value])
    gate = 1 / (1 + math.exp(-raw))
    temperature = start + end * gate
    np.testing.assert_allclose(adapter.temperature, temperature, rtol=1e-14)
    np.testing.assert_allclose(value, soft_targets(teacher, student, temperature), rtol=1e-9)
    closed = temperature * (softmax(student / temperature) - softmax(teacher / temperature)) / 4
    np.testing.assert_allclose(gradient, closed, rtol=1e-9, atol=1e-12)
    along = factor * end * gate * (1 - gate) * slope(teacher, student, temperature)
    np.testing.assert_allclose(of_temperature, along, rtol=1e-5, atol=1e-9)


@pytest.mark.parametrize("temperature", [0.5, 1.0, 1000.0])
def test_gaps_of_a_thousand_stay_finite(temperature):
    ends = np.array([[1000, 0, 0], [0, 1000, 1], [0, 0, 0], [-1000, 1000, 3]], "float32")
    for student in (ends, -ends, ends[::-1], np.zeros_like(ends)):
        logits, raw = tf.constant(student), tf.constant(temperature)
        with tf.GradientTape() as tape:
            tape.watch([logits, raw])
            values = ctkd(ends, logits, raw)
        assert np.isfinite(values).all() and (values.numpy() >= 0.0).all()
        assert all(np.isfinite(gradient).all() for gradient in tape.gradient(values, [logits, raw]))


def test_student_that_is_the_teacher_has_no_gradient():
    same, _ = pair(4, 6)
    adapter, logits = adapter_at(1.0, -1.0, "float32"), tf.constant(same)
    with tf.GradientTape() as tape:
        tape.watch(logits)
        value = CTKD().compute_loss(same, logits, adapter=adapter)
    gradient, of_temperature = tape.gradient(value, [logits, adapter.global_T.value])
    assert value == 0.0 and not gradient.numpy().any() and of_temperature == 0.0


@pytest.mark.parametrize("factor", [-1.0, -0.1, 0.0, 1.0, 1e6])
def test_scaled_gradient_leaves_the_value_as_it_is(factor):
    x = tf.constant(np.random.default_rng(0).normal(size=1000).astype("float32"))
    with tf.GradientTape() as tape:
        tape.watch(x)
        y = scale_gradient(x, factor)
    np.testing.assert_array_equal(y, x)
    np.testing.assert_allclose(tape.gradient(y, x), np.full(1000, factor, "float32"))


def test_ramp():
    layer = GlobalTemperature(ramp_epochs=10)
    layer.build()
    scales = [float(layer.gradient_scale.numpy())]
    for epoch in (0, 3, 5, 10, 11, 200):
        layer.begin_epoch(epoch)
        scales.append(float(layer.gradient_scale.numpy()))
    # (cos(pi epoch / 10) + 1) / 2 from 0 to -1.
    np.testing.assert_allclose(scales, [0, 0, (math.cos(0.3 * math.pi) - 1) / 2, -0.5, -1, -1, -1], atol=1e-7)


def test_no_ramp_is_a_gradient_reversed_from_the_start():
    adapter = CTKD(ramp_epochs=0).make_adapter(None, None)
    assert adapter.gradient_scale.numpy() == -1.0
    assert adapter.built and len(adapter.trainable_variables) == 1 and len(adapter.variables) == 2


def test_layer_and_loss_are_saved():
    layer = keras.saving.deserialize_keras_object(
        keras.saving.serialize_keras_object(GlobalTemperature(2.0, 5.0, 3, name="mine"))
    )
    assert (layer.t_start, layer.t_end, layer.ramp_epochs, layer.name) == (2.0, 5.0, 3.0, "mine")
    loss = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(CTKD(2.0, 5.0, 3)))
    assert repr(loss) == "CTKD(t_start=2.0, t_end=5.0, ramp_epochs=3.0)" and loss.name == "ctkd"


def test_padding_changes_nothing():
    teacher, student = pair(2, 3, 5, dtype="float64")
    mask = np.array([[True, True, False], [True, False, False]])
    adapter = adapter_at(0.0, -1.0)
    clean = soft_targets(teacher[mask], student[mask], 11.0)
    teacher[~mask], student[~mask] = np.inf, np.nan
    logits = tf.constant(student)
    with tf.GradientTape() as tape:
        tape.watch(logits)
        outputs = tf.identity(logits)
        outputs._keras_mask = tf.constant(mask)
        value = CTKD().compute_loss(teacher, outputs, adapter=adapter)
    gradient = tape.gradient(value, logits).numpy()
    np.testing.assert_allclose(value, clean, rtol=1e-9)
    assert np.isfinite(gradient).all() and not gradient[~mask].any() and gradient[mask].all()


def test_in_the_distiller_the_temperature_climbs_the_loss():
    keras.utils.set_random_seed(0)
    teacher, student = (
        keras.Sequential([keras.Input((4,)), keras.layers.Dense(3, kernel_initializer=start)])
        for start in (keras.initializers.RandomNormal(stddev=4.0, seed=1), "zeros")
    )
    distiller = kd.Distiller(teacher, student, CTKD(ramp_epochs=1), student_loss_weight=0.0)
    distiller.compile(keras.optimizers.SGD(1e-2), loss="mse")
    adapter = distiller.objective.adapters[0]
    x = np.random.default_rng(0).normal(size=(8, 4)).astype("float32")
    temperatures, signs = [float(adapter.temperature)], []
    for _ in range(3):
        v, z = teacher(x).numpy().astype("float64"), student(x).numpy().astype("float64")
        signs.append(np.sign(slope(v, z, temperatures[-1])))
        distiller.fit(x, np.zeros((8, 3)), batch_size=8, epochs=1, verbose=0)
        temperatures.append(float(adapter.temperature))
    steps = [after - before for before, after in itertools.pairwise(temperatures)]
    assert steps[0] == 0.0  # The ramp starts at 0.
    assert all(np.sign(step) == sign != 0 for step, sign in zip(steps[1:], signs[1:], strict=True))


@pytest.mark.parametrize(
    "arguments, message",
    [
        ({"t_start": 0.0}, r"^Expected t_start to be a finite number > 0\. Received: t_start=0\.0\.$"),
        ({"t_end": -1.0}, r"^Expected t_end to be a finite number > 0\. Received: t_end=-1\.0\.$"),
        ({"ramp_epochs": -1}, r"^Expected ramp_epochs to be a finite number >= 0\. Received: ramp_epochs=-1\.$"),
    ],
)
@pytest.mark.parametrize("make", [CTKD, GlobalTemperature])
def test_hyper_parameters_out_of_range_are_refused(make, arguments, message):
    with pytest.raises(ValueError, match=message):
        make(**arguments)


def test_needs_the_adapter_of_the_distiller():
    assert CTKD().needs == ("adapter",)
    with pytest.raises(ValueError, match=r"^Expected adapter, which the loss 'ctkd' needs\. Received: none\. Train in"):
        CTKD().compute_loss(*pair(4, 3))


def test_numbers_of_classes_that_differ_are_refused():
    with pytest.raises(ValueError, match=r"^Expected teacher and student to have the same number of classes"):
        CTKD().validate_outputs(np.zeros((2, 3)), np.zeros((2, 4)))
