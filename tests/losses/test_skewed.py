"""The divergences that language models are distilled by: both directions, skewed ones, mixtures, total variation."""

import dataclasses
from collections.abc import Callable

import numpy as np
import pytest
import tensorflow as tf
from loss_table import pair, softmax, value_and_gradient

from keras_distill.losses.logits import directed, distances, skewed


@dataclasses.dataclass(frozen=True)
class Form:
    """A loss at a temperature, and in plain NumPy its value and its slope along each probability of the student."""

    make: Callable
    value: Callable
    slope: Callable


def entropy(p):
    return -np.sum(p * np.log(p), -1)


def kl(p, q):
    return np.sum(p * np.log(p / q), -1)


def _to_mixture(share, entropies=0):
    """Return the form of `KL(p, m)`, `m = (1 - share) p + share q`, plus so many entropies of `p`."""

    def mixture(p, q):
        return (1 - share) * p + share * q

    return (
        lambda p, q: kl(p, mixture(p, q)) + entropies * entropy(p),
        lambda p, q: -share * p / mixture(p, q),
    )


def _from_student(share):
    """Return the form of `KL(q, m)`, `m = share p + (1 - share) q`."""

    def mixture(p, q):
        return share * p + (1 - share) * q

    return (
        lambda p, q: kl(q, mixture(p, q)),
        lambda p, q: np.log(q / mixture(p, q)) - (1 - share) * q / mixture(p, q),
    )


def _sum(one, weight_of_one, other, weight_of_other):
    return tuple(
        lambda p, q, f=f, g=g: weight_of_one * f(p, q) + weight_of_other * g(p, q)
        for f, g in zip(one, other, strict=True)
    )


def _mixed(lam):
    return _sum(_from_student(1 - lam), lam, _to_mixture(lam), 1 - lam)


_TV = (lambda p, q: 0.5 * np.sum(np.abs(p - q), -1), lambda p, q: 0.5 * np.sign(q - p))
FORMS = {
    "forward": Form(directed.ForwardKL, *_to_mixture(1)),
    "forward_ce": Form(lambda T: directed.ForwardKL(T, subtract_entropy=False), *_to_mixture(1, entropies=1)),
    "reverse": Form(directed.ReverseKL, *_from_student(1)),
    "symmetric": Form(directed.SymmetricKL, *_sum(_to_mixture(1), 0.1, _from_student(1), 0.9)),
    "symmetric_ce": Form(
        lambda T: directed.SymmetricKL(T, lam=0.3, subtract_entropy=False),
        *_sum(_to_mixture(1, entropies=1), 0.7, _from_student(1), 0.3),
    ),
    "skew_forward": Form(skewed.SkewForwardKL, *_to_mixture(0.9)),
    "skew_forward_half": Form(lambda T: skewed.SkewForwardKL(T, lam=0.5), *_to_mixture(0.5)),
    "skew_forward_ce": Form(
        lambda T: skewed.SkewForwardKL(T, lam=0.01, subtract_entropy=False), *_to_mixture(0.99, entropies=1)
    ),
    "skew_forward_0": Form(lambda T: skewed.SkewForwardKL(T, lam=0.0), *_to_mixture(1)),
    "skew_reverse": Form(skewed.SkewReverseKL, *_from_student(0.9)),
    "skew_reverse_half": Form(lambda T: skewed.SkewReverseKL(T, lam=0.5), *_from_student(0.5)),
    "skew_reverse_0": Form(lambda T: skewed.SkewReverseKL(T, lam=0.0), *_from_student(1)),
    "js": Form(distances.JSDistance, *_mixed(0.9)),
    "js_half": Form(lambda T: distances.JSDistance(T, lam=0.5), *_mixed(0.5)),
    "gjsd": Form(distances.GeneralizedJSD, *_mixed(0.5)),
    "gjsd_0": Form(lambda T: distances.GeneralizedJSD(T, beta=0.0), *_to_mixture(1)),
    "gjsd_1": Form(lambda T: distances.GeneralizedJSD(T, beta=1.0), *_from_student(1)),
    "gjsd_tenth": Form(lambda T: distances.GeneralizedJSD(T, beta=0.1), *_mixed(0.9)),
    "tv": Form(distances.TVDistance, *_TV),
}
ALL = pytest.mark.parametrize("form", FORMS.values(), ids=FORMS.keys())
# One form of each loss, for what its hyper-parameters do not change.
EDGES = {name: FORMS[name] for name in ("reverse", "symmetric", "skew_forward", "skew_reverse", "js", "gjsd", "tv")}
EACH = pytest.mark.parametrize("form", [*EDGES.values(), FORMS["forward_ce"]], ids=[*EDGES, "forward_ce"])
DIVERGENCES = pytest.mark.parametrize("form", [*EDGES.values(), FORMS["forward"]], ids=[*EDGES, "forward"])


