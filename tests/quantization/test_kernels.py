"""Layers with weights: folding of batch normalization, statistics in training, and values of the weights."""

import keras
import numpy as np
import pytest
from keras import layers

from keras_distill.quantization import kernels
from tests.quantization.layer_table import normalization

KINDS = {
    "dense": (kernels.QuantizedDense, lambda: layers.Dense(6), (7,)),
    "conv1d": (kernels.QuantizedConv1D, lambda: layers.Conv1D(6, 3, padding="same"), (8, 4)),
    "conv2d": (kernels.QuantizedConv2D, lambda: layers.Conv2D(6, 3, 2, use_bias=False), (8, 8, 4)),
    "depthwise": (kernels.QuantizedDepthwiseConv2D, lambda: layers.DepthwiseConv2D(3, depth_multiplier=2), (8, 8, 3)),
}


def pair(kind, **arguments):
    """Return the float layers and the quantized one of the same weights, and a batch."""
    quantized, make, shape = KINDS[kind]
    x = np.random.default_rng(2).normal(size=(16, *shape)).astype("float32")
    layer, norm = make(), normalization()
    norm(layer(x))
    if layer.use_bias:
        layer.bias.assign(np.linspace(-1.0, 1.0, layer.bias.shape[0]))
    copies = [type(each).from_config(each.get_config()) for each in (layer, norm)]
    aware = quantized(*copies, **arguments)
    aware(x)
    for each, source in zip(copies, (layer, norm), strict=True):
        each.set_weights(source.get_weights())
    return layer, norm, aware, x


@pytest.mark.parametrize("kind", KINDS)
def test_without_rounding_it_equals_the_two_layers(kind, monkeypatch):
    layer, norm, aware, x = pair(kind)
    monkeypatch.setattr(aware, "rounded", lambda kernel: kernel)
    assert np.allclose(aware(x, training=True), norm(layer(x)), atol=1e-5)
    assert np.allclose(aware.float_layer("y")(x), norm(layer(x)), atol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_batch_statistics_are_those_of_the_two_layers(kind, monkeypatch):
    layer, norm, aware, x = pair(kind, batch_statistics=True)
    monkeypatch.setattr(aware, "rounded", lambda kernel: kernel)
    assert np.allclose(aware(x, training=True), norm(layer(x), training=True), atol=2e-5)
    assert np.allclose(aware.normalization.moving_mean, norm.moving_mean, atol=1e-5)
    assert np.allclose(aware.normalization.moving_variance, norm.moving_variance, rtol=1e-4)
    before = aware.normalization.get_weights()
    aware(x, training=False)
    aware.normalization.trainable = False
    aware(x, training=True)
    assert all(np.array_equal(*each) for each in zip(before, aware.normalization.get_weights(), strict=True))


def test_a_scale_of_zero_does_not_divide_by_zero():
    _, _, aware, x = pair("conv2d", batch_statistics=True)
    aware.normalization.gamma.assign(np.zeros(6))
    wanted = np.broadcast_to(aware.normalization.beta, (16, 3, 3, 6))
    assert np.allclose(aware(x, training=True), wanted, atol=1e-5)


@pytest.mark.parametrize("bits", kernels.WEIGHT_BITS)
@pytest.mark.parametrize("kind", KINDS)
def test_kernels_have_as_many_values_as_their_bits(kind, bits):
    _, _, aware, _ = pair(kind, weight_bits=bits)
    rounded = np.asarray(aware.rounded(aware.folded()[0]))
    per_channel = rounded.reshape(-1, 6) if aware.per_channel else rounded.reshape(-1, 1)
    steps = np.abs(per_channel).max(axis=0) / (2 ** (bits - 1) - 1)
    integers = per_channel / steps
    assert np.abs(integers - np.round(integers)).max() < 1e-3
    assert len(np.unique(np.round(integers[:, 0]))) <= 2**bits - 1


def test_gradient_reaches_kernel_bias_and_normalization():
    import tensorflow as tf

    _, _, aware, x = pair("depthwise")
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(aware(x, training=True) ** 2)
    names = [weight.name for weight in aware.trainable_weights]
    assert sorted(names) == ["beta", "bias", "gamma", "kernel"]
    assert all(np.abs(each).max() > 0.0 for each in tape.gradient(loss, [v.value for v in aware.trainable_weights]))


def test_a_regularizer_of_the_float_layer_still_counts():
    layer = layers.Dense(3, kernel_regularizer=keras.regularizers.L2(0.1))
    aware = kernels.QuantizedDense(layer)
    aware(np.ones((1, 2), "float32"))
    assert float(sum(aware.losses)) == pytest.approx(0.1 * float(np.sum(np.square(layer.kernel))))
