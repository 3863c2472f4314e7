"""Long rows, computed one after another, give the same divergence as all rows at once."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from numpy.testing import assert_allclose

from keras_distill.losses import divergences, kl

CLASSES = kl.LONG


def value_and_slopes(teacher, student, temperature):
    with tf.GradientTape() as tape:
        tape.watch([student, temperature])
        value = divergences.kl_divergence(teacher, student, temperature)
    return value, *tape.gradient(value, [student, temperature])


def logits(*shape):
    draw = np.random.default_rng(0)
    return [tf.constant(draw.normal(0, 3, shape), "float32") for _ in range(2)]


@pytest.mark.tensorflow_only
@pytest.mark.parametrize("shape", [(CLASSES,), (3, CLASSES), (2, 3, CLASSES)])
@pytest.mark.parametrize(
    "run", [lambda function: function, tf.function, lambda function: tf.function(function, jit_compile=True)]
)
def test_divergence(monkeypatch, shape, run):
    rows, arguments = [], (*logits(*shape), tf.constant(2.0))
    monkeypatch.setattr(keras.ops, "map", lambda *given, map=keras.ops.map: rows.append(given) or map(*given))
    one_by_one = run(value_and_slopes)(*arguments)
    assert len(rows) == 1
    monkeypatch.setattr(kl, "LONG", CLASSES + 1)
    at_once = run(lambda *given: value_and_slopes(*given))(*arguments)
    assert len(rows) == 1
    for mine, whole in zip(one_by_one, at_once, strict=True):
        assert mine.shape == whole.shape
        assert_allclose(mine, whole, rtol=2e-5, atol=1e-9)


@pytest.mark.tensorflow_only
def test_a_batch_of_unknown_size():
    function = tf.function(value_and_slopes, input_signature=[tf.TensorSpec((None, CLASSES))] * 2 + [tf.TensorSpec(())])
    teacher, student = logits(3, CLASSES)
    many, one = (function(teacher[:n], student[:n], tf.constant(2.0)) for n in (3, 1))
    assert_allclose(many[0][:1], one[0], rtol=1e-6)
    assert_allclose(many[1][:1], one[1], rtol=1e-6)