def wanted(form, teacher, student, temperature):
    """Return the closed form of each row, and its gradient with respect to the student's logits."""
    p, q = softmax(teacher.astype("float64") / temperature), softmax(student.astype("float64") / temperature)
    slope = form.slope(p, q)
    return form.value(p, q), q * (slope - np.sum(q * slope, -1, keepdims=True)) / temperature


@ALL
@pytest.mark.parametrize(
    "shape, temperature, dtype, rtol, atol",
    [
        ((5, 3), 1.0, "float64", 1e-9, 1e-12),
        ((2, 3, 7), 20.0, "float64", 1e-9, 1e-12),
        ((1, 2), 0.5, "float32", 1e-4, 1e-6),
        ((2, 100), 2.0, "float32", 1e-4, 1e-6),
    ],
)
def test_value_and_gradient(form, shape, temperature, dtype, rtol, atol):
    teacher, student = pair(*shape, dtype=dtype)
    value, gradient = value_and_gradient(form.make(temperature), teacher, student)
    values, gradients = wanted(form, teacher, student, temperature)
    assert value.dtype == dtype
    np.testing.assert_allclose(value, values.mean(), rtol=rtol)
    np.testing.assert_allclose(gradient, gradients / values.size, rtol=rtol, atol=atol)


@EACH
@pytest.mark.parametrize("dtype, rtol, atol", [("float64", 1e-9, 1e-12), ("float32", 1e-4, 1e-6)])
def test_teacher_and_student_sure_of_different_classes(form, dtype, rtol, atol):
    teacher, student = np.full((2, 4, 6), -40, dtype)
    teacher[np.arange(4), [0, 1, 2, 3]], student[np.arange(4), [1, 1, 0, 5]] = 40, 40
    teacher[:, 4], student[:, 4] = [30, 38, -20, 0], [39, 0, 12, -39]
    value, gradient = value_and_gradient(form.make(1.0), teacher, student)
    values, gradients = wanted(form, teacher, student, 1.0)
    np.testing.assert_allclose(value, values.mean(), rtol=rtol)
    np.testing.assert_allclose(gradient, gradients / 4, rtol=rtol, atol=atol)


@DIVERGENCES
def test_nearly_equal_distributions_in_float32(form):
    teacher, student = pair(4, 10)
    value, gradient = value_and_gradient(form.make(1000.0), teacher, student)
    double = value_and_gradient(form.make(1000.0), teacher.astype("float64"), student.astype("float64"))
    np.testing.assert_allclose(value, double[0], rtol=1e-5)
    np.testing.assert_allclose(gradient, double[1], rtol=1e-4, atol=1e-5 * np.abs(double[1]).max())


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@DIVERGENCES
def test_student_that_is_the_teacher_has_nothing_to_learn(form, dtype):
    same = np.concatenate([pair(3, 5, dtype=dtype, spread=40.0)[0], np.zeros((1, 5), dtype)])
    value, gradient = value_and_gradient(form.make(2.0), same, same)
    assert value == 0.0 and not gradient.any()


