"""The two fake quantizations against their definitions."""

import numpy as np
import pytest
import tensorflow as tf

from keras_distill.quantization.fake import fake_quantize, fake_quantize_kernel


def nudged(minimum, maximum, bits):
    """Return a range moved so that zero is one of its values, and its step, by the paper's section 3.1."""
    step = (maximum - minimum) / (2**bits - 1)
    zero = np.round(-minimum / step)
    return -zero * step, (2**bits - 1 - zero) * step, step


@pytest.mark.parametrize("bits", (4, 8))
@pytest.mark.parametrize("limits", ((-1.0, 1.37), (0.0, 6.0), (-3.0, 0.0), (-0.01, 5.0)))
def test_activations_are_rounded_to_a_grid_that_contains_zero(limits, bits):
    x = np.linspace(-8.0, 8.0, 1001).astype("float32")
    low, high, step = nudged(*limits, bits)
    wanted = np.round((np.clip(x, low, high) - low) / step) * step + low
    got = np.asarray(fake_quantize(x, *limits, bits))
    # Half-way between two values either is right.
    assert np.abs(got - wanted).max() < step * 1.01
    assert np.mean(np.abs(got - wanted) > 1e-4 * step + 1e-6) < 0.01
    assert len(np.unique(got)) <= 2**bits
    assert np.asarray(fake_quantize(np.zeros(1, "float32"), *limits, bits)) == 0.0


def test_the_gradient_passes_inside_the_range_and_reaches_the_limits_outside():
    x = tf.constant([-2.0, -0.5, 0.0, 0.5, 2.0, 3.0])
    limits = [tf.constant(-1.0), tf.constant(1.0)]
    upstream = tf.constant([1.0, 2.0, 4.0, 8.0, 16.0, 32.0])
    with tf.GradientTape() as tape:
        tape.watch([x, *limits])
        loss = tf.reduce_sum(upstream * fake_quantize(x, *limits))
    of_x, of_minimum, of_maximum = tape.gradient(loss, [x, *limits])
    assert of_x.numpy().tolist() == [0.0, 2.0, 4.0, 8.0, 0.0, 0.0]
    assert (of_minimum.numpy(), of_maximum.numpy()) == (1.0, 48.0)


@pytest.mark.parametrize("bits", (4, 8))
@pytest.mark.parametrize("per_channel", (True, False))
def test_weights_are_rounded_symmetrically_and_keep_their_gradients(per_channel, bits):
    generator = np.random.default_rng(0)
    kernel = (generator.normal(size=(3, 3, 5, 64)) * np.geomspace(0.1, 10.0, 64)).astype("float32")
    largest = np.abs(kernel).max(axis=(0, 1, 2) if per_channel else None)
    step = largest / (2 ** (bits - 1) - 1)
    tensor = tf.constant(kernel)
    with tf.GradientTape() as tape:
        tape.watch(tensor)
        rounded = fake_quantize_kernel(tensor, bits, per_channel)
    assert np.allclose(rounded, np.round(kernel / step) * step, atol=1e-5 * largest.max())
    assert np.abs(np.round(rounded / step)).max() == 2 ** (bits - 1) - 1
    assert np.all(tape.gradient(rounded, tensor).numpy() == 1.0)


def test_a_channel_of_zeros_stays_zero():
    kernel = np.zeros((2, 2), "float32")
    assert np.asarray(fake_quantize_kernel(kernel)).tolist() == kernel.tolist()
    kernel[0, 0] = 3.0
    assert np.asarray(fake_quantize_kernel(kernel)) == pytest.approx(kernel, rel=1e-5)
