"""Neuron selectivity transfer: the kernel mean by mean, both ways to compute it, edges."""

import numpy as np
import pytest
from loss_table import value_and_gradient
from map_oracles import check, pool_to_match, random_maps, unit

from keras_distill.losses.feature_maps import neuron_selectivity
from keras_distill.losses.feature_maps.neuron_selectivity import NST, nst

SHAPES = [
    ((4, 8, 8, 3), (4, 8, 8, 5)),  # More positions than channels.
    ((3, 6, 6, 4), (3, 6, 6, 4)),
    ((3, 2, 2, 6), (3, 4, 4, 2)),  # More channels than positions.
    ((2, 7, 7, 30), (2, 5, 5, 4)),
    ((1, 6, 3, 2), (1, 4, 5, 2)),
]


def oracle(teacher, student):
    """Three means of the kernel."""
    maps = pool_to_match(teacher, student)
    t, s = (unit(x.reshape(len(x), -1, x.shape[-1]), axis=1) for x in maps)

    def mean_kernel(one, other):
        return (np.einsum("bpi,bpj->bij", one, other) ** 2).mean()

    return mean_kernel(t, t) + mean_kernel(s, s) - 2 * mean_kernel(s, t)


@pytest.mark.parametrize("teacher, student", SHAPES)
def test_values_and_slopes(teacher, student):
    check(NST(), oracle, *random_maps(teacher, student))


@pytest.mark.parametrize("teacher, student", [((3, 5, 5, 4), (3, 5, 5, 7)), ((3, 3, 3, 4), (3, 3, 3, 4))])
def test_over_positions_and_over_channels_it_is_the_same(teacher, student):
    teacher, student = (neuron_selectivity._scale_channels(x) for x in random_maps(teacher, student))
    matrix = neuron_selectivity._position_products(student) - neuron_selectivity._position_products(teacher)
    values = neuron_selectivity._compare_channels(teacher, student)
    np.testing.assert_allclose(values, np.sum(np.square(matrix), axis=(1, 2)), rtol=1e-12)


@pytest.mark.parametrize("shape", [(2, 8, 8, 4), (2, 2, 2, 8)])
def test_nothing_cancels_near_the_teacher(shape):
    (teacher,) = random_maps(shape, dtype="float32")
    assert np.all(nst(teacher, teacher).numpy() == 0.0)
    assert np.all(value_and_gradient(NST(), teacher, teacher)[1] == 0.0)
    (noise,) = random_maps(shape, seed=1)
    student = teacher + (noise * 2.0**-10).astype("float32")
    exact = nst(teacher.astype("float64"), student.astype("float64"))
    np.testing.assert_allclose(nst(teacher, student), exact, rtol=1e-3)


@pytest.mark.parametrize("shape", [(3, 4, 4, 5), (3, 2, 2, 8)])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_edges(shape, dtype):
    teacher, student = random_maps(shape, shape, dtype=dtype)
    student[0], student[1, ..., 0], teacher[2, ..., :2] = 0.0, 0.0, 0.0
    value, slopes = value_and_gradient(NST(), teacher, student)
    np.testing.assert_allclose(value, oracle(teacher.astype("float64"), student.astype("float64")), rtol=1e-5)
    assert np.all(np.isfinite(slopes)) and np.all(slopes[0] == 0.0) and np.all(slopes[1, ..., 0] == 0.0)
    assert np.any(slopes[1, ..., 1:] != 0.0)
    nothing = value_and_gradient(NST(), 0.0 * teacher, 0.0 * student)
    assert nothing[0] == 0.0 and np.all(nothing[1] == 0.0)


def test_the_order_and_the_scale_of_channels_do_not_count():
    teacher, student = random_maps((2, 4, 4, 5), (2, 4, 4, 5))
    scaled = student[..., ::-1] * np.array([1.0, -2.0, 0.5, 100.0, 1e-6])
    np.testing.assert_allclose(nst(teacher, scaled), nst(teacher, student), rtol=1e-10)
    np.testing.assert_allclose(nst(teacher, np.repeat(student, 2, axis=-1)), nst(teacher, student), rtol=1e-10)
