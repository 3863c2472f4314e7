"""Attention transfer: closed forms, edges, bad input."""

import numpy as np
import pytest
import tensorflow as tf
from loss_table import value_and_gradient
from map_oracles import check, pool_to_match, random_maps, unit

from keras_distill.losses.feature_maps.attention import AT, at

SHAPES = [
    ((4, 8, 8, 3), (4, 8, 8, 5)),
    ((3, 4, 4, 6), (3, 8, 8, 2)),
    ((2, 7, 7, 4), (2, 5, 5, 4)),
    ((1, 6, 3, 2), (1, 4, 5, 2)),
]


def oracle(power, form):
    def compute(teacher, student):
        maps = pool_to_match(teacher, student)
        if form == "paper":
            teacher, student = (unit((np.abs(x) ** power).sum(-1), axis=(1, 2)) for x in maps)
            return np.sqrt(((student - teacher) ** 2).sum((1, 2))).mean()
        teacher, student = (unit((x**power).mean(-1), axis=(1, 2)) for x in maps)
        return ((student - teacher) ** 2).mean()

    return compute


@pytest.mark.parametrize("form", ["paper", "mean"])
@pytest.mark.parametrize("power", [1, 2, 3, 4])
@pytest.mark.parametrize("teacher, student", SHAPES)
def test_values_and_slopes(teacher, student, power, form):
    check(AT(power=power, form=form), oracle(power, form), *random_maps(teacher, student))


def test_the_form_of_the_paper_is_the_default():
    maps = random_maps((2, 4, 4, 3), (2, 4, 4, 3))
    assert AT().get_config()["form"] == "paper" and AT().get_config()["power"] == 2
    np.testing.assert_array_equal(at(*maps), at(*maps, power=2, form="paper"))


def test_signs_count_in_the_authors_code_only():
    teacher, student = random_maps((2, 4, 4, 3), (2, 4, 4, 3))
    np.testing.assert_allclose(at(teacher, -teacher, power=3), 0.0, atol=1e-12)
    assert np.all(at(teacher, -teacher, power=3, form="mean").numpy() > 0.1)
    np.testing.assert_allclose(at(teacher, -student, 4, "mean"), at(teacher, student, 4, "mean"), rtol=1e-12)


@pytest.mark.parametrize("form", ["paper", "mean"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_edges(form, dtype):
    teacher, student = random_maps((3, 4, 4, 3), (3, 4, 4, 3), dtype=dtype)
    student[0], student[1], teacher[2] = 0.0, teacher[1], 0.0
    values = at(teacher, student, form=form)
    assert values[1] == 0.0 and np.all(np.isfinite(values)) and values[0] > 0.0 and values[2] > 0.0
    slopes = value_and_gradient(AT(form=form), teacher, student)[1]
    assert np.all(slopes[:2] == 0.0) and np.all(np.isfinite(slopes)) and np.any(slopes[2] != 0.0)
    nothing = value_and_gradient(AT(form=form), 0.0 * teacher, 0.0 * student)
    assert nothing[0] == 0.0 and np.all(nothing[1] == 0.0)


def test_scale_does_not_count():
    teacher, student = random_maps((2, 4, 4, 3), (2, 4, 4, 3), dtype="float32")
    for scale in (2.0**-30, 2.0**20):
        # The lower end is where the smallest length to divide by begins to count.
        scaled = at(teacher * np.float32(scale), student, power=1)
        np.testing.assert_allclose(scaled, at(teacher, student, power=1), rtol=1e-5)


def test_samples_are_independent():
    teacher, student = random_maps((3, 4, 4, 3), (3, 4, 4, 3))
    teacher[1] = np.nan
    values = at(teacher, student).numpy()
    np.testing.assert_array_equal(values[[0, 2]], at(teacher[[0, 2]], student[[0, 2]]))
    value, slopes = value_and_gradient(AT(), teacher, student, mask=np.array([True, False, True]))
    np.testing.assert_allclose(value, values[[0, 2]].mean(), rtol=1e-12)
    assert np.all(slopes[1] == 0.0) and np.all(np.isfinite(slopes))


@pytest.mark.parametrize("power", [0, 0.5, 2.5, -1, "2", np.inf])
def test_bad_powers_are_refused(power):
    with pytest.raises(ValueError, match=r"^Expected power to be a .* number.*\. Received: power="):
        AT(power=power)


def test_bad_input():
    with pytest.raises(ValueError, match=r"^Expected form to be one of mean, paper\. Received: 'papr'\. Did you mean"):
        AT(form="papr")
    with pytest.raises(ValueError, match=r"^Expected feature maps .* for the loss 'at'\. Received: student features"):
        AT().validate_outputs(tf.zeros((2, 4, 4, 3)), tf.zeros((2, 4)))
