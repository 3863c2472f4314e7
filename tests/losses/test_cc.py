"""CC: kernels and products of consecutive errors in closed form, masks, widths."""

import math

import numpy as np
import pytest
from loss_table import value_and_gradient
from map_oracles import check, random_maps

from keras_distill.losses.embeddings.cc import CC, cc


def kernel_oracle(gamma=None, max_order=2):
    def kernel(x):
        products = x @ x.T
        if gamma is None:
            return products
        terms = [(2 * gamma) ** p / math.factorial(p) * products**p for p in range(max_order + 1)]
        return math.exp(-2 * gamma) * sum(terms)

    return lambda teacher, student: np.linalg.norm(kernel(student) - kernel(teacher)) / len(student) ** 2


def delta_oracle(teacher, student):
    errors = np.abs(student - teacher)
    return np.mean([errors[i] @ errors[i + 1] for i in range(len(errors) - 1)])


@pytest.mark.parametrize("gamma, max_order", [(0.4, 2), (0.4, 4), (1.5, 1), (0.1, 7)])
@pytest.mark.parametrize("teacher, student", [((8, 24), (8, 16)), ((2, 3), (2, 5)), ((1, 2), (1, 3))])
def test_gaussian(teacher, student, gamma, max_order):
    teacher, student = (each / 4 for each in random_maps(teacher, student))
    check(CC(gamma=gamma, max_order=max_order), kernel_oracle(gamma, max_order), teacher, student)


@pytest.mark.parametrize("teacher, student", [((8, 24), (8, 16)), ((2, 3), (2, 5)), ((1, 2), (1, 3))])
def test_bilinear(teacher, student):
    check(CC("bilinear"), kernel_oracle(), *random_maps(teacher, student))


def test_a_high_order_is_the_gaussian_kernel_of_unit_rows():
    teacher, student = (each / np.linalg.norm(each, axis=1, keepdims=True) for each in random_maps((5, 4), (5, 3)))
    teacher_kernel, student_kernel = (np.exp(-0.4 * ((x[:, None] - x[None]) ** 2).sum(-1)) for x in (teacher, student))
    wanted = np.linalg.norm(student_kernel - teacher_kernel) / 25
    np.testing.assert_allclose(CC(max_order=20).compute_loss(teacher, student), wanted, rtol=1e-12)


@pytest.mark.parametrize("shape", [(8, 16), (2, 3), (5, 1)])
def test_delta(shape):
    check(CC("delta"), delta_oracle, *random_maps(shape, shape))


@pytest.mark.parametrize("form", ["gaussian", "bilinear", "delta"])
@pytest.mark.parametrize("jit", [None, True])
def test_the_teacher_itself_is_zero_and_stays_there(form, jit):
    teacher, _ = random_maps((6, 4), (6, 4), dtype="float32")
    value, gradient = value_and_gradient(CC(form), teacher, teacher, jit=jit)
    assert value == 0.0 and not gradient.any()


@pytest.mark.parametrize("jit", [None, True])
def test_one_sample_has_no_consecutive_one(jit):
    value, gradient = value_and_gradient(CC("delta"), np.zeros((1, 3), "float32"), np.ones((1, 3), "float32"), jit=jit)
    assert value == 0.0 and not gradient.any()


@pytest.mark.parametrize("form", ["gaussian", "bilinear", "delta"])
@pytest.mark.parametrize("content", [np.nan, np.inf, 0.0, 1e30])
@pytest.mark.parametrize("kept", [[1, 2, 4, 6], [0, 6], [3], []])
def test_masked_samples_leave_the_batch(form, content, kept):
    teacher, student = random_maps((7, 3), (7, 3))
    mask = np.isin(np.arange(7), kept)
    alone = value_and_gradient(CC(form), teacher[mask], student[mask]) if kept else (0.0, np.zeros((0, 3)))
    teacher[~mask], student[~mask] = content, content
    value, gradient = value_and_gradient(CC(form), teacher, student, mask=mask)
    np.testing.assert_allclose(value, alone[0], rtol=1e-10)
    np.testing.assert_allclose(gradient[mask], alone[1], rtol=1e-9, atol=1e-14)
    assert not gradient[~mask].any()


@pytest.mark.parametrize("form", ["gaussian", "bilinear", "delta"])
def test_the_value_is_that_of_the_batch_for_every_sample(form):
    teacher, student = random_maps((6, 4), (6, 4))
    values = np.array(cc(teacher, student, form))
    assert values.shape == (6,) and (values == values[0]).all() and values[0] > 0
    np.testing.assert_allclose(CC(form).compute_loss(teacher, student), values[0], rtol=1e-12)


def test_large_embeddings_stay_finite_in_float32():
    teacher, student = (1e4 * each for each in random_maps((4, 3), (4, 3), dtype="float32"))
    value, gradient = value_and_gradient(CC(max_order=4), teacher, student)
    wide = value_and_gradient(CC(max_order=4), teacher.astype("float64"), student.astype("float64"))
    np.testing.assert_allclose(value, wide[0], rtol=1e-5)
    np.testing.assert_allclose(gradient, wide[1], rtol=1e-4)


def test_only_the_form_that_needs_one_width_has_an_adapter():
    assert CC("delta").make_adapter((None, 8), (None, 4)).units == 8
    assert CC("delta").make_adapter((None, 8), (None, 8)) is None
    assert CC("gaussian").make_adapter((None, 8), (None, 4)) is None
    with pytest.raises(ValueError, match=r"one width for the form 'delta'\. Received: widths of 3 and 2\. Train"):
        CC("delta").compute_loss(*random_maps((4, 3), (4, 2)))


@pytest.mark.parametrize(
    "arguments, message",
    [
        ({"form": "cosine"}, "form to be one of bilinear, delta, gaussian. Received: 'cosine'."),
        ({"gamma": 0.0}, "gamma to be a finite number > 0. Received: gamma=0.0"),
        ({"max_order": 0}, "max_order to be a whole number >= 1. Received: max_order=0"),
        ({"max_order": 1.5}, "max_order to be a whole number >= 1. Received: max_order=1.5"),
    ],
)
def test_bad_arguments_are_refused(arguments, message):
    with pytest.raises(ValueError) as error:
        CC(**arguments)
    assert str(error.value).startswith(f"Expected {message}")
