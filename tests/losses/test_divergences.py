"""The divergences against arbitrary precision, their limits, and the published vectors."""

import itertools

import keras
import numpy as np
import pytest
import tensorflow as tf
from exact import kl_divergence as exact_kl
from exact import relative_error
from exact import soft_cross_entropy as exact_cross_entropy
from loss_table import pair, value_and_gradient

import keras_distill as kd
from keras_distill.losses import divergences

PAIRS = {
    "kl": (divergences.kl_divergence, exact_kl),
    "cross_entropy": (divergences.soft_cross_entropy, exact_cross_entropy),
}
TEMPERATURES = [0.5, 1.0, 2.0, 4.0, 20.0, 1000.0]
BOTH = pytest.mark.parametrize("divergence, oracle", PAIRS.values(), ids=PAIRS.keys())


def rows_and_gradients(divergence, teacher, student, temperature, jit=None):
    """Return the value of each row, and its gradient with respect to its student logits."""

    compute = _compute if jit is None else _compiled
    temperature = tf.constant(temperature, teacher.dtype)
    return [each.numpy() for each in compute(divergence, tf.constant(teacher), tf.constant(student), temperature)]


def _compute(divergence, teacher, student, temperature):
    with tf.GradientTape() as tape:
        tape.watch(student)
        values = divergence(teacher, student, temperature)
    return values, tape.gradient(values, student)


_compiled = tf.function(_compute, jit_compile=True)


def logits(classes, spread, dtype):
    """Return rows of logits: independent ones, ones of one likeliest class, nearly equal ones, and the extremes."""
    random = np.random.default_rng(classes)
    count = 1 if classes == 1000 else 2
    teacher, student = random.uniform(-spread, spread, (2, count, classes)).astype(dtype)
    alike = student.copy()
    alike[np.arange(count), teacher.argmax(-1)] = spread
    # Of few digits: rounded to 24 bits, the input itself would be off by more than the tolerance of the output.
    close = np.round(teacher * 64) / 64
    near = close + np.round(random.uniform(-0.5, 0.5, (count, classes)) * 64).astype(dtype) / 64
    if classes == 1000:
        return np.concatenate([teacher, close]), np.concatenate([student, near])
    ends = np.full((1, classes), -spread, dtype)
    ends[0, 0] = spread
    opposite = np.concatenate([-ends, ends[:, ::-1]])
    return np.concatenate([teacher, teacher, close, ends, ends]), np.concatenate([student, alike, near, opposite])


@BOTH
@pytest.mark.parametrize(
    "classes, spread, jit",
    [(classes, spread, None) for classes in (2, 3, 10, 1000) for spread in (5.0, 20.0, 40.0)] + [(10, 40.0, True)],
)
def test_against_arbitrary_precision(divergence, oracle, classes, spread, jit):
    for dtype, usual, hot in (("float32", 1e-5, 1e-4), ("float64", 1e-11, 1e-11)):
        teacher, student = logits(classes, spread, dtype)
        for temperature in TEMPERATURES:
            values, gradients = rows_and_gradients(divergence, teacher, student, temperature, jit)
            assert values.dtype == dtype and np.isfinite(values).all() and np.isfinite(gradients).all()
            assert (values >= 0.0).all()
            for index, (v, z) in enumerate(zip(teacher, student, strict=True)):
                value, gradient = oracle(v, z, temperature)
                limit = hot if temperature == 1000.0 else usual
                assert relative_error(values[index], value) < limit, (dtype, temperature, index)
                assert relative_error(gradients[index], gradient) < limit, (dtype, temperature, index)


