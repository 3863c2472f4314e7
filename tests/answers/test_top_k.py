"""Top-k answers, compared with full distributions in float64."""

import numpy as np
import pytest
import tensorflow as tf
from scipy.special import log_softmax, logsumexp, softmax

from keras_distill.losses import divergences
from keras_distill.targets import Encoding, TopK

TEMPERATURES = (1.0, 2.0, 8.0)


def rows(classes=7, spread=3.0, seed=0, shape=(4,)):
    return (spread * np.random.default_rng(seed).normal(size=(*shape, classes))).astype("float32")


def exact(logits, k, temperatures=TEMPERATURES):
    """Return the top-k answer of logits, stored in float32."""
    encoding = Encoding(logits.shape[-1], "top_k", dtype="float32", k=k, shape=logits.shape[1:-1])
    encoding = Encoding(**{**encoding.to_dict(), "temperatures": temperatures})
    return encoding.decode(encoding.encode(logits)[0])


def bucketed(logits, indices, temperature):
    """Probabilities `[..., k + 1]` in float64, the rest last."""
    p = softmax(logits.astype("float64") / temperature, axis=-1)
    kept = np.take_along_axis(p, np.asarray(indices, "int64"), axis=-1)
    others = p.copy()
    np.put_along_axis(others, np.asarray(indices, "int64"), 0.0, axis=-1)
    return np.concatenate([kept, others.sum(-1, keepdims=True)], axis=-1)


@pytest.mark.parametrize("temperature", TEMPERATURES)
@pytest.mark.parametrize("shape", [(4,), (2, 3)])
def test_both_sides_are_the_distribution_with_the_others_added_up(temperature, shape):
    teacher, student = rows(shape=shape), rows(seed=1, shape=shape)
    top = exact(teacher, 3)
    for reduced, logits in zip(top.reduced(student, temperature), (teacher, student), strict=True):
        assert reduced.shape == (*shape, 4)
        expected = bucketed(logits, top.indices, temperature)
        np.testing.assert_allclose(softmax(reduced.numpy() / temperature, -1), expected, rtol=2e-5)


def test_the_first_class_is_the_largest_and_indices_are_small():
    teacher = rows()
    top = exact(teacher, 3)
    assert top.indices.dtype == tf.uint8
    np.testing.assert_array_equal(top.indices, np.argsort(-teacher, -1)[:, :3])
    assert top.shape == (4, 7)


def test_all_classes_are_the_dense_divergence_and_its_gradient():
    teacher, student = rows(spread=10), tf.constant(rows(seed=1, spread=10))
    with tf.GradientTape(persistent=True) as tape:
        tape.watch(student)
        reduced = divergences.kl_divergence(*exact(teacher, 7).reduced(student, 2.0), 2.0)
        dense = divergences.kl_divergence(teacher, student, 2.0)
    np.testing.assert_allclose(reduced, dense, rtol=1e-5)
    gradients = tape.gradient(reduced, student), tape.gradient(dense, student)
    np.testing.assert_allclose(*gradients, rtol=1e-4, atol=1e-7)
    assert np.isneginf(exact(teacher, 7).rest).all()


@pytest.mark.parametrize("temperature", [0.5, 1.0, 1000.0])
def test_gaps_of_a_thousand(temperature):
    teacher = np.array([[1000.0, 0.0, -1000.0, 3.0], [0.0, 0.0, 0.0, 500.0]], "float32")
    student = tf.constant([[-1000.0, 1000.0, 0.0, 1.0], [1.0, 2.0, 3.0, -999.0]])
    top = exact(teacher, 2, (0.5, 1.0, 1000.0))
    learnt = tf.Variable(temperature)
    with tf.GradientTape() as tape:
        tape.watch(student)
        of_teacher, of_student = top.reduced(student, learnt)
        value = divergences.kl_divergence(of_teacher, of_student, learnt)
    student_log = log_softmax(student.numpy().astype("float64") / temperature, axis=-1)
    left = ~np.array([[i in row for i in range(4)] for row in np.asarray(top.indices).tolist()])
    rest = logsumexp(np.where(left, student_log, -np.inf), axis=-1)
    norm = logsumexp(of_student.numpy().astype("float64") / temperature, axis=-1)
    np.testing.assert_allclose(of_student.numpy()[:, -1] / temperature - norm, rest, rtol=1e-5, atol=1e-5)
    p = bucketed(teacher, top.indices, temperature)
    q_log = np.concatenate([np.take_along_axis(student_log, np.asarray(top.indices, "int64"), -1), rest[:, None]], -1)
    closed = np.sum(np.where(p > 0, p * (np.log(np.maximum(p, 1e-300)) - q_log), 0.0), axis=-1)
    np.testing.assert_allclose(value, closed, rtol=1e-4, atol=1e-6)
    for gradient in tape.gradient(value, [student, learnt]):
        assert np.isfinite(gradient).all()


@pytest.mark.parametrize("temperature", [0.25, 0.5, 1.3, 1.9, 3.0, 7.0, 50.0])
def test_at_other_temperatures_the_rest_is_an_upper_bound(temperature):
    teacher = rows(classes=30, shape=(50,))
    top = exact(teacher, 4)
    others = np.sort(teacher.astype("float64"), -1)[:, :-4]
    true = logsumexp(others / temperature, axis=-1)
    bound = top.rest_at(temperature).numpy()
    assert (bound >= true - 1e-5).all()
    assert min(temperature, 1.0) * (bound - true).max() < 1.3


def test_at_the_stored_temperatures_the_rest_is_exact():
    teacher = rows(classes=30)
    for temperature in TEMPERATURES:
        true = logsumexp(np.sort(teacher.astype("float64"), -1)[:, :-4] / temperature, axis=-1)
        np.testing.assert_allclose(exact(teacher, 4).rest_at(temperature), true, rtol=1e-6)


def test_excluded_classes_leave_nothing_for_the_rest():
    teacher = np.array([[1.0, 2.0, -np.inf, -np.inf]], "float32")
    top = exact(teacher, 2)
    assert np.isneginf(top.rest_at(1.5)).all()
    value = divergences.kl_divergence(*top.reduced(rows(classes=4, shape=(1,)), 1.5), 1.5)
    assert np.isfinite(value).all()


def test_half_precision_students_are_compared_in_float32():
    teacher, student = rows(), rows(seed=1)
    halves = exact(teacher, 3).reduced(student.astype("float16"), 2.0)
    assert {str(each.dtype.name) for each in halves} == {"float32"}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"temperatures": (1.0, 1.0)}, "one distinct temperature"),
        ({"temperatures": (0.0,)}, "temperatures > 0"),
        ({"classes": 1}, "from 1 to 1 classes"),
    ],
)
def test_arguments_that_do_not_fit_together_are_refused(change, words):
    arguments = {"indices": [[0, 1]], "values": [[1.0, 0.0]], "rest": [[0.0]], "classes": 4}
    with pytest.raises(ValueError, match=words):
        TopK(**{**arguments, **change})


def test_students_with_another_number_of_classes_are_refused():
    with pytest.raises(ValueError, match="logits of 7 classes"):
        exact(rows(), 3).reduced(rows(classes=6))
