"""Standardised logits: the transformation by itself, and under the losses it wraps."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from loss_table import pair, softmax, value_and_gradient

import keras_distill as kd
from keras_distill.losses.logits.directed import ReverseKL
from keras_distill.losses.logits.learned_temperature import CTKD, GlobalTemperature
from keras_distill.losses.logits.standardized import LogitStandardization, standardize
from tests import gradients
from tests.losses.method_table import LOGITS

EPSILON = 1e-7


def standardized(x):
    return (x - x.mean(-1, keepdims=True)) / (EPSILON + x.std(-1, ddof=1, keepdims=True))


def pulled_back(x, gradient):
    """Return the gradient with respect to rows `x` of what has `gradient` with respect to the standardised ones."""
    centred, deviation = x - x.mean(-1, keepdims=True), x.std(-1, ddof=1, keepdims=True)
    slope = np.sum(gradient * centred, -1, keepdims=True) / (EPSILON + deviation) ** 2
    slope = slope * np.divide(centred, deviation * (x.shape[-1] - 1), out=0 * centred, where=deviation > 0)
    through = gradient / (EPSILON + deviation)
    return through - through.mean(-1, keepdims=True) - slope


def wanted(teacher, student, temperature):
    """Return the closed form of soft targets on standardised logits, and its gradient, row by row."""
    teacher, student = teacher.astype("float64"), student.astype("float64")
    p, q = (softmax(standardized(x) / temperature) for x in (teacher, student))
    values = temperature**2 * np.sum(p * np.log(p / q), -1)
    return values, pulled_back(student, temperature * (q - p))


@pytest.mark.parametrize("shape", [(5, 3), (1, 2), (2, 100), (2, 3, 7), (2, 2, 2, 5)])
@pytest.mark.parametrize("temperature", [0.5, 4.0, 1000.0])
@pytest.mark.parametrize("dtype, rtol, atol", [("float64", 1e-9, 1e-12), ("float32", 1e-4, 1e-6)])
def test_value_and_gradient(shape, temperature, dtype, rtol, atol):
    teacher, student = pair(*shape, dtype=dtype)
    loss = LogitStandardization(kd.losses.LogitsDistillation(temperature))
    value, gradient = value_and_gradient(loss, teacher, student)
    values, gradients = wanted(teacher, student, temperature)
    # Two standardised classes are always +-0.707: all that is left of the closed form is its own rounding.
    rtol = max(rtol, 1e-6) if temperature == 1000.0 else rtol
    np.testing.assert_allclose(value, values.mean(), rtol=rtol, atol=1e-9)
    np.testing.assert_allclose(gradient, gradients / values.size, rtol=rtol, atol=max(atol, 1e-12 * temperature))


@pytest.mark.parametrize("dtype, rtol, atol", [("float64", 1e-9, 1e-12), ("float32", 1e-4, 1e-3)])
@pytest.mark.parametrize("constant", [0.0, 0.1, -1000.7])
def test_constant_row(constant, dtype, rtol, atol):
    teacher, student = pair(3, 10, dtype=dtype)
    student[1] = constant
    assert not standardize(student).numpy()[1].any()
    value, gradient = value_and_gradient(LogitStandardization(kd.losses.LogitsDistillation(2.0)), teacher, student)
    student[1] = 0
    values, gradients = wanted(teacher, student, 2.0)
    assert np.abs(gradients[1]).max() > 1e5
    np.testing.assert_allclose(value, values.mean(), rtol=rtol)
    np.testing.assert_allclose(gradient[1], gradients[1] / 3, rtol=rtol, atol=atol * 1e2)
    np.testing.assert_allclose(gradient[[0, 2]], gradients[[0, 2]] / 3, rtol=rtol, atol=atol)


@pytest.mark.parametrize("scale", [1e-30, 1e-20, 1e20, 1e37])
def test_rows_of_any_size_stay_finite(scale):
    teacher, student = pair(3, 5)
    for one, other in ((teacher * np.float32(scale), student), (teacher, student * np.float32(scale))):
        value, gradient = value_and_gradient(LogitStandardization(kd.losses.LogitsDistillation()), one, other)
        assert np.isfinite(value) and np.isfinite(gradient).all()
    np.testing.assert_allclose(
        standardize(teacher * np.float32(scale), epsilon=1e-37),
        standardized(teacher.astype("float64")),
        rtol=1e-4,
        atol=1e-6,
    )


def test_scale_and_shift_of_the_student_do_not_matter():
    teacher, student = pair(6, 5, dtype="float64")
    loss = LogitStandardization(kd.losses.LogitsDistillation(4.0))
    value = loss.compute_loss(teacher, student)
    np.testing.assert_allclose(loss.compute_loss(teacher, 3.0 * student - 7.0), value, rtol=1e-6)
    np.testing.assert_allclose(loss.compute_loss(teacher, 2.0 * teacher + 5.0), 0.0, atol=1e-12)
    assert loss.compute_loss(teacher, teacher) == 0.0
    assert loss.compute_loss(teacher, -teacher) > 1.0


@pytest.mark.parametrize("jit", [None, False, True])
def test_padding_changes_nothing(jit):
    teacher, student = pair(2, 3, 5)
    mask = np.array([[True, True, False], [True, False, False]])
    values, gradients = wanted(teacher, student, 3.0)
    teacher[~mask], student[~mask] = np.inf, np.nan
    loss = LogitStandardization(kd.losses.LogitsDistillation(3.0))
    value, gradient = value_and_gradient(loss, teacher, student, mask=mask, jit=jit)
    np.testing.assert_allclose(value, values[mask].mean(), rtol=1e-5)
    np.testing.assert_allclose(gradient, np.where(mask[..., None], gradients, 0.0) / 3, rtol=1e-4, atol=1e-6)


def test_weights_reach_the_inner_loss():
    teacher, student = pair(4, 5)
    weights = np.array([0.0, 1.0, 2.0, 0.5], "float32")
    values, _ = wanted(teacher, student, 3.0)
    value, _ = value_and_gradient(LogitStandardization(kd.losses.LogitsDistillation()), teacher, student, weights)
    np.testing.assert_allclose(value, np.mean(values * weights), rtol=1e-5)


def test_softmax_heads_are_looked_under():
    teacher, student = pair(4, 5)
    loss = LogitStandardization(kd.losses.LogitsDistillation())
    heads = (keras.activations.softmax(tf.constant(each)) for each in (teacher, student))
    np.testing.assert_allclose(loss.compute_loss(*heads), wanted(teacher, student, 3.0)[0].mean(), rtol=1e-5)


def test_outputs_add_up():
    (v1, z1), (v2, z2) = pair(4, 3), pair(4, 5, seed=1)
    loss = LogitStandardization(kd.losses.LogitsDistillation())
    value = loss.compute_loss({"a": v1, "b": v2}, {"a": z1, "b": z2})
    np.testing.assert_allclose(value, wanted(v1, z1, 3.0)[0].mean() + wanted(v2, z2, 3.0)[0].mean(), rtol=1e-5)


class TestInnerLoss:
    """Whatever the inner loss is, has and needs, is seen through the wrapper."""

    def test_any_loss_of_logits(self):
        teacher, student = pair(4, 5, dtype="float64")
        value = LogitStandardization(ReverseKL(2.0)).compute_loss(teacher, student)
        p, q = (softmax(standardized(x) / 2.0) for x in (teacher, student))
        np.testing.assert_allclose(value, np.mean(np.sum(q * np.log(q / p), -1)), rtol=1e-9)

    def test_a_loss_of_ones_own_that_needs_labels(self):
        class AtTheLabel(kd.losses.DistillationLoss):
            compares_logits = True

            def per_sample(self, teacher_output, student_output, labels):
                chosen = keras.ops.one_hot(labels, teacher_output.shape[-1], dtype=teacher_output.dtype)
                return keras.ops.sum(chosen * keras.ops.abs(teacher_output - student_output), axis=-1)

        teacher, student = pair(3, 5, dtype="float64")
        loss = LogitStandardization(AtTheLabel())
        assert loss.name == "logit_std_at_the_label" and loss.needs == ("labels",) and loss.temperature is None
        gaps = np.abs(standardized(teacher) - standardized(student))
        value = loss.compute_loss(teacher, student, labels=np.array([2, 0, -100]))
        np.testing.assert_allclose(value, (gaps[0, 2] + gaps[1, 0]) / 2, rtol=1e-9)
        with pytest.raises(ValueError, match=r"^Expected labels, which the loss 'at_the_label' needs\. Received: none"):
            loss.compute_loss(teacher, student)

    def test_temperature_of_the_step(self):
        teacher, student = pair(4, 5)
        loss = LogitStandardization(ReverseKL(2.0))
        assert loss.temperature == 2.0 and loss.name == "logit_std_reverse_kl"
        hot = loss.compute_loss(teacher, student, temperature=tf.constant(8.0))
        np.testing.assert_allclose(hot, LogitStandardization(ReverseKL(8.0)).compute_loss(teacher, student), rtol=1e-6)

    def test_temperature_that_is_learnt(self):
        teacher, student = pair(4, 5)
        loss = LogitStandardization(CTKD())
        adapter = loss.make_adapter((None, 5), (None, 5))
        assert isinstance(adapter, GlobalTemperature) and loss.adapt(student, adapter) is student
        temperature = float(adapter.temperature)
        value = loss.compute_loss(teacher, student, adapter=adapter)
        np.testing.assert_allclose(value, wanted(teacher, student, temperature)[0].mean(), rtol=1e-4)

    def test_saved_with_the_inner_loss(self):
        loss = LogitStandardization(ReverseKL(2.0), epsilon=1e-3, name="mine")
        again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(loss))
        assert repr(again) == repr(loss) == "LogitStandardization(ReverseKL(temperature=2.0), epsilon=0.001)"
        assert again.name == "mine" and isinstance(again.loss, ReverseKL)

    def test_by_name(self):
        loss = LogitStandardization("reverse_kl")
        assert isinstance(loss.loss, ReverseKL) and loss.name == "logit_std_reverse_kl"
        assert LogitStandardization().name == "logit_std_kd"

    def test_outputs_that_do_not_fit_are_refused(self):
        loss = LogitStandardization(ReverseKL())
        with pytest.raises(ValueError, match=r"^Expected teacher and student to have the same number of classes"):
            loss.validate_outputs(np.zeros((2, 3)), np.zeros((2, 4)))

    @pytest.mark.parametrize("loss", [None, 3.0, keras.losses.KLDivergence(), kd.losses.FeatureDistillation()])
    def test_what_is_no_loss_of_logits_is_refused(self, loss):
        message = (
            r"^Expected a distillation loss that compares logits, or its name\. Received: loss=.*\. Pass a loss of"
        )
        with pytest.raises(ValueError, match=message):
            LogitStandardization(loss)

    @pytest.mark.parametrize("epsilon", [0.0, -1e-7, None])
    def test_epsilon_out_of_range_is_refused(self, epsilon):
        with pytest.raises(ValueError, match=r"^Expected epsilon to be a finite number > 0\. Received: epsilon="):
            LogitStandardization(ReverseKL(), epsilon=epsilon)


@pytest.mark.parametrize("who", ["teacher", "student", "both"])
@pytest.mark.parametrize("name", LOGITS)
def test_excluded_classes(name, who):
    """A logit of -inf excludes a class: the others are standardized as if it did not exist."""
    rows = [np.random.default_rng(seed).normal(size=(6, 5)).astype("float32") for seed in (0, 1)]
    excluded = [row.copy() for row in rows]
    for side, row in zip(("teacher", "student"), excluded, strict=True):
        if who in (side, "both"):
            row[:, 1] = -np.inf
    labels = {"labels": np.array([0, 2, 3, 4, 0, 2])}
    loss = kd.losses.get(name) if name.startswith("logit_std_") else kd.losses.get(f"logit_std_{name}")
    given = {"adapter": loss.make_adapter((None, 5), (None, 5))}  # A layer for `ctkd`, `None` for the others.

    def compute(student):
        return loss.compute_loss(excluded[0], student, **labels, **given)

    value, gradient = map(np.array, gradients.value_and_gradient(compute, excluded[1]))
    assert np.isfinite(value) and np.isfinite(gradient).all()
    if who == "both" and name in ("kd", "logit_std_kd", "forward_kl", "tv_distance", "soft_target_ce", "js_distance"):
        others = [np.delete(row, 1, axis=1) for row in rows]
        np.testing.assert_allclose(value, loss.compute_loss(*others, **labels), rtol=1e-5)


def test_standardized_rows_with_excluded_classes():
    found = np.array(standardize(np.array([[4.0, -np.inf, 6.0, 8.0], [-np.inf, 3.0, -np.inf, -np.inf]])))
    np.testing.assert_allclose(found, [[-1.0, -np.inf, 0.0, 1.0], [-np.inf, 0.0, -np.inf, -np.inf]], atol=1e-6)