@BOTH
@pytest.mark.parametrize("temperature", TEMPERATURES)
@pytest.mark.parametrize("dtype, limit", [("float32", 1e-4), ("float64", 1e-11)])
@pytest.mark.parametrize("jit", [None, True])
def test_a_logit_gap_of_two_thousand(divergence, oracle, temperature, dtype, limit, jit):
    teacher = np.array([[2000, 0, 1], [0, 2000, 7], [2000, 1999, 0], [-1000, 1000, 3]], dtype)
    student = np.array([[0, 2000, 1], [0, 1990, 2000], [2000, 0, 1999.5], [-1000, 1000, 3]], dtype)
    values, gradients = rows_and_gradients(divergence, teacher, student, temperature, jit)
    assert np.isfinite(values).all() and np.isfinite(gradients).all()
    for index, (v, z) in enumerate(zip(teacher, student, strict=True)):
        value, gradient = oracle(v, z, temperature)
        assert relative_error(values[index], value) < limit
        assert relative_error(gradients[index], gradient) < limit


@BOTH
def test_precision_if_both_are_confident_of_one_class(divergence, oracle):
    teacher, student = np.array([[0.0, -46.0]], "float32"), np.array([[0.0, -23.0]], "float32")
    values, gradients = rows_and_gradients(divergence, teacher, student, 1.0)
    value, gradient = oracle(teacher[0], student[0], 1.0)
    assert 1e-11 < value < 1e-9
    np.testing.assert_allclose(values[0], value, rtol=1e-5)
    np.testing.assert_allclose(gradients[0], gradient, rtol=1e-5)


@BOTH
def test_logits_of_any_size_are_finite(divergence, oracle):
    teacher = np.array([[1e30, -1e30], [3e37, 0.0], [1e-30, 0.0], [0.0, 0.0]], "float32")
    for student in (teacher, -teacher, 0 * teacher):
        for jit in (None, True):
            values, gradients = rows_and_gradients(divergence, teacher, student, 1.0, jit)
            assert np.isfinite(values).all() and np.isfinite(gradients).all()


def test_direction():
    p, q = np.array([0.9, 0.1]), np.array([0.5, 0.5])
    forward, backward = np.sum(p * np.log(p / q)), np.sum(q * np.log(q / p))
    assert abs(forward - backward) > 0.1
    teacher, student = np.log(p)[None], np.log(q)[None]
    np.testing.assert_allclose(divergences.kl_divergence(teacher, student), [forward], rtol=1e-12)
    np.testing.assert_allclose(divergences.kl_divergence(student, teacher), [backward], rtol=1e-12)


def test_cross_entropy_is_divergence_and_entropy():
    teacher, student = pair(5, 7, dtype="float64")
    p = tf.nn.softmax(teacher / 3.0).numpy()
    difference = divergences.soft_cross_entropy(teacher, student, 3.0) - divergences.kl_divergence(
        teacher, student, 3.0
    )
    np.testing.assert_allclose(difference, -np.sum(p * np.log(p), -1), rtol=1e-12)


def test_unscaled_gradient_of_the_cross_entropy():
    teacher, student = pair(5, 7, dtype="float64")
    _, gradients = rows_and_gradients(divergences.soft_cross_entropy, teacher, student, 2.5)
    wanted = (tf.nn.softmax(student / 2.5) - tf.nn.softmax(teacher / 2.5)) / 2.5
    np.testing.assert_allclose(gradients, wanted, rtol=1e-12, atol=1e-15)


def test_gradient_at_a_high_temperature():
    teacher, student = (each - each.mean(-1, keepdims=True) for each in pair(5, 8, dtype="float64"))
    temperature = 1e4
    _, gradients = rows_and_gradients(divergences.soft_cross_entropy, teacher, student, temperature)
    limit = (student - teacher) / (8 * temperature**2)
    np.testing.assert_allclose(gradients, limit, rtol=0, atol=2e-3 * np.abs(limit).max())
    _, gradients = rows_and_gradients(divergences.soft_cross_entropy, teacher, student, 100 * temperature)
    np.testing.assert_allclose(gradients, limit / 1e4, rtol=0, atol=2e-9 * np.abs(limit).max())


def test_divergence_tends_to_logit_matching():
    teacher, student = pair(6, 9, dtype="float64")
    limit = divergences.logit_matching(teacher, student)
    errors = [np.abs(T**2 * divergences.kl_divergence(teacher, student, T) - limit).max() for T in (10, 1e2, 1e3, 1e4)]
    assert all(later < earlier / 5 for earlier, later in itertools.pairwise(errors))
    assert errors[-1] < 1e-3 * np.max(limit)


