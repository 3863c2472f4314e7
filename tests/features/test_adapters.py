"""Adapters: which one is created, its values against plain loops, and saving."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_distill.features.adapters import (
    Connector,
    ConvRegressor,
    Parallel,
    make_for_each_layer,
    match_width,
    regressor,
)
from keras_distill.losses.feature_maps.hints import FeatureDistillation


def random(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype("float32")


def randomize(layer):
    """Give every weight of a layer random numbers."""
    for index, variable in enumerate(layer.weights):
        variable.assign(np.abs(random(*variable.shape, seed=index + 10)) + 0.1)


def convolution(x, kernel, stride=1, padding=0):
    """Convolve, position by position."""
    x = np.pad(x.astype("float64"), ((0, 0), (padding, padding), (padding, padding), (0, 0)))
    tall, wide = kernel.shape[:2]
    rows, columns = ((size - k) // stride + 1 for size, k in zip(x.shape[1:3], (tall, wide), strict=True))
    out = np.zeros((len(x), rows, columns, kernel.shape[3]))
    for i in range(rows):
        for j in range(columns):
            window = x[:, i * stride : i * stride + tall, j * stride : j * stride + wide]
            out[:, i, j] = np.einsum("bhwi,hwio->bo", window, kernel)
    return out


def transposed_convolution(x, kernel):
    """Add up a kernel for each position, two apart, and cut one row and column off each side."""
    batch, tall, wide, _ = x.shape
    out = np.zeros((batch, 2 * tall + 2, 2 * wide + 2, kernel.shape[2]))
    for i in range(tall):
        for j in range(wide):
            out[:, 2 * i : 2 * i + 4, 2 * j : 2 * j + 4] += np.einsum("bi,hwoi->bhwo", x[:, i, j], kernel)
    return out[:, 1:-1, 1:-1]


def normalized(x, norm, training):
    """Normalise by the statistics of the batch, or by the moving ones."""
    mean, variance = (x.mean((0, 1, 2)), x.var((0, 1, 2))) if training else (norm.moving_mean, norm.moving_variance)
    return (x - mean) / np.sqrt(variance + np.float64(1e-5)) * norm.gamma + norm.beta


def test_match_width():
    layer = match_width((None, 8, 8, 6), (None, 4, 4, 3), "adapter")
    assert type(layer) is keras.layers.Conv2D and layer.kernel_size == (1, 1) and layer.name == "adapter"
    assert not layer.built and layer.dtype_policy.name == "float32"
    layer = match_width((None, 5, 6), (None, None, 3), "adapter")
    assert type(layer) is keras.layers.Dense and layer.units == 6 and not layer.built
    assert match_width((None, 8, 8, 3), (None, 4, 4, 3), "adapter") is None
    assert match_width((None, 8, 8, 6), (None, 3), "adapter") is None


def test_adapters_compute_in_float32():
    keras.config.set_dtype_policy("mixed_float16")
    try:
        layers = [match_width((None, 6), (None, 3), "one"), Connector(6), ConvRegressor(6), Parallel([None])]
    finally:
        keras.config.set_dtype_policy("float32")
    assert all(layer.dtype_policy.name == "float32" for layer in layers)
    assert Connector(6)(tf.ones((2, 3, 3, 4), "float16")).dtype == "float32"


def test_one_adapter_for_each_layer():
    teacher, student = [(None, 8, 6), (None, 4), (None, 2, 2, 5)], [(None, 8, 3), (None, 4), (None, 2, 2, 3)]
    layer = make_for_each_layer(match_width, teacher, student, "adapter")
    layer.build(student)
    assert [each and each.name for each in layer.layers] == ["adapter_0", None, "adapter_2"]
    assert layer.compute_output_shape(student) == teacher
    inputs = [random(2, 8, 3), random(2, 4), random(2, 2, 2, 3)]
    outputs = layer(inputs)
    np.testing.assert_allclose(outputs[0], inputs[0] @ layer.layers[0].kernel.numpy(), rtol=1e-4, atol=1e-6)
    np.testing.assert_array_equal(outputs[1], inputs[1])
    assert [tuple(each.shape) for each in outputs] == [(2, 8, 6), (2, 4), (2, 2, 2, 5)]
    assert make_for_each_layer(match_width, student, student, "adapter") is None
    assert make_for_each_layer(match_width, teacher[0], student[0], "adapter").name == "adapter"


def test_parallel_passes_the_training_flag_on():
    layer, x = Parallel([keras.layers.Dropout(0.5), None, keras.layers.Dense(2)]), np.ones((4, 100), "float32")
    inference, training = layer([x] * 3), layer([x] * 3, training=True)
    assert np.all(inference[0] == 1.0) and set(np.unique(training[0])) == {0.0, 2.0}
    assert np.all(training[1] == 1.0)


def test_parallel_keeps_masks():
    x = tf.constant(random(2, 3, 4))
    x._keras_mask = tf.constant([[True, True, False], [True, False, False]])
    outputs = Parallel([keras.layers.Dense(2), None])([x, tf.ones((2, 3))])
    np.testing.assert_array_equal(outputs[0]._keras_mask, x._keras_mask)


def test_parallel_counts():
    layer = Parallel([None, None], name="two")
    with pytest.raises(
        ValueError, match=r"^Expected a list of 2 elements, one for each layer of 'two'\. Received: 3 elements\."
    ):
        layer([tf.ones((2, 3))] * 3)


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("use_relu", [True, False])
@pytest.mark.parametrize(
    "teacher, student, kernel, stride",
    [
        ((4, 4, 6), (4, 4, 3), (1, 1), 1),
        ((4, 3, 6), (8, 6, 3), (3, 3), 2),
        ((8, 6, 6), (4, 3, 3), (4, 4), 0.5),
        ((4, 3, 6), (6, 3, 3), (3, 1), 1),
        ((4, 4, 6), (7, 7, 6), (4, 4), 1),
    ],
)
def test_regressor(teacher, student, kernel, stride, use_relu, training):
    layer = regressor((None, *teacher), (None, *student), "hint", use_relu=use_relu)
    assert (layer.kernel_size, layer.stride, layer.name) == (kernel, stride, "hint")
    assert layer.compute_output_shape((None, *student)) == (None, *teacher)
    layer.build((None, *student))
    randomize(layer)
    layer.conv.bias.assign(random(6))
    x = random(5, *student)
    if stride == 0.5:
        convolved = transposed_convolution(x, layer.conv.kernel.numpy())
    else:
        convolved = convolution(x, layer.conv.kernel.numpy(), stride, padding=1 if stride == 2 else 0)
    wanted = normalized(convolved + layer.conv.bias.numpy(), layer.norm, training)
    wanted = np.maximum(wanted, 0.0) if use_relu else wanted
    np.testing.assert_allclose(layer(x, training=training), wanted, rtol=1e-4, atol=1e-4)


def test_moving_statistics_move_in_training_only():
    layer, x = ConvRegressor(4), random(5, 3, 3, 2)
    layer.build(x.shape)
    randomize(layer)
    before = layer.norm.moving_mean.numpy()
    layer(x)
    np.testing.assert_array_equal(layer.norm.moving_mean, before)
    layer(x, training=True)
    batch = layer.conv(x).numpy().mean((0, 1, 2))
    np.testing.assert_allclose(layer.norm.moving_mean, 0.9 * before + 0.1 * batch, rtol=1e-4, atol=1e-6)


def test_maps_that_nothing_published_regresses():
    for student in ((None, 3, 3, 4), (None, 4, 8, 4), (None, 16, 4, 4)):
        with pytest.raises(
            ValueError, match=r"^Expected a student map at least as large .*\. Received: .*\. Pair other"
        ):
            regressor((None, 8, 8, 4), student, "hint")
    with pytest.raises(ValueError, match=r"^Expected feature maps \[batch, height, width, channels\] to regress\."):
        regressor((None, 8), (None, 8), "hint")
    with pytest.raises(ValueError, match=r"^Expected feature maps of known height and width\. Received: "):
        regressor((None, None, 8, 4), (None, 8, 8, 4), "hint")
    assert regressor((None, None, None, 4), (None, None, None, 4), "hint").kernel_size == (1, 1)
    with pytest.raises(ValueError, match=r"^Expected stride to be 1, 2 or 0\.5\. Received: stride=3\."):
        ConvRegressor(4, stride=3)


@pytest.mark.parametrize("training", [True, False])
def test_connector(training):
    layer, x = Connector(6), random(5, 3, 2, 4)
    layer.build(x.shape)
    randomize(layer)
    assert not layer.conv.use_bias and len(layer.trainable_variables) == 3
    wanted = normalized(convolution(x, layer.conv.kernel.numpy()), layer.norm, training)
    np.testing.assert_allclose(layer(x, training=training), wanted, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    "make, shape",
    [
        (lambda: Connector(6), (None, 4, 4, 3)),
        (lambda: ConvRegressor(6, (3, 2), use_relu=False), (None, 4, 4, 3)),
        (lambda: ConvRegressor(6, 3, 2), (None, 4, 4, 3)),
        (lambda: ConvRegressor(6, 4, 0.5), (None, 4, 4, 3)),
        (lambda: Parallel([None, Connector(2), keras.layers.Dense(3)]), [(None, 2), (None, 4, 4, 3), (None, 5)]),
    ],
    ids=["connector", "valid", "half", "double", "parallel"],
)
def test_saved_and_loaded(make, shape, tmp_path):
    shapes = shape if isinstance(shape, list) else [shape]
    inputs, x = [keras.Input(each[1:]) for each in shapes], [random(2, *each[1:]) for each in shapes]
    if not isinstance(shape, list):
        inputs, x = inputs[0], x[0]
    layer = make()
    model = keras.Model(inputs, layer(inputs))
    randomize(model)
    path = str(tmp_path / "model.keras")
    model.save(path)
    loaded = keras.saving.load_model(path)
    for one, other in zip(keras.tree.flatten(model(x)), keras.tree.flatten(loaded(x)), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-6)
    copy = type(layer).from_config(layer.get_config())
    assert copy.get_config() == layer.get_config() and copy is not layer


def test_hints_of_another_size_are_regressed():
    loss = FeatureDistillation()
    layer = loss.make_adapter((None, 4, 4, 6), (None, 8, 8, 6))
    assert isinstance(layer, ConvRegressor) and layer.stride == 2 and not layer.use_relu
    assert layer.name == "feature_distillation_adapter" and layer.width == 6
    several = loss.make_adapter([(None, 4, 4, 6), (None, 8)], [(None, 8, 8, 3), (None, 3)])
    assert [type(each) for each in several.layers] == [ConvRegressor, keras.layers.Dense]
    assert loss.make_adapter((None, None, 4, 6), (None, 4, 4, 6)) is None
    with pytest.raises(ValueError, match=r"^Expected a student map at least as large as .*, or exactly half"):
        loss.make_adapter((None, 8, 8, 6), (None, 3, 3, 6))
    assert FeatureDistillation(adapter=None).make_adapter((None, 8, 8, 6), (None, 3, 3, 6)) is None


def test_the_published_regressor_by_name():
    loss = FeatureDistillation(adapter="regressor")
    layer = loss.make_adapter((None, 4, 4, 6), (None, 4, 4, 6))
    assert isinstance(layer, ConvRegressor) and layer.kernel_size == (1, 1) and layer.use_relu
    before = FeatureDistillation(adapter="regressor", preactivation=True)
    assert not before.make_adapter((None, 4, 4, 6), (None, 8, 8, 3)).use_relu
    copy = FeatureDistillation.from_config(before.get_config())
    assert copy.adapter == "regressor" and copy.get_config() == before.get_config()
    with pytest.raises(ValueError, match=r"^Expected feature maps .* to regress"):
        loss.make_adapter((None, 6), (None, 6))
