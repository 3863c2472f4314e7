"""Biases of usual size beside weights that are tiny, as a normalization with a small factor leaves them."""

import keras
import numpy as np
import pytest
from keras import layers

import keras_distill as kd
from tests.export.in_process import Files

# What a normalization multiplies and adds: channels that live, died, and nearly died, with both signs.
FACTORS = np.float32([1.0, 0.0, 0.0, 1e-7, 1e-7, 1e-5, 1e-3, 1e-3])
SUMMANDS = np.float32([0.1, 0.5, -0.5, 0.5, -0.5, -3.0, 0.6, -0.6])
CHANNELS = len(FACTORS)
KERNELS = {
    "conv": lambda x: layers.Conv2D(CHANNELS, 3, use_bias=False)(x),
    "conv1d": lambda x: layers.Conv1D(CHANNELS, 3, use_bias=False)(layers.Reshape((36, CHANNELS))(x)),
    "depthwise": lambda x: layers.DepthwiseConv2D(3, use_bias=False)(x),
    "dense": lambda x: layers.Dense(CHANNELS, use_bias=False)(layers.Flatten()(x)),
    "separable": lambda x: layers.SeparableConv2D(CHANNELS, 3, use_bias=False)(x),
    "transposed": lambda x: layers.Conv2DTranspose(CHANNELS, 3, 2, use_bias=False)(x),
}
# Inputs with small steps, which biases then have too.
SMALL = 0.01
# Share of the output's range by which rounding to one step, and the weights' own rounding, may move an answer.
BOUNDS = {"tflite_int8": 1.2 / 255, "tflite_int16x8": 1e-3}


def make(build, size):
    """Return a student whose normalization has the factors and summands above, and samples."""
    keras.utils.set_random_seed(2)
    inputs = keras.Input((6, 6, CHANNELS), name="x")
    normalization = layers.BatchNormalization()
    student = keras.Model(inputs, normalization(build(inputs)))
    normalization.set_weights([FACTORS, SUMMANDS, np.zeros(CHANNELS), np.ones(CHANNELS)])
    return student, size * np.random.default_rng(0).normal(size=(6, 6, 6, CHANNELS)).astype("float32")


def find_largest_error(files, name, exact=None):
    """Return the largest error among the channels with tiny weights, as a share of the output's range."""
    expected = files.expected() if exact is None else exact
    errors = np.abs(files.run(name) - expected).reshape(-1, CHANNELS)
    assert files.complain(name) == []
    return errors[:, FACTORS < 1].max() / np.ptp(expected)


@pytest.mark.parametrize(("kind", "size"), [("conv", 1.0), *((kind, SMALL) for kind in KERNELS)])
def test_biases_keep_sign_and_size(kind, size, tmp_path):
    files = Files(*make(KERNELS[kind], size), tmp_path)
    for name, bound in BOUNDS.items():
        assert find_largest_error(files, name) < bound, name


def test_a_layer_that_is_used_twice_keeps_both_results(tmp_path):
    keras.utils.set_random_seed(3)
    inputs, conv = keras.Input((6, 6, 4), name="x"), layers.Conv2D(4, 3, padding="same")
    student = keras.Model(inputs, conv(layers.Rescaling(0.01)(conv(inputs))))
    conv.set_weights([conv.get_weights()[0] * np.float32([1, 1e-6, 1e-4, 1e-3]), np.float32([0.2, 0.5, -0.5, -0.6])])
    files = Files(student, np.random.default_rng(0).normal(size=(6, 6, 6, 4)).astype("float32"), tmp_path)
    np.testing.assert_allclose(files.run("tflite_int16x8"), files.expected(), atol=2e-3)


@pytest.mark.parametrize(("kind", "bits"), [("conv", 8), ("conv", 4), ("depthwise", 8), ("dense", 8), ("alone", 8)])
def test_quantization_aware_students_keep_biases(kind, bits, tmp_path):
    student, x = make({**KERNELS, "alone": lambda inputs: inputs}[kind], SMALL)
    exact = np.asarray(student(x)).reshape(len(x), -1)
    aware = kd.quantization.quantize_aware(student, weight_bits=bits)
    kd.quantization.calibrate(aware, x)
    assert find_largest_error(Files(aware, x, tmp_path), "tflite_int8", exact) < BOUNDS["tflite_int8"]