@pytest.mark.parametrize(
    "temperature", [2, np.float32(2), np.float64(2), np.array(2.0), tf.constant(2.0), keras.Variable(2.0)]
)
@BOTH
def test_kinds_of_temperature(divergence, oracle, temperature):
    for dtype in ("float32", "float64"):
        teacher, student = pair(4, 3, dtype=dtype)
        np.testing.assert_array_equal(
            divergence(teacher, student, temperature), divergence(teacher, student, 2.0).numpy()
        )


@BOTH
def test_lists_and_integers_are_accepted_as_logits(divergence, oracle):
    value = divergence([[1, 2, 3]], [[3, 2, 1]])
    assert value.dtype == "float32"
    np.testing.assert_allclose(value[0], oracle([1, 2, 3], [3, 2, 1], 1.0)[0], rtol=1e-6)


class TestPublishedVectors:
    """Values and gradients of published code in float64. The readme of the vectors has formulas and layout."""

    TOLERANCES = pytest.mark.parametrize(
        "dtype, rtol, atol", [("float64", 1e-9, 1e-12), ("float32", 1e-4, 1e-6)], ids=["float64", "float32"]
    )

    @staticmethod
    def check(got, wanted, rtol, atol):
        for one, other in zip(got, wanted, strict=True):
            np.testing.assert_allclose(one, other, rtol=rtol, atol=atol)

    @TOLERANCES
    @pytest.mark.parametrize("loss", ["kl_divergence", "kld", "KLDivergence"])
    def test_distillation(self, vectors, dtype, rtol, atol, loss):
        cases = vectors("kd")
        assert len(cases) >= 10
        for case in cases.values():
            teacher, student = case["teacher_logits"].astype(dtype), case["student_logits"].astype(dtype)
            distillation = kd.losses.LogitsDistillation(float(case["temperature"]), loss)
            got = value_and_gradient(distillation, teacher, student)
            self.check(got, (case["loss"], case["grad_student_logits"]), rtol, atol)

    @TOLERANCES
    def test_logit_matching_limit(self, vectors, dtype, rtol, atol):
        case = vectors("kd")["limit_T1000"]
        got = value_and_gradient(
            kd.losses.LogitMatching(), case["teacher_logits"].astype(dtype), case["student_logits"].astype(dtype)
        )
        self.check(got, (case["logit_matching_limit"], case["grad_logit_matching_limit"]), rtol, atol)

    @TOLERANCES
    def test_soft_target_cross_entropy(self, vectors, dtype, rtol, atol):
        cases = vectors("soft_target_ce")
        assert len(cases) >= 10
        for case in cases.values():
            teacher, student = case["teacher_logits"].astype(dtype), case["student_logits"].astype(dtype)
            temperature = float(case["temperature"])
            values, gradients = rows_and_gradients(divergences.soft_cross_entropy, teacher, student, temperature)
            self.check(
                (values.mean(), gradients / len(values)), (case["loss"], case["grad_student_logits"]), rtol, atol
            )
            scaled = kd.losses.LogitsDistillation(temperature, "categorical_crossentropy")
            got = value_and_gradient(scaled, teacher, student)
            self.check(got, (case["loss_t2"], case["grad_t2_student_logits"]), rtol, atol)


@pytest.mark.parametrize("temperature", [0.5, 1.0, 20.0])
def test_classes_ruled_out_by_minus_infinity_add_nothing(temperature):
    teacher = np.array([[1.0, -np.inf, 2.0, -np.inf]], "float32")
    student = np.array([[0.5, -np.inf, -1.0, -np.inf]], "float32")
    for divergence in (divergences.kl_divergence, divergences.soft_cross_entropy):
        with_them = divergence(teacher, student, temperature)
        without = divergence(teacher[:, ::2], student[:, ::2], temperature)
        np.testing.assert_allclose(with_them, without, rtol=1e-6)
