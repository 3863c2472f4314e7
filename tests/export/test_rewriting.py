"""Operators that are rewritten before conversion: the same numbers, in int8 too, and where the samples do not reach."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers, ops

from tests.export.in_process import Files, correlate

FAR = np.float32([[-1e4, -100, -89, -30, -3, -1e-3, 0, 1e-3, 3, 30, 89, 100, 1e4]])
NEAR = np.random.default_rng(0).normal(size=(64, 4, 4, 8)).astype("float32")


def embed(x):
    """Return vectors that are not normalized."""
    return layers.Dense(12)(layers.Flatten()(x))


def divide_by_norm(x):
    x = embed(x)
    return x / ops.sqrt(ops.sum(ops.square(x), -1, keepdims=True) + 1e-6)


NORMALIZED = {
    "unit": lambda x: layers.UnitNormalization()(embed(x)),
    "normalize": lambda x: ops.normalize(embed(x)),
    "l2_normalize": lambda x: layers.Lambda(lambda each: tf.math.l2_normalize(each, -1))(embed(x)),
    "divided": divide_by_norm,
    "siamese": lambda x: layers.Dot(1, normalize=True)([embed(x), embed(x)]),
    "rms": lambda x: layers.Conv2D(3, 1)(layers.RMSNormalization()(x)),
    "group": lambda x: layers.Conv2D(3, 1)(layers.GroupNormalization(4)(x)),
    "instance": lambda x: layers.Conv2D(3, 1)(layers.GroupNormalization(-1)(x)),
    "layer": lambda x: layers.Conv2D(3, 1)(layers.LayerNormalization()(x)),
    "variance": lambda x: layers.Dense(3)(ops.var(x, (1, 2))),
    "power": lambda x: layers.Dense(3)(embed(x) ** 2),
}
ACTIVATIONS = ("softplus", "log_sigmoid", "mish", "selu", "celu", "silu", "log_softmax", "squareplus")


def make(build, shape):
    keras.utils.set_random_seed(1)
    inputs = keras.Input(shape, name="x")
    return keras.Model(inputs, build(inputs))


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_activations_are_finite_far_beyond_the_samples(name, tmp_path):
    files = Files(make(layers.Activation(name), FAR.shape[1:]), np.zeros_like(FAR), tmp_path)
    inputs = {"x": FAR}
    assert np.isfinite(files.expected(inputs)).all()
    for runtime in ("default", "reference"):
        np.testing.assert_allclose(files.run("tflite", runtime, inputs), files.expected(inputs), rtol=1e-5, atol=1e-6)


def test_softplus_of_100(tmp_path):
    files = Files(make(layers.Activation("softplus"), (1,)), np.zeros((2, 1), "float32"), tmp_path)
    assert files.run("tflite", inputs={"x": np.float32([[100.0]])}).tolist() == [[100.0]]


@pytest.mark.parametrize("name", ["softplus", "log_sigmoid", "mish", "selu"])
def test_activations_in_int8(name, tmp_path):
    # An exponential of the whole range would leave the small answers no steps.
    files = Files(make(lambda x: layers.Activation(name)(10 * embed(x)), NEAR.shape[1:]), NEAR, tmp_path)
    assert files.complain("tflite_int8") == []
    assert correlate(files.run("tflite_int8"), files.expected()) > 0.999


@pytest.mark.parametrize("name", NORMALIZED)
def test_normalizations_compute_in_int8(name, tmp_path):
    files = Files(make(NORMALIZED[name], NEAR.shape[1:]), NEAR, tmp_path)
    assert not {"SQUARE", "SQUARED_DIFFERENCE", "NEG"} & files.operators("tflite_int8")
    assert files.complain("tflite_int8") == files.complain("c_array_int8") == []
    expected = files.expected()
    assert correlate(files.run("tflite_int8"), expected) > 0.9995
    assert correlate(files.run("c_array_int8", "micro"), expected) > 0.9995


@pytest.mark.parametrize("name", ["rms", "group", "layer", "l2_normalize"])
def test_normalizations_compute_in_int16(name, tmp_path):
    files = Files(make(NORMALIZED[name], NEAR.shape[1:]), NEAR, tmp_path)
    assert files.complain("tflite_int16x8") == []
    assert correlate(files.run("tflite_int16x8"), files.expected()) > 0.9995


@pytest.mark.parametrize("find", [ops.argmax, ops.argmin])
@pytest.mark.parametrize("name", ["tflite", "tflite_int8", "c_array_int8"])
def test_classes_are_found_in_the_file(find, name, tmp_path):
    files = Files(make(lambda x: find(x, -1), (4,)), np.eye(4, dtype="float32"), tmp_path)
    np.testing.assert_array_equal(files.run(name, "micro" if name == "c_array_int8" else "default"), files.expected())
