"""An exact student is not pushed away, on any backend: on JAX, `keras.ops.abs` has a slope of one at zero."""

import keras
import numpy as np
import pytest
from keras import ops

import keras_distill as kd
from keras_distill.losses.divergences import absolute
from tests import gradients
from tests.losses.loss_table import pair

MAPS = (3, 4, 4, 6)
EXACT = {
    "mae": (lambda: kd.losses.FeatureDistillation("mae"), (3, 5)),
    "mean_absolute_error": (lambda: kd.losses.FeatureDistillation("mean_absolute_error"), MAPS),
    "MeanAbsoluteError": (lambda: kd.losses.FeatureDistillation(keras.losses.MeanAbsoluteError()), (3, 5)),
    "mape": (lambda: kd.losses.FeatureDistillation("mape"), (3, 5)),
    "function": (lambda: kd.losses.FeatureDistillation(keras.losses.mean_absolute_error), (3, 5)),
    "huber": (lambda: kd.losses.FeatureDistillation("huber"), (3, 5)),
    "logits by mae": (lambda: kd.losses.LogitsDistillation(2.0, "mae"), (3, 5)),
    "ft": (lambda: kd.losses.FT(), [MAPS]),
    "ft_maps": (lambda: kd.losses.FT(form="map"), [MAPS]),
    "at": (lambda: kd.losses.AT(power=1), MAPS),
    "cc": (lambda: kd.losses.CC("delta"), (4, 5)),
    "tv_distance": (kd.losses.TVDistance, (3, 5)),
}


@pytest.mark.parametrize("make, shape", EXACT.values(), ids=EXACT)
def test_an_exact_student_has_nothing_to_learn(make, shape):
    staged = isinstance(shape, list)
    same = pair(*(shape[0] if staged else shape))[0]

    def loss(student):
        return make().compute_loss([same] if staged else same, [student] if staged else student)

    value, gradient = gradients.value_and_gradient(loss, same)
    assert float(value) == 0.0 and np.abs(np.array(gradient)).max() == 0.0


@pytest.mark.parametrize("make", [lambda: kd.losses.FeatureDistillation("mae"), kd.losses.FT], ids=["mae", "ft"])
def test_only_elements_that_are_equal_have_no_slope(make):
    teacher, student = pair(*MAPS)
    staged = isinstance(make(), kd.losses.FT)
    if staged:  # Of unit length, so that an equal element stays equal.
        teacher, student = np.zeros((2, 1, 1, 1, 4), "float32")
        teacher[..., :3], student[..., 1:] = [0.6, 0.0, 0.8], [0.0, 0.8, 0.6]
    else:
        student[..., 0] = teacher[..., 0]

    def loss(student):
        return make().compute_loss([teacher] if staged else teacher, [student] if staged else student)

    gradient = np.array(gradients.value_and_gradient(loss, student)[1])
    if staged:
        # d|u_s - u_t| through u = s / |s|: signs (-, 0, 0, +), less their part along s.
        signs = np.array([-1.0, 0.0, 0.0, 1.0]) / 4
        np.testing.assert_allclose(gradient.ravel(), signs - student.ravel() * (signs @ student.ravel()), atol=1e-6)
    else:
        np.testing.assert_allclose(gradient, np.sign(student - teacher) / student.size, rtol=1e-5)


def test_absolute():
    values = np.array([-2.0, -0.0, 0.0, 3.0, np.nan, -np.inf], "float32")
    value, slopes = gradients.value_and_gradient(absolute, values)
    np.testing.assert_array_equal(value, np.abs(values))
    np.testing.assert_array_equal(np.array(slopes)[:4], [-1.0, 0.0, 0.0, 1.0])
    assert ops.shape(value) == (6,)
