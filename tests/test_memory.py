"""What saves memory: gradients accumulated, activations computed again, logits never held."""

import contextlib

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

import keras_distill as kd

X = np.random.default_rng(0).normal(size=(32, 6)).astype("float32")
Y = np.arange(32) % 3


def model(width, name=None):
    return keras.Sequential([keras.Input((6,)), layers.Dense(width, "relu", name="hidden"), layers.Dense(3)], name=name)


def distilled(batch, **optimizer):
    """Train the same student on the same samples, three times each; return its distiller."""
    keras.utils.set_random_seed(0)
    feature = kd.losses.FeatureDistillation("mse", teacher_layer_name="hidden", student_layer_name="hidden")
    distiller = kd.Distiller(model(8), model(8), [kd.losses.LogitsDistillation(4.0), feature])
    distiller.compile(keras.optimizers.Adam(0.05, **optimizer), "sparse_categorical_crossentropy")
    distiller.fit(X, Y, batch_size=batch, epochs=3, shuffle=False, verbose=0)
    return distiller


@pytest.mark.slow
def test_four_small_batches_are_one_large_one():
    large, small = distilled(32), distilled(8, gradient_accumulation_steps=4)
    for wanted, got in zip(large.student.get_weights(), small.student.get_weights(), strict=True):
        np.testing.assert_allclose(got, wanted, atol=1e-6)
    # What a schedule of the temperature counts, by steps, are updates.
    assert int(small.optimizer.iterations) == int(large.optimizer.iterations) == 3


def rematerialised(layer=False, whole=False):
    """Return a student of which a layer, or the whole, computes its activations again."""
    keras.utils.set_random_seed(1)
    inputs = keras.Input((6,))
    with keras.RematScope(mode="full") if layer else contextlib.nullcontext():
        outputs = layers.Dense(3)(layers.Dense(8, "relu", name="hidden")(inputs))
    with keras.RematScope(mode="full") if whole else contextlib.nullcontext():
        return keras.Model(inputs, outputs)


def gradients_of_a_feature(student):
    feature = kd.losses.FeatureDistillation("mse", teacher_layer_name="hidden", student_layer_name="hidden")
    keras.utils.set_random_seed(2)
    distiller = kd.Distiller(model(8), student, feature)
    distiller.compile("sgd")
    with tf.GradientTape() as tape:
        loss = distiller.compute_loss(X, training=True)
    return tape.gradient(loss, student.layers[1].trainable_variables)


def test_features_of_a_rematerialised_layer_have_their_gradient():
    wanted, got = gradients_of_a_feature(rematerialised()), gradients_of_a_feature(rematerialised(layer=True))
    assert all(float(np.abs(each).max()) > 1e-4 for each in wanted)
    for one, other in zip(got, wanted, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-6)


def test_features_inside_what_is_rematerialised_are_refused():
    with pytest.raises(ValueError, match="and the model or layer that contains them outside of it"):
        gradients_of_a_feature(rematerialised(whole=True))


def language_model(width):
    inputs = keras.Input((5,), dtype="int32")
    x = layers.Dense(width, "relu")(layers.Embedding(50, width)(inputs))
    return keras.Model(inputs, layers.Dense(50, name="head")(x))


@pytest.mark.slow
def test_a_vocabulary_whose_logits_are_never_held():
    tokens, losses = np.random.default_rng(0).integers(0, 50, (8, 6)), []
    for fused, jit_compile in ((False, False), (True, False), (True, True)):
        keras.utils.set_random_seed(0)
        teacher, student = language_model(16), language_model(8)
        soft = kd.losses.FusedVocabulary(2.0, teacher_head="head") if fused else kd.losses.LogitsDistillation(2.0)
        distiller = kd.Distiller(teacher, student, soft)
        hard = None if fused else keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        distiller.compile(keras.optimizers.Adam(0.01), hard, jit_compile=jit_compile)
        history = distiller.fit(tokens[:, :-1], tokens[:, 1:], batch_size=8, epochs=4, shuffle=False, verbose=0)
        losses.append(history.history["loss"])
    assert losses[0][-1] < losses[0][0]
    np.testing.assert_allclose(losses[1:], [losses[0]] * 2, rtol=1e-5)
