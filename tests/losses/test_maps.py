"""Pooling and scaling of feature maps, against plain loops."""

import numpy as np
import pytest
import tensorflow as tf
from map_oracles import pool, random_maps

from keras_distill.losses import divergences
from keras_distill.losses.feature_maps import maps

SIZES = [((8, 8), (4, 4)), ((7, 7), (5, 5)), ((9, 6), (4, 5)), ((5, 4), (5, 4)), ((5, 3), (1, 1)), ((6, 5), (6, 2))]


def gradient(function, x, upstream):
    """Return the gradient of `sum(function(x) * upstream)`."""
    x = tf.constant(x)
    with tf.GradientTape() as tape:
        tape.watch(x)
        value = tf.reduce_sum(function(x) * upstream)
    return tape.gradient(value, x).numpy()


@pytest.mark.parametrize("large, small", SIZES)
def test_average_pool(large, small):
    (x,) = random_maps((2, *large, 3))
    np.testing.assert_allclose(maps.average_pool(x, small), pool(x, *small), rtol=1e-12)


@pytest.mark.parametrize("large, small", SIZES)
def test_max_pool(large, small):
    (x,) = random_maps((2, *large, 3))
    np.testing.assert_array_equal(maps.max_pool(x, small), pool(x, *small, reduce=np.max))


@pytest.mark.parametrize("shape, first", [((1, 4, 4, 1), (0, 0)), ((1, 3, 5, 1), (0, 0))])
def test_of_equal_maxima_the_first_has_the_gradient(shape, first):
    slopes = gradient(lambda x: maps.max_pool(x, (1, 1)), np.zeros(shape), 1.0)[0, :, :, 0]
    assert slopes[first] == 1.0 and slopes.sum() == 1.0
    rows = np.array([[0.0, 1.0, 1.0], [1.0, 0.0, 0.0], [1.0, 1.0, 1.0]]).reshape(1, 3, 3, 1)
    # Of windows of two rows and two columns that overlap in the middle ones.
    slopes = gradient(lambda x: maps.max_pool(x, (2, 2)), rows, 1.0)[0, :, :, 0]
    np.testing.assert_array_equal(slopes, [[0, 2, 0], [1, 0, 0], [0, 1, 0]])


def test_each_axis_is_pooled_to_the_smaller_one():
    teacher, student = random_maps((2, 8, 3, 5), (2, 5, 7, 4))
    pooled = maps.pool_to_match(teacher, student)
    np.testing.assert_allclose(pooled[0], pool(teacher, 5, 3), rtol=1e-12)
    np.testing.assert_allclose(pooled[1], pool(student, 5, 3), rtol=1e-12)


@pytest.mark.parametrize("function", [maps.average_pool, maps.max_pool])
def test_pooling_in_a_graph_of_unknown_batch_size(function):
    (x,) = random_maps((3, 7, 6, 2))
    signature = [tf.TensorSpec((None, 7, 6, 2), tf.float64)]
    pooled = tf.function(lambda x: function(x, (3, 4)), input_signature=signature, jit_compile=True)(x)
    np.testing.assert_allclose(pooled, function(x, (3, 4)), rtol=1e-12)


def test_unknown_sizes():
    known, unknown = tf.zeros((2, 4, 4, 3)), tf.TensorSpec((2, None, 4, 3))
    message = (
        r"^Expected feature maps of known height and width\. Received: \(2, 4, 4, 3\) and \(2, None, 4, 3\)\. Give"
    )
    with pytest.raises(ValueError, match=message):
        maps.pool_to_match(known, unknown)


@pytest.mark.parametrize("axis", [-1, (1, 2), (0, 1, 2)])
@pytest.mark.parametrize("scale", [1.0, 2.0**-100, 2.0**100])
def test_norm_and_unit_of_any_magnitude(axis, scale):
    (x,) = random_maps((2, 3, 4), dtype="float32")
    length = np.sqrt(np.sum(x.astype("float64") ** 2, axis=axis, keepdims=True))
    np.testing.assert_allclose(maps.norm(x * np.float32(scale), axis, keepdims=True), length * scale, rtol=1e-6)
    assert maps.norm(x, axis).shape == np.sum(x, axis=axis).shape
    scaled = maps.unit(x * np.float32(scale), axis, epsilon=1e-38)
    np.testing.assert_allclose(scaled, x / length, rtol=1e-6)


def test_slopes_of_norm_and_unit():
    (x,) = random_maps((2, 5))
    directions = x / np.linalg.norm(x, axis=1, keepdims=True)
    np.testing.assert_allclose(gradient(lambda x: maps.norm(x, 1), x, 1.0), directions, rtol=1e-12)
    across = np.eye(5)[:2] - directions * directions[[0, 1], [0, 1]][:, None]
    wanted = across / np.linalg.norm(x, axis=1, keepdims=True)
    np.testing.assert_allclose(gradient(lambda x: maps.unit(x, 1), x, np.eye(5)[:2]), wanted, rtol=1e-10, atol=1e-15)


@pytest.mark.parametrize("function", [maps.norm, maps.unit])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_zero_has_no_direction_and_no_slope(function, dtype):
    x = np.zeros((2, 3), dtype)
    np.testing.assert_array_equal(function(x, axis=1), np.zeros_like(function(x, axis=1)))
    np.testing.assert_array_equal(gradient(lambda x: function(x, axis=1), x, 7.0), x)


def test_below_epsilon_lengths_are_kept_in_proportion():
    np.testing.assert_allclose(maps.unit(np.array([[3e-14, 4e-14]]), axis=1), [[0.03, 0.04]], rtol=1e-12)


def test_values_that_are_not_finite_stay_so():
    assert np.isnan(maps.unit(np.array([[np.nan, 1.0]], "float32"), axis=1)).any()
    assert np.isnan(maps.unit(np.array([[np.inf, 1.0]], "float32"), axis=1)).any()


@pytest.mark.parametrize(
    "teacher, student, wanted",
    [("float16", "float32", "float32"), ("bfloat16", "float16", "float32"), ("float32", "float64", "float64")],
)
def test_one_precision_for_both(teacher, student, wanted):
    pair = divergences.cast_pair(tf.ones((2, 3), teacher), tf.ones((2, 3), student))
    assert [each.dtype.name for each in pair] == [wanted, wanted]


def test_the_teacher_is_a_constant():
    teacher, student = tf.ones((2, 3)), tf.ones((2, 3))
    with tf.GradientTape() as tape:
        tape.watch([teacher, student])
        one, other = divergences.cast_pair(teacher, student)
        value = tf.reduce_sum(one * other)
    slopes = tape.gradient(value, [teacher, student])
    assert slopes[0] is None and np.all(slopes[1] == 1.0)


def test_flatten_maps():
    (x,) = random_maps((2, 3, 4, 5))
    np.testing.assert_array_equal(maps.flatten_maps(x), x.reshape(2, 12, 5))
