"""WSLD: closed forms, the weight, edges, bad input."""

import numpy as np
import pytest
import tensorflow as tf
from logit_oracles import (
    SHAPES,
    TEMPERATURES,
    at_extremes,
    batch,
    check,
    cross_entropy,
    of_labels,
    run,
)

from keras_distill.losses import divergences
from keras_distill.losses.logits.weighted_soft_labels import WSLD, soft_label_weight, wsld


def weight(teacher, student, labels):
    return 1.0 - np.exp(-of_labels(student, labels) / (of_labels(teacher, labels) + 1e-7))


@pytest.mark.parametrize("temperature", TEMPERATURES)
@pytest.mark.parametrize("rows, classes", SHAPES)
def test_values_and_slopes(rows, classes, temperature):
    teacher, student, labels = batch(rows, classes)
    constant = weight(teacher, student, labels)  # The authors let no gradient through it.

    def oracle(z):
        return np.mean(1.5 * temperature**2 * constant * cross_entropy(teacher / temperature, z / temperature))

    loss = WSLD(temperature, alpha=1.5)
    check(lambda z: loss.compute_loss(teacher.astype(z.dtype.name), z, labels=labels), oracle, student)


def test_the_weight():
    teacher, student, labels = batch(9, 4)
    np.testing.assert_allclose(
        soft_label_weight(teacher, student, labels), weight(teacher, student, labels), rtol=1e-12
    )


@pytest.mark.parametrize(
    "teacher, student, wanted",
    [
        ([30.0, 0.0], [-30.0, 0.0], 1.0),  # Only the teacher knows.
        ([-30.0, 0.0], [30.0, 0.0], np.exp(-30.0) / 30.0),  # Only the student does, and needs no teacher.
        ([1000.0, 0.0], [1000.0, 0.0], 0.0),  # Both do, beyond what a float can say.
        ([1.0, 0.0], [1.0, 0.0], 1.0 - np.exp(-1.0)),
    ],
)
def test_the_weight_tells_who_knows_the_label(teacher, student, wanted):
    for dtype in ("float32", "float64"):
        logits = np.array([[teacher], [student]], dtype)
        np.testing.assert_allclose(soft_label_weight(*logits, np.array([0]))[0], wanted, rtol=1e-5)


def test_no_gradient_through_the_weight():
    teacher, student, labels = batch(5, 4)
    compared = [tf.constant(each) for each in (teacher, student)]
    with tf.GradientTape() as tape:
        tape.watch(compared)
        value = soft_label_weight(*compared, labels)
    assert tape.gradient(value, compared) == [None, None]


def test_it_is_the_soft_targets_sample_by_sample():
    teacher, student, labels = batch(5, 4)
    plain = 4.0 * divergences.soft_cross_entropy(teacher, student, 2.0)
    np.testing.assert_allclose(
        wsld(teacher, student, labels, alpha=1.0), weight(teacher, student, labels) * plain, rtol=1e-12
    )


@pytest.mark.parametrize("rows, classes", [(1, 2), (3, 5)])
def test_extremes(rows, classes):
    labels = np.arange(rows) % classes
    edges = at_extremes(lambda v, z, temperature: wsld(v, z, labels, temperature), rows, classes)
    assert all(value >= 0.0 for *_, value, _ in edges)


def test_rows_of_any_shape_and_labels_left_out():
    teacher, student, labels = batch(12, 5)
    shaped = wsld(teacher.reshape(2, 6, 5), student.reshape(2, 6, 5), labels.reshape(2, 6))
    np.testing.assert_allclose(np.ravel(shaped), wsld(teacher, student, labels), rtol=1e-12)
    some = WSLD().compute_loss(teacher[:8], student[:8], labels=labels[:8])
    labels[8:] = -1
    np.testing.assert_allclose(WSLD().compute_loss(teacher, student, labels=labels), some, rtol=1e-12)


def test_alpha_scales_and_a_step_lowers():
    teacher, student, labels = batch(6, 5)
    np.testing.assert_allclose(
        wsld(teacher, student, labels, alpha=4.5), 2.0 * wsld(teacher, student, labels), rtol=1e-12
    )
    value, gradient = run(lambda z: wsld(teacher, z, labels), student)
    assert run(lambda z: wsld(teacher, z, labels), student - 1e-2 * gradient)[0] < value


def test_bad_input():
    with pytest.raises(ValueError, match="alpha to be a finite number >= 0"):
        WSLD(alpha=-2.25)
    with pytest.raises(ValueError, match="a finite temperature > 0"):
        WSLD(temperature=-1.0)
    teacher, student, _ = batch(3, 4)
    with pytest.raises(ValueError, match="labels, which the loss 'wsld' needs"):
        WSLD().compute_loss(teacher, student)
