"""DIST: closed forms, invariances, masks, edges, bad input."""

import numpy as np
import pytest
import tensorflow as tf
from logit_oracles import SHAPES, TEMPERATURES, at_extremes, batch, check, log_softmax, run

from keras_distill.losses.logits.correlations import DIST, dist, inter_class, intra_class


def correlations(a, b, epsilon=1e-8):
    a, b = a - a.mean(-1, keepdims=True), b - b.mean(-1, keepdims=True)
    norms = np.linalg.norm(a, axis=-1) * np.linalg.norm(b, axis=-1)
    return np.sum(a * b, -1) / (norms + epsilon)


def parts(teacher, student, temperature, epsilon=1e-8):
    """Return the distance of each row, and that over the rows."""
    p, q = np.exp(log_softmax(teacher / temperature)), np.exp(log_softmax(student / temperature))
    return 1.0 - correlations(p, q, epsilon), 1.0 - correlations(p.T, q.T, epsilon).mean()


@pytest.mark.parametrize("temperature", TEMPERATURES)
@pytest.mark.parametrize("rows, classes", [*SHAPES, (4, 12)])
def test_values_and_slopes(rows, classes, temperature):
    teacher, student, _ = batch(rows, classes)

    def oracle(z):
        inter, intra = parts(teacher, z, temperature)
        return temperature**2 * (1.5 * inter.mean() + 0.5 * intra)

    check(lambda z: DIST(temperature, 1.5, 0.5).compute_loss(teacher.astype(z.dtype.name), z), oracle, student)


def test_parts_of_each_row_and_of_all():
    teacher, student, _ = batch(7, 5)
    inter, intra = parts(teacher, student, 4.0)
    np.testing.assert_allclose(inter_class(teacher, student, 4.0), inter, rtol=1e-12)
    np.testing.assert_allclose(intra_class(teacher, student, 4.0), intra, rtol=1e-12)
    np.testing.assert_allclose(dist(teacher, student, 4.0), 16.0 * (2.0 * inter + 2.0 * intra), rtol=1e-12)


def test_epsilon_is_added_to_the_product_of_norms():
    teacher, student, _ = batch(7, 5)
    for epsilon in (1e-3, 0.1, 10.0):
        inter, intra = parts(teacher, student, 1.0, epsilon)
        np.testing.assert_allclose(inter_class(teacher, student, epsilon=epsilon), inter, rtol=1e-12)
        np.testing.assert_allclose(intra_class(teacher, student, epsilon=epsilon), intra, rtol=1e-12)


@pytest.mark.parametrize("temperature", [1.0, 1000.0])
def test_like_its_teacher_only_epsilon_is_left(temperature):
    teacher, _, _ = batch(6, 5)
    p = np.exp(log_softmax(teacher / temperature))
    left = 1e-8 / (np.sum((p - 0.2) ** 2, -1) + 1e-8)
    for dtype in ("float32", "float64"):
        logits = teacher.astype(dtype)
        np.testing.assert_allclose(inter_class(logits, logits, temperature), left, rtol=1e-5)


def test_only_order_and_spacing_count():
    # Half of each probability, and the other half shared out evenly: the correlation does not see it.
    teacher, _, _ = batch(6, 5)
    p = np.exp(log_softmax(teacher))
    flatter = np.log(0.5 * p + 0.1)
    assert float(tf.reduce_mean(dist(np.log(p), flatter))) < 1e-5
    np.testing.assert_allclose(inter_class(teacher, teacher + 7.0), inter_class(teacher, teacher), atol=1e-12)


@pytest.mark.parametrize("fill", [0.0, 1e30, np.nan])
def test_masked_rows_have_no_effect(fill):
    teacher, student, _ = batch(8, 5)
    mask = np.array([False, True, True, False, True, True, True, False])
    wanted, slope = run(lambda z: dist(teacher[mask], z), student[mask])
    teacher[~mask] = student[~mask] = fill
    value, gradient = run(lambda z: tf.boolean_mask(dist(teacher, z, mask=mask), mask), student)
    np.testing.assert_allclose(value, wanted, rtol=1e-12)
    np.testing.assert_allclose(gradient[mask], slope, rtol=1e-9, atol=1e-12)
    assert not gradient[~mask].any()


def test_positions_are_rows():
    teacher, student, _ = batch(12, 5)
    rows = dist(teacher, student)
    mask = np.arange(12) % 3 > 0
    shaped = dist(teacher.reshape(2, 3, 2, 5), student.reshape(2, 3, 2, 5))
    assert shaped.shape == (2, 3, 2)
    np.testing.assert_allclose(np.ravel(shaped), rows, rtol=1e-12)
    masked = dist(teacher.reshape(4, 3, 5), student.reshape(4, 3, 5), mask=mask.reshape(4, 3))
    np.testing.assert_allclose(np.ravel(masked)[mask], dist(teacher[mask], student[mask]), rtol=1e-12)
    # A mask of samples stands for all of their positions.
    masked = dist(teacher.reshape(4, 3, 5), student.reshape(4, 3, 5), mask=np.array([True, True, False, True]))
    kept = np.arange(12) // 3 != 2
    np.testing.assert_allclose(np.ravel(masked)[kept], dist(teacher[kept], student[kept]), rtol=1e-12)


@pytest.mark.parametrize("rows, classes", [(1, 5), (3, 5), (9, 7)])
def test_extremes(rows, classes):
    for _, _, temperature, value, _ in at_extremes(dist, rows, classes, (0.5, 4.0, 100.0)):
        assert 0.0 <= value <= 8.0 * temperature**2


@pytest.mark.parametrize("rows", [1, 2, 9])
def test_rows_that_are_all_the_same_have_no_correlation(rows):
    # Not that of the rounding of the mean, nor of the last bit in which vectorised functions differ by position.
    teacher, student, _ = batch(rows, 7)
    for dtype in ("float32", "float64"):
        same = np.repeat(student[:1], rows, 0).astype(dtype)
        assert float(intra_class(teacher.astype(dtype), same)) == 1.0
        assert float(intra_class(same, teacher.astype(dtype))) == 1.0


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_flat_student_is_pulled_towards_its_teacher(dtype):
    # The root has no gradient at zero, but the dot product does: -b / epsilon, through the softmax of a flat row.
    teacher = np.array([[2.0, 0.0, -1.0]])
    deviation = np.exp(log_softmax(teacher)) - 1.0 / 3.0
    value, gradient = run(lambda z: inter_class(teacher.astype(dtype), z), np.zeros((1, 3), dtype))
    assert value == 1.0
    np.testing.assert_allclose(gradient, -deviation / 3.0 / 1e-8, rtol=1e-5)


def test_small_probabilities_keep_their_digits_in_float32():
    # A class that all rows find unlikely is correlated as any other, and one that all are sure of is too.
    teacher, student, _ = batch(8, 4)
    student[:, 0] += 12.0
    exact = intra_class(teacher, student)
    np.testing.assert_allclose(intra_class(teacher.astype("float32"), student.astype("float32")), exact, rtol=1e-5)


@pytest.mark.parametrize(
    "make, message",
    [
        (lambda: DIST(temperature=np.nan), "a finite temperature > 0"),
        (lambda: DIST(beta=-1.0), "beta to be a finite number >= 0"),
        (lambda: DIST(gamma=True), "gamma to be a finite number >= 0"),
        (lambda: DIST(epsilon=0.0), "epsilon to be a finite number > 0"),
    ],
)
def test_hyper_parameters_out_of_range(make, message):
    with pytest.raises(ValueError, match=message):
        make()
