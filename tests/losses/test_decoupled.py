"""DKD and NKD: closed forms, edges, labels, weights, bad input."""

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
    kl,
    log_softmax,
    of_labels,
    others,
    run,
)

from keras_distill.losses import divergences
from keras_distill.losses.logits.decoupled import (
    DKD,
    NKD,
    dkd,
    nkd,
    non_target_class_divergence,
    target_class_divergence,
)
from keras_distill.losses.logits.labelled_class import target_cross_entropy, target_log_odds

BOTH = pytest.mark.parametrize("method", [dkd, nkd])


def two_way(logits, labels):
    """Return logits of two classes, the labelled one and all others together."""
    rest = others(logits, labels)
    shifted = np.log(np.exp(rest - rest.max(-1, keepdims=True)).sum(-1)) + rest.max(-1)
    return np.stack([np.take_along_axis(logits, labels[:, None], -1)[:, 0], shifted], -1)


@pytest.mark.parametrize("temperature", TEMPERATURES)
@pytest.mark.parametrize("rows, classes", SHAPES)
def test_dkd_and_its_parts(rows, classes, temperature):
    teacher, student, labels = batch(rows, classes)

    def target(z):
        return kl(two_way(teacher / temperature, labels), two_way(z / temperature, labels)).mean()

    def rest(z):
        return kl(others(teacher, labels) / temperature, others(z, labels) / temperature).mean()

    check(lambda z: target_class_divergence(teacher.astype(z.dtype.name), z, labels, temperature), target, student)
    check(lambda z: non_target_class_divergence(teacher.astype(z.dtype.name), z, labels, temperature), rest, student)
    check(
        lambda z: DKD(temperature, 1.5, 4.0).compute_loss(teacher.astype(z.dtype.name), z, labels=labels),
        lambda z: temperature**2 * (1.5 * target(z) + 4.0 * rest(z)),
        student,
    )


@pytest.mark.parametrize("temperature", TEMPERATURES)
@pytest.mark.parametrize("rows, classes", SHAPES)
def test_nkd(rows, classes, temperature):
    teacher, student, labels = batch(rows, classes)

    def oracle(z):
        rest = cross_entropy(others(teacher, labels) / temperature, others(z, labels) / temperature)
        return np.mean(np.exp(-of_labels(teacher, labels)) * of_labels(z, labels) + 0.5 * temperature**2 * rest)

    loss = NKD(temperature, gamma=0.5)
    check(lambda z: loss.compute_loss(teacher.astype(z.dtype.name), z, labels=labels), oracle, student)


def test_the_parts_make_up_the_whole_divergence():
    # The decomposition of the paper: KL is the target's part, and the rest's by what the teacher leaves to it.
    teacher, student, labels = batch(7, 6)
    left = 1.0 - np.exp(-of_labels(teacher / 2.0, labels))
    parts = target_class_divergence(teacher, student, labels, 2.0)
    parts += left * non_target_class_divergence(teacher, student, labels, 2.0)
    np.testing.assert_allclose(parts, divergences.kl_divergence(teacher, student, 2.0), rtol=1e-12)


@BOTH
@pytest.mark.parametrize("rows, classes", [(1, 2), (3, 5)])
def test_extremes(method, rows, classes):
    labels = np.arange(rows) % classes
    edges = at_extremes(lambda v, z, temperature: method(v, z, labels, temperature), rows, classes)
    for teacher, student, _, value, gradient in edges:
        assert value >= 0.0
        if method is dkd and np.array_equal(teacher, student):
            assert value == 0.0 and not gradient.any()


def test_a_gap_of_1000_has_its_value():
    teacher, student, labels = np.array([[1000.0, 0.0, 0.0]]), np.array([[0.0, 1000.0, 0.0]]), np.array([0])
    parts = [
        divergence(teacher, student, labels)[0] for divergence in (target_class_divergence, non_target_class_divergence)
    ]
    np.testing.assert_allclose(parts, [1000.0, 500.0 - np.log(2.0)], rtol=1e-12)
    np.testing.assert_allclose(nkd(teacher, student, labels)[0], 1000.0 + 1.5 * 500.0, rtol=1e-12)


def test_high_temperatures_keep_their_digits_in_float32():
    teacher, student, labels = batch(8, 10)
    # T² KL tends to half the variance of what differs, under the teacher's distribution: here two numbers, and nine.
    change = two_way(student / 1e3, labels) - two_way(teacher / 1e3, labels)
    change = 1e3 * (change[:, 0] - change[:, 1])
    value = target_class_divergence(teacher.astype("float32"), student.astype("float32"), labels, 1e3)
    np.testing.assert_allclose(1e6 * value, 0.5 * 0.09 * change**2, rtol=2e-2, atol=1e-4)
    exact = target_class_divergence(teacher, student, labels, 1e3)
    np.testing.assert_allclose(value, exact, rtol=2e-5)


