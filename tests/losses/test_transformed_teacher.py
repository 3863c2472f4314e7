"""Transformed teacher matching against its closed forms."""

import numpy as np
import pytest
import tensorflow as tf
from loss_table import pair, softmax, value_and_gradient

from keras_distill.losses import divergences
from keras_distill.losses.logits.transformed_teacher import TTM, WTTM, ttm, wttm

BOTH = pytest.mark.parametrize("loss", [TTM, WTTM])


def wanted(loss, teacher, student, temperature):
    """Return the closed form of each row, and its gradient with respect to the student's logits."""
    powers = softmax(teacher.astype("float64")) ** (1 / temperature)
    weights = powers.sum(-1, keepdims=True)
    p, q = powers / weights, softmax(student.astype("float64"))
    weights = weights if loss is WTTM else np.ones_like(weights)
    return weights[..., 0] * np.sum(p * np.log(p / q), -1), weights * (q - p)


@BOTH
@pytest.mark.parametrize("shape", [(5, 3), (1, 2), (2, 100), (2, 3, 7)])
@pytest.mark.parametrize("temperature", [0.5, 4.0, 1000.0])
@pytest.mark.parametrize("dtype, rtol, atol", [("float64", 1e-9, 1e-12), ("float32", 1e-4, 1e-6)])
def test_value_and_gradient(loss, shape, temperature, dtype, rtol, atol):
    teacher, student = pair(*shape, dtype=dtype)
    value, gradient = value_and_gradient(loss(temperature), teacher, student)
    values, gradients = wanted(loss, teacher, student, temperature)
    np.testing.assert_allclose(value, values.mean(), rtol=rtol)
    np.testing.assert_allclose(gradient, gradients / values.size, rtol=rtol, atol=atol)


def test_at_temperature_one_it_is_the_divergence():
    teacher, student = pair(4, 5)
    kl = divergences.kl_divergence(teacher, student)
    np.testing.assert_allclose(ttm(teacher, student, 1.0), kl, rtol=1e-6)
    np.testing.assert_allclose(wttm(teacher, student, 1.0), kl, rtol=1e-6)


def test_zero_where_the_student_is_the_softened_teacher():
    teacher, _ = pair(4, 5)
    for function in (ttm, wttm):
        np.testing.assert_array_equal(function(4.0 * teacher, teacher, 4.0), np.zeros(4))


def test_weight_of_a_teacher_that_is_sure_is_one():
    teacher, student = 1000.0 * np.eye(3, 5, dtype="float32"), pair(3, 5)[1]
    np.testing.assert_allclose(wttm(teacher, student, 2.0), ttm(teacher, student, 2.0), rtol=1e-6)


@BOTH
@pytest.mark.parametrize("temperature", [0.5, 1.0, 1000.0])
def test_gaps_of_a_thousand_stay_finite(loss, temperature):
    ends = np.array([[1000, 0, 0], [0, 1000, 1], [0, 0, 0], [-1000, 1000, 3], [500, 500, -np.inf]], "float32")
    student = np.concatenate([ends[:4], -ends[:4], np.zeros_like(ends[:4])])
    value, gradient = value_and_gradient(loss(temperature), np.tile(ends[[4, 0, 1, 2]], (3, 1)), student)
    assert np.isfinite(value) and value >= 0.0 and np.isfinite(gradient).all()


@BOTH
def test_logits_far_from_zero_lose_nothing(loss):
    teacher, student = pair(4, 5)
    value, gradient = value_and_gradient(loss(3.0), teacher + 2.0**16, student - 2.0**16)
    values, gradients = wanted(loss, teacher, student, 3.0)
    np.testing.assert_allclose(value, values.mean(), rtol=1e-5)
    np.testing.assert_allclose(gradient, gradients / 4, rtol=1e-4, atol=1e-6)


@BOTH
def test_padding_changes_nothing(loss):
    teacher, student = pair(2, 3, 5)
    mask = np.array([[True, True, False], [True, False, False]])
    values, gradients = wanted(loss, teacher, student, 4.0)
    teacher[~mask], student[~mask] = np.nan, np.nan
    value, gradient = value_and_gradient(loss(), teacher, student, mask=mask)
    np.testing.assert_allclose(value, values[mask].mean(), rtol=1e-5)
    np.testing.assert_allclose(gradient, np.where(mask[..., None], gradients, 0.0) / 3, rtol=1e-4, atol=1e-6)


@BOTH
def test_temperature_of_the_step_comes_first(loss):
    teacher, student = pair(4, 5)
    value = loss(4.0).compute_loss(teacher, student, temperature=tf.constant(2.0))
    np.testing.assert_allclose(value, loss(2.0).compute_loss(teacher, student), rtol=1e-6)


@BOTH
def test_temperature_out_of_range_is_refused(loss):
    with pytest.raises(ValueError, match=r"^Expected a finite temperature > 0\. Received: temperature=-1\.$"):
        loss(-1)
