"""Teachers in a precision of their own."""

import keras
import numpy as np
import pytest
from keras import layers

import keras_distill as kd
from keras_distill.teachers.precision import in_precision


@pytest.fixture(scope="module")
def teacher():
    keras.utils.set_random_seed(0)
    inner = keras.Sequential([keras.Input((6, 6, 4)), layers.BatchNormalization(), layers.ReLU()], name="inner")
    inputs = keras.Input((6, 6, 1))
    x = inner(layers.Conv2D(4, 3, padding="same", name="stem")(inputs))
    x = layers.MultiHeadAttention(2, 4)(layers.Reshape((36, 4))(x), layers.Reshape((36, 4))(x))
    return keras.Model(inputs, layers.Dense(3, name="head")(layers.TimeDistributed(layers.Dense(2))(x)[:, 0]))


X = np.random.default_rng(0).normal(size=(5, 6, 6, 1)).astype("float32")


@pytest.mark.parametrize("dtype, limit", [("float32", 1e-6), ("float16", 5e-3), ("bfloat16", 5e-2)])
def test_answers_are_the_same_but_for_rounding(teacher, dtype, limit):
    wanted, made = teacher(X), in_precision(teacher, dtype)
    got = made(X)
    assert keras.backend.standardize_dtype(got.dtype) == dtype
    assert {weight.dtype for weight in made.weights if "seed" not in weight.path} == {dtype}
    np.testing.assert_allclose(keras.ops.cast(got, "float32"), wanted, atol=limit * float(np.abs(wanted).max()))
    assert {weight.dtype for weight in teacher.weights if "seed" not in weight.path} == {"float32"}
    assert [layer.name for layer in made.layers[1:]] == [layer.name for layer in teacher.layers[1:]]


def test_tokens_stay_integers():
    model = keras.Sequential([keras.Input((3,), dtype="int32"), layers.Embedding(300, 4), layers.Flatten()])
    tokens = np.array([[1, 257, 299]])
    got = in_precision(model, "bfloat16")(tokens)
    np.testing.assert_allclose(keras.ops.cast(got, "float32"), model(tokens), rtol=1e-2)


def test_inputs_keep_their_names():
    inputs = {name: keras.Input((2,), name=name) for name in ("b", "a")}
    model = keras.Model(inputs, layers.Dense(3)(inputs["a"] - inputs["b"]))
    x = {"a": np.ones((1, 2), "float32"), "b": np.full((1, 2), 0.5, "float32")}
    np.testing.assert_allclose(in_precision(model, "float32")(x), model(x))


def test_none_is_the_teacher_itself(teacher):
    assert in_precision(teacher) is teacher


def test_what_cannot_be_cloned_is_refused(teacher):
    foreign = kd.teachers.as_teacher(lambda x: np.zeros((len(x), 2)), input_shape=(4,))
    with pytest.raises(ValueError, match="Expected a Functional or Sequential teacher"):
        in_precision(foreign, "bfloat16")
    with pytest.raises(ValueError, match="'bfloat16'"):
        in_precision(teacher, "bfloat61")