def test_log_odds_are_exact_at_both_ends():
    logits = np.array([[50.0, 0.0, 0.0], [0.0, 50.0, 50.0]], "float32")
    np.testing.assert_allclose(target_log_odds(logits, [0, 0]), [50 - np.log(2), -50 - np.log(2)], rtol=1e-7)
    np.testing.assert_allclose(target_cross_entropy(logits, [0, 0]), [2 * np.exp(-50.0), 50 + np.log(2)], rtol=1e-5)
    teacher, _, labels = batch(5, 4)
    np.testing.assert_allclose(target_cross_entropy(teacher, labels), of_labels(teacher, labels), rtol=1e-12)
    assert log_softmax(teacher).shape == (5, 4)


@BOTH
def test_rows_of_any_shape(method):
    teacher, student, labels = batch(12, 5)
    rows = method(teacher, student, labels)
    shaped = method(teacher.reshape(2, 3, 2, 5), student.reshape(2, 3, 2, 5), labels.reshape(2, 3, 2))
    assert shaped.shape == (2, 3, 2)
    np.testing.assert_allclose(np.ravel(shaped), rows, rtol=1e-12)


@BOTH
def test_a_class_ruled_out_by_both_adds_nothing(method):
    teacher, student, labels = batch(4, 5)
    ruled_out = np.full((4, 1), -np.inf)
    wider = method(np.concatenate([teacher, ruled_out], 1), np.concatenate([student, ruled_out], 1), labels)
    np.testing.assert_allclose(wider, method(teacher, student, labels), rtol=1e-12)


@pytest.mark.parametrize("loss", [DKD(), NKD()])
def test_labels_one_hot_sparse_or_missing(loss):
    teacher, student, labels = batch(6, 5)
    sparse = loss.compute_loss(teacher, student, labels=labels)
    np.testing.assert_allclose(loss.compute_loss(teacher, student, labels=np.eye(5)[labels]), sparse, rtol=1e-12)
    some = loss.compute_loss(teacher[:4], student[:4], labels=labels[:4])
    labels[4:] = -1
    np.testing.assert_allclose(loss.compute_loss(teacher, student, labels=labels), some, rtol=1e-12)


def test_weights_scale_the_parts():
    teacher, student, labels = batch(6, 5)
    compared = teacher, student, labels, 3.0
    target, rest = (
        9.0 * divergence(*compared) for divergence in (target_class_divergence, non_target_class_divergence)
    )
    np.testing.assert_allclose(dkd(*compared), target + 8.0 * rest, rtol=1e-12)
    np.testing.assert_allclose(dkd(*compared, alpha=0.0, beta=1.0), rest, rtol=1e-12)
    first, second = nkd(*compared, gamma=0.0), nkd(*compared, gamma=1.0)
    np.testing.assert_allclose(nkd(*compared, gamma=3.0), first + 3.0 * (second - first), rtol=1e-12)


@BOTH
def test_no_gradient_reaches_the_teacher(method):
    teacher, student, labels = batch(3, 4)
    teacher = tf.constant(teacher)
    with tf.GradientTape() as tape:
        tape.watch(teacher)
        value = method(teacher, student, labels)
    assert tape.gradient(value, teacher) is None


def test_a_step_lowers_the_loss():
    teacher, student, labels = batch(6, 5)
    for method in (dkd, nkd):
        value, gradient = run(lambda z, method=method: method(teacher, z, labels), student)
        assert run(lambda z, method=method: method(teacher, z, labels), student - 1e-2 * gradient)[0] < value


@pytest.mark.parametrize(
    "make, message",
    [
        (lambda: DKD(temperature=0.0), "a finite temperature > 0"),
        (lambda: DKD(alpha=-1.0), "alpha to be a finite number >= 0"),
        (lambda: DKD(beta=np.inf), "beta to be a finite number >= 0"),
        (lambda: NKD(gamma="much"), "gamma to be a finite number >= 0"),
    ],
)
def test_hyper_parameters_out_of_range(make, message):
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize("loss", [DKD(), NKD()])
def test_labels_are_needed(loss):
    teacher, student, _ = batch(3, 4)
    with pytest.raises(ValueError, match=f"labels, which the loss '{loss.name}' needs"):
        loss.compute_loss(teacher, student)