@EACH
@pytest.mark.parametrize("temperature", [0.5, 1000.0])
def test_gaps_of_a_thousand_stay_finite(form, temperature):
    ends = np.array([[1000, 0, 0], [0, 1000, 1], [0, 0, 0], [-1000, 1000, 3], [500, 500, -500]], "float32")
    student = np.concatenate([ends, -ends, ends[::-1], np.zeros_like(ends)])
    value, gradient = value_and_gradient(form.make(temperature), np.tile(ends, (4, 1)), student)
    assert np.isfinite(value) and value >= 0.0 and np.isfinite(gradient).all()


@EACH
def test_classes_ruled_out_by_both_add_nothing(form):
    teacher, student = np.array([[1.0, -np.inf, 2.0]], "float32"), np.array([[0.5, -np.inf, -1.0]], "float32")
    value, gradient = value_and_gradient(form.make(1.0), teacher, student)
    without = value_and_gradient(form.make(1.0), teacher[:, ::2], student[:, ::2])
    np.testing.assert_allclose(value, without[0], rtol=1e-6)
    np.testing.assert_allclose(gradient[:, ::2], without[1], rtol=1e-5)
    assert gradient[0, 1] == 0.0


@EACH
def test_padding_changes_nothing(form):
    teacher, student = pair(2, 3, 5)
    mask = np.array([[True, True, False], [True, False, False]])
    values, gradients = wanted(form, teacher, student, 1.0)
    teacher[~mask], student[~mask] = [[np.inf], [np.nan], [3e38]], [[np.nan], [-np.inf], [-3e38]]
    value, gradient = value_and_gradient(form.make(1.0), teacher, student, mask=mask)
    np.testing.assert_allclose(value, values[mask].mean(), rtol=1e-5)
    np.testing.assert_allclose(gradient[mask], gradients[mask] / 3, rtol=1e-4, atol=1e-6)
    assert not gradient[~mask].any()


@pytest.mark.parametrize("lam", [1e-7, 1e-3, 0.5, 0.999, 1 - 1e-7])
@pytest.mark.parametrize("function", [skewed.skew_forward_kl, skewed.skew_reverse_kl, distances.js_distance])
def test_any_share_of_the_mixture(function, lam):
    logits = np.array([[40.0, 0, 3], [0, 1, 2], [-40, 40, 0]]), np.array([[0, 40.0, -7], [0.25, 1, 2], [0, 40, -40]])
    values = {}
    for dtype in ("float32", "float64"):
        teacher, student = (tf.constant(each, dtype) for each in logits)
        with tf.GradientTape() as tape:
            tape.watch(student)
            rows = function(teacher, student, lam=lam)
        gradient = tape.gradient(rows, student)
        assert np.isfinite(rows).all() and np.isfinite(gradient).all()
        values[dtype] = rows.numpy()
    np.testing.assert_allclose(values["float32"], values["float64"], rtol=1e-4)


@pytest.mark.parametrize("beta", [0.1, 0.5, 0.75])
def test_the_two_names_of_one_mixture(beta):
    teacher, student = pair(4, 5, dtype="float64")
    ours = distances.generalized_jsd(teacher, student, 2.0, beta=beta)
    np.testing.assert_allclose(ours, distances.js_distance(teacher, student, 2.0, lam=1 - beta), rtol=1e-12)


def test_the_ends_of_the_mixture_have_nothing_to_learn():
    teacher, student = pair(4, 5)
    for loss in (distances.JSDistance(lam=0.0), distances.JSDistance(lam=1.0), skewed.SkewForwardKL(lam=1.0)):
        value, gradient = value_and_gradient(loss, teacher, student)
        assert value == 0.0 and not gradient.any()


