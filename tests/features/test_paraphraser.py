"""Paraphraser and translator: shapes, training without labels, the teacher left alone."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_distill.features.paraphraser import Paraphraser, Translator, train_paraphraser


def teacher_model():
    layers = [
        keras.Input((6, 6, 3)),
        keras.layers.Conv2D(4, 3, padding="same", activation="relu", name="maps"),
        keras.layers.BatchNormalization(name="norm"),
        keras.layers.Flatten(),
        keras.layers.Dense(2, name="head"),
    ]
    return keras.Sequential(layers, name="teacher")


def images(count=16):
    return np.random.default_rng(0).uniform(-1.0, 1.0, (count, 6, 6, 3)).astype("float32")


@pytest.mark.parametrize("ratio, width", [(0.5, 4), (1.0, 8), (2.0, 16), (0.01, 1)])
def test_shapes(ratio, width):
    paraphraser, maps = Paraphraser(ratio), np.ones((2, 5, 3, 8), "float32")
    assert paraphraser(maps).shape == maps.shape == paraphraser.compute_output_shape(maps.shape)
    assert paraphraser.encode(maps).shape == (2, 5, 3, width) == paraphraser.factor_shape(maps.shape)
    assert len(paraphraser.trainable_variables) == 12


def test_one_convolution_in_closed_form():
    maps = np.random.default_rng(1).normal(size=(2, 1, 1, 2)).astype("float32")
    translator = Translator(3)
    output = translator(maps)
    x = maps[:, 0, 0]
    for layer in translator.encoder:
        x = x @ layer.kernel.numpy()[1, 1] + layer.bias.numpy()  # All but the centre see padding.
        x = np.where(x > 0, x, 0.1 * x)
    np.testing.assert_allclose(output[:, 0, 0], x, rtol=1e-5)
    assert [layer.filters for layer in translator.encoder] == [2, 3, 3]


def test_float32_for_features_of_any_precision():
    paraphraser = Paraphraser()
    paraphraser.build((None, 4, 4, 6))
    for dtype in ("float16", "float64"):
        assert paraphraser.encode(np.ones((1, 4, 4, 6), dtype)).dtype == "float32"


def test_training_restores_the_features_better():
    x, teacher, history = images(), teacher_model(), keras.callbacks.History()
    before = [weight.numpy() for weight in teacher.weights]
    optimizer = keras.optimizers.Adam(0.01)
    paraphraser = train_paraphraser(teacher, "maps", x, 12, optimizer=optimizer, verbose=0, callbacks=[history])
    losses = history.history["loss"]
    assert losses[-1] < 0.8 * losses[0]
    maps = teacher.get_layer("maps")(x)
    assert float(keras.ops.mean(keras.ops.square(paraphraser(maps) - maps))) < losses[0]
    assert not paraphraser.trainable_variables and paraphraser.built
    for weight, old in zip(teacher.weights, before, strict=True):
        np.testing.assert_array_equal(weight.numpy(), old)
    assert teacher.trainable


def test_training_on_a_dataset_with_labels_and_features_before_the_activation():
    data = tf.data.Dataset.from_tensor_slices((images(4), np.zeros(4))).batch(2)
    paraphraser = train_paraphraser(teacher_model(), "maps", data, 1, 0.25, True, verbose=0, shuffle=False)
    assert paraphraser.factor_shape((None, 6, 6, 4)) == (None, 6, 6, 1)


def test_a_translator_carries_the_frozen_paraphraser(tmp_path):
    paraphraser = Paraphraser(0.5)
    paraphraser.build((None, 4, 4, 6))
    one = Translator(3, paraphraser)
    one.build((None, 4, 4, 2))
    assert len(one.trainable_variables) == 6 and len(one.weights) == 18
    again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(one))
    assert again.built and again.paraphraser.built and again.width == 3
    assert len(again.trainable_variables) == 6 and len(again.weights) == 18
    models = [keras.Sequential([keras.Input((4, 4, 2)), each]) for each in (one, again)]
    models[0].save_weights(tmp_path / "translator.weights.h5")
    models[1].load_weights(tmp_path / "translator.weights.h5")
    maps = np.random.default_rng(0).normal(size=(2, 4, 4, 6)).astype("float32")
    np.testing.assert_array_equal(one.paraphraser.encode(maps), again.paraphraser.encode(maps))


def test_bad_input():
    for ratio in (0.0, -1.0, float("nan")):
        with pytest.raises(ValueError, match="ratio to be a finite number > 0"):
            Paraphraser(ratio)
    with pytest.raises(ValueError, match="feature maps"):
        train_paraphraser(teacher_model(), "head", images(2), epochs=1, verbose=0)
    with pytest.raises(ValueError, match="teacher_layer_name"):
        train_paraphraser(teacher_model(), "no_such_layer", images(2), epochs=1, verbose=0)
