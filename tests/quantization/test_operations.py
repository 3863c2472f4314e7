"""Students of many operations: they train, are saved, and their files match; a MobileNetV3 of keras.applications."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers, ops

from keras_distill import quantization
from tests.quantization.files import convert, gaps_in_steps, run, types
from tests.quantization.layer_table import TOKENS, samples_of


def sentences():
    """Build a small causal transformer that leaves padding out, by operations instead of layers where possible."""
    tokens = keras.Input(TOKENS, name="x", dtype="int32")
    x = layers.Embedding(20, 8, keras.initializers.RandomUniform(-1, 1), mask_zero=True, name="words")(tokens)
    x = layers.Add()([x, layers.MultiHeadAttention(2, 4)(x, x, use_causal_mask=True)])
    x = layers.PReLU("uniform", shared_axes=(1,), name="slopes")(x * 0.5 + 1.0)
    return keras.Model(tokens, layers.Dense(3, name="logits")(ops.mean(x[:, 2:], axis=1)))


def test_a_student_of_operations_trains_and_is_saved(tmp_path):
    keras.utils.set_random_seed(2)
    aware, x = quantization.quantize_aware(sentences()), samples_of(TOKENS, 64)
    with tf.GradientTape() as tape:
        loss = tf.reduce_mean(aware(x, training=True) ** 2)
    variables = aware.trainable_variables
    gradients = tape.gradient(loss, [each.value for each in variables])
    assert not [each.path for each, gradient in zip(variables, gradients, strict=True) if gradient is None]
    assert all(np.isfinite(tf.convert_to_tensor(each)).all() for each in gradients)
    aware.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras", safe_mode=True)
    assert np.array_equal(aware(x), again(x))
    assert np.allclose(quantization.float_student(again)(x), quantization.float_student(aware)(x), atol=1e-6)


def test_masked_tokens_change_nothing():
    keras.utils.set_random_seed(2)
    tokens = keras.Input(TOKENS, name="x", dtype="int32")
    x = layers.Embedding(20, 8, keras.initializers.RandomUniform(-1, 1), mask_zero=True)(tokens)
    for _ in range(2):
        # The second attention gets its mask by way of the sum.
        x = layers.Add()([x, layers.MultiHeadAttention(2, 4)(x, x)])
    aware = quantization.quantize_aware(keras.Model(tokens, x[:, 0]))
    short = np.where(np.arange(10) < 4, samples_of(TOKENS, 8), 0)
    quantization.calibrate(aware, samples_of(TOKENS, 64))
    before = np.asarray(aware(short))
    table = next(each for each in aware.trainable_variables if each.shape == (20, 8))
    # The vector of padding is another one, within the range of the table.
    table.assign(np.concatenate([-np.asarray(table)[:1], np.asarray(table)[1:]]))
    assert np.abs(aware(short) - before).max() < 0.02 * np.ptp(before)


@pytest.mark.slow
def test_mobilenet_v3_of_keras_applications(tmp_path):
    keras.utils.set_random_seed(1)
    student = keras.applications.MobileNetV3Small(
        (32, 32, 3), alpha=0.25, weights=None, classes=5, classifier_activation=None
    )
    generator = np.random.default_rng(0)
    for layer in student.layers:
        if isinstance(layer, layers.BatchNormalization):
            gamma, beta, mean, variance = (np.shape(each) for each in layer.get_weights())
            draw = (generator.uniform(0.7, 1.5, gamma), generator.normal(0, 0.2, beta))
            layer.set_weights([*draw, generator.normal(0, 0.2, mean), generator.uniform(0.7, 1.5, variance)])
    aware = quantization.quantize_aware(student)
    x = generator.uniform(0, 255, (16, 32, 32, 3)).astype("float32")
    quantization.calibrate(aware, x)
    assert np.allclose(quantization.float_student(aware)(x[:4]), student(x[:4], training=False), atol=1e-4)
    # The rest of the net repeats these layers, and takes the converter a quarter of a minute.
    inputs, features = student.input, student.get_layer("expanded_conv_2_add").output
    student = keras.Model(inputs, layers.Dense(5)(layers.GlobalAveragePooling2D()(features)))
    aware = quantization.quantize_aware(student)
    quantization.calibrate(aware, x)
    path = convert(aware, tmp_path)
    assert types(path) == {"INT8", "INT32"}
    (gaps,) = gaps_in_steps(path, aware, x)
    assert gaps.mean() < 1.0
    (answers,), _ = run(path, x)
    wanted = np.asarray(student(x, training=False))
    assert np.abs(answers - wanted).max() < 0.1 * np.ptp(wanted)