def test_entropy_moves_the_value_and_not_the_gradient():
    teacher, student = pair(4, 5, dtype="float64")
    for loss in (directed.ForwardKL, directed.SymmetricKL, skewed.SkewForwardKL):
        one, other = (
            value_and_gradient(loss(subtract_entropy=subtract), teacher, student) for subtract in (True, False)
        )
        share = 0.1 if loss is directed.SymmetricKL else 1.0
        np.testing.assert_allclose(other[0] - one[0], share * entropy(softmax(teacher)).mean(), rtol=1e-12)
        np.testing.assert_array_equal(one[1], other[1])


class TestPerSequence:
    """The positions of a sample added up, the samples averaged."""

    def test_no_mask(self):
        teacher, student = pair(3, 4, 5)
        values, gradients = wanted(FORMS["gjsd"], teacher, student, 1.0)
        loss = distances.GeneralizedJSD(per_sequence=True)
        value, gradient = value_and_gradient(loss, teacher, student)
        np.testing.assert_allclose(value, values.sum() / 3, rtol=1e-5)
        np.testing.assert_allclose(gradient, gradients / 3, rtol=1e-4, atol=1e-6)
        np.testing.assert_allclose(loss.compute_loss(teacher[:, 0], student[:, 0]), values[:, 0].mean(), rtol=1e-5)

    def test_mask_and_weights(self):
        teacher, student = pair(4, 3, 5)
        values, _ = wanted(FORMS["gjsd"], teacher, student, 1.0)
        mask = np.array([[True, True, False], [True, True, True], [False] * 3, [True, False, False]])
        weights = np.random.default_rng(0).uniform(size=(4, 3)).astype("float32")
        teacher[~mask] = np.nan
        loss = distances.GeneralizedJSD(per_sequence=True)
        # The third sample is all padding: there are three.
        value, gradient = value_and_gradient(loss, teacher, student, mask=mask)
        np.testing.assert_allclose(value, values[mask].sum() / 3, rtol=1e-5)
        assert not gradient[~mask].any()
        value, _ = value_and_gradient(loss, teacher, student, sample_weight=weights, mask=mask)
        np.testing.assert_allclose(value, (values * weights)[mask].sum() / 3, rtol=1e-5)

    def test_unknown_lengths(self):
        @tf.function(jit_compile=True, input_signature=[tf.TensorSpec((None, None, 5))] * 2)
        def compute(teacher, student):
            return distances.GeneralizedJSD(per_sequence=True).compute_loss(teacher, student)

        teacher, student = pair(3, 4, 5)
        values, _ = wanted(FORMS["gjsd"], teacher, student, 1.0)
        np.testing.assert_allclose(compute(teacher, student), values.sum() / 3, rtol=1e-5)

    def test_nothing_but_padding(self):
        teacher, student = pair(2, 3, 5)
        loss = distances.GeneralizedJSD(per_sequence=True)
        value, gradient = value_and_gradient(loss, teacher, student, mask=np.zeros((2, 3), bool))
        assert value == 0.0 and not gradient.any()


@pytest.mark.parametrize(
    "make, message",
    [
        (lambda: directed.SymmetricKL(lam=1.5), r"^Expected lam to be a number from 0 to 1\. Received: lam=1\.5\.$"),
        (lambda: skewed.SkewForwardKL(lam=-0.1), r"^Expected lam to be a number from 0 to 1\. Received: lam=-0\.1\.$"),
        (
            lambda: skewed.SkewReverseKL(lam="0.1"),
            r"^Expected lam to be a number from 0 to 1\. Received: lam='0\.1'\.$",
        ),
        (lambda: distances.JSDistance(lam=None), r"^Expected lam to be a number from 0 to 1\. Received: lam=None\.$"),
        (lambda: distances.GeneralizedJSD(beta=2), r"^Expected beta to be a number from 0 to 1\. Received: beta=2\.$"),
        (lambda: directed.ReverseKL(0.0), r"^Expected a finite temperature > 0\. Received: temperature=0\.0\.$"),
    ],
)
def test_hyper_parameters_out_of_range_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()
