"""The fusion of stages: in closed form, deep to shallow, to the teacher's sizes."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_distill.features.fusion import AttentionBasedFusion, ReviewFusion, resize_nearest

EPSILON = 1e-5


def maps(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype("float32")


def nearest(x, height, width):
    rows = [i * x.shape[1] // height for i in range(height)]
    columns = [j * x.shape[2] // width for j in range(width)]
    return x[:, rows][:, :, columns]


def fused(layer, x, residual):
    """The forward pass in inference mode, with batch normalisations that were never trained, in plain NumPy."""
    scale = 1 / np.sqrt(1 + EPSILON)
    x = x @ layer.narrow.kernel.numpy()[0, 0] * scale
    if residual is not None:
        residual = nearest(residual, *x.shape[1:3])
        logits = np.concatenate([x, residual], -1) @ layer.attention.kernel.numpy()[0, 0] + layer.attention.bias.numpy()
        attention = 1 / (1 + np.exp(-logits))
        x = x * attention[..., :1] + residual * attention[..., 1:]
    x = nearest(x, *layer.size)
    padded = np.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
    height, width = layer.size
    output = sum(
        padded[:, i : i + height, j : j + width] @ layer.widen.kernel.numpy()[i, j] for i in range(3) for j in range(3)
    )
    return output * scale, x


@pytest.mark.parametrize("size", [(4, 4), (8, 8), (3, 5), (1, 1)])
def test_fusion_in_closed_form(size):
    x, residual = maps(2, 4, 4, 3), maps(2, 2, 2, 5, seed=1)
    layer = AttentionBasedFusion(5, 6, size)
    for got, wanted in zip(layer([x, residual]), fused(layer, x, residual), strict=True):
        np.testing.assert_allclose(got, wanted, rtol=1e-4, atol=1e-5)
    alone = AttentionBasedFusion(5, 6, size, fuse=False)
    for got, wanted in zip(alone(x), fused(alone, x, None), strict=True):
        np.testing.assert_allclose(got, wanted, rtol=1e-4, atol=1e-5)


def test_review_goes_from_deep_to_shallow():
    stages = [maps(2, 8, 8, 3), maps(2, 4, 4, 4), maps(2, 1, 1, 5)]
    fusion = ReviewFusion([(None, 8, 8, 6), (None, 4, 4, 7), (None, 2, 2, 8)])
    outputs = fusion(stages)
    assert [each.mid_width for each in fusion.fusions] == [5, 5, 5]
    residual = None
    for layer, x, output in reversed(list(zip(fusion.fusions, stages, outputs, strict=True))):
        wanted, residual = fused(layer, x, residual)
        np.testing.assert_allclose(output, wanted, rtol=1e-4, atol=1e-5)
    assert fusion.compute_output_shape([each.shape for each in stages]) == [each.shape for each in outputs]


def test_each_output_sees_its_own_stage_and_the_deeper_ones():
    stages = [tf.constant(maps(2, size, size, 3)) for size in (4, 2, 1)]
    fusion = ReviewFusion([(None, 4, 4, 2), (None, 2, 2, 2), (None, 1, 1, 2)], mid_width=4)
    with tf.GradientTape(persistent=True) as tape:
        tape.watch(stages)
        outputs = fusion(stages)
    seen = [[tape.gradient(output, stage) is not None for stage in stages] for output in outputs]
    assert seen == [[True, True, True], [False, True, True], [False, False, True]]


def test_one_stage():
    fusion = ReviewFusion([(None, 4, 4, 6)])
    assert fusion(maps(2, 8, 8, 3)).shape == (2, 4, 4, 6) == fusion.compute_output_shape((2, 8, 8, 3))


def test_width_between_stages():
    wide = ReviewFusion([(None, 2, 2, 4)])
    wide.build((None, 2, 2, 600))
    assert wide.fusions[0].mid_width == 512


def test_statistics_move_in_training_only():
    fusion, x = ReviewFusion([(None, 4, 4, 6)]), maps(2, 4, 4, 3)
    fusion(x, training=False)
    norm = fusion.fusions[0].narrow_norm
    assert not norm.moving_mean.numpy().any()
    fusion(x, training=True)
    assert norm.moving_mean.numpy().any()


def test_configuration():
    fusion = ReviewFusion([(None, 4, 4, 6), (None, 2, 2, 7)], mid_width=3)
    fusion.build([(None, 4, 4, 2), (None, 2, 2, 5)])
    again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(fusion))
    assert again.built and again.shapes == fusion.shapes
    assert [each.shape for each in again.weights] == [each.shape for each in fusion.weights]


def test_resize_nearest_has_a_gradient():
    x = tf.constant(np.arange(9.0).reshape(1, 3, 3, 1))
    with tf.GradientTape() as tape:
        tape.watch(x)
        total = tf.reduce_sum(resize_nearest(x, (5, 3)))
    np.testing.assert_array_equal(tape.gradient(total, x)[0, :, 0, 0], [2.0, 2.0, 1.0])


def test_bad_input():
    with pytest.raises(ValueError, match="feature maps of the teacher of known height and width"):
        ReviewFusion([(None, None, None, 6)])
    fusion = ReviewFusion([(None, 4, 4, 6), (None, 2, 2, 7)])
    with pytest.raises(ValueError, match="2 maps of the student, one for each stage"):
        fusion.build([(None, 4, 4, 6)])
    with pytest.raises(ValueError, match="feature maps of the student of known height and width"):
        fusion.build([(None, None, 4, 6), (None, 2, 2, 7)])
