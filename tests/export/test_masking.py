"""Transformers that mask scores, in every form in which Keras and its users write it, in integers."""

import keras
import numpy as np
import pytest
from keras import layers, ops

from tests.export.in_process import Files, correlate

LENGTH, WIDTH, WORDS = 8, 12, 15
GENERATOR = np.random.default_rng(0)
NUMBERS = GENERATOR.normal(size=(48, LENGTH, WIDTH)).astype("float32")
TOKENS = GENERATOR.integers(1, WORDS, size=(48, LENGTH)).astype("int32")
TOKENS[np.arange(LENGTH) >= GENERATOR.integers(3, LENGTH + 1, size=(48, 1))] = 0


class Scores(layers.Layer):
    """Attention of one head that masks padding by hand."""

    def __init__(self, mask):
        super().__init__()
        self.mask, self.query, self.key = mask, layers.Dense(WIDTH), layers.Dense(WIDTH)

    def build(self, shapes):
        self.query.build(shapes[0])
        self.key.build(shapes[0])

    def call(self, inputs):
        x, tokens = inputs
        scores = ops.matmul(self.query(x), ops.transpose(self.key(x), (0, 2, 1))) / WIDTH**0.5
        padding = ops.cast(ops.equal(tokens, 0), "float32")[:, None, :]
        return ops.matmul(ops.softmax(self.mask(scores, padding)), x)


class Causal(layers.Layer):
    """Attention by `keras.ops.dot_product_attention`, or by a constant matrix that is added to the scores."""

    def __init__(self, constant=False):
        super().__init__()
        self.constant, self.dense = constant, layers.Dense(3 * WIDTH)

    def build(self, shape):
        self.dense.build(shape)

    def call(self, x):
        query, key, value = ops.split(ops.reshape(self.dense(x), (-1, LENGTH, 2, 3 * WIDTH // 2)), 3, -1)
        if self.constant:
            query, key, value = (ops.transpose(each, (0, 2, 1, 3)) for each in (query, key, value))
            later = np.triu(np.full((LENGTH, LENGTH), -1e9, "float32"), 1)
            weights = ops.softmax(ops.matmul(query, ops.transpose(key, (0, 1, 3, 2))) + later)
            answer = ops.transpose(ops.matmul(weights, value), (0, 2, 1, 3))
        else:
            answer = ops.dot_product_attention(query, key, value, is_causal=True)
        return ops.reshape(answer, (-1, LENGTH, WIDTH))


def causal(attend):
    """Return a student of two blocks over numbers."""
    inputs = keras.Input((LENGTH, WIDTH), name="x")
    x = inputs
    for _ in range(2):
        x = layers.LayerNormalization()(x + attend(x))
    return keras.Model(inputs, layers.Dense(4)(layers.Flatten()(x))), NUMBERS


def padded(attend, mask_zero):
    """Return a student over words and padding."""
    inputs = keras.Input((LENGTH,), dtype="int32", name="x")
    wide = keras.initializers.RandomNormal(stddev=1.0)
    x = layers.Embedding(WORDS, WIDTH, wide, mask_zero=mask_zero)(inputs)
    x = layers.LayerNormalization()(x + attend(x, inputs))
    return keras.Model(inputs, layers.Dense(4)(layers.GlobalAveragePooling1D()(x))), TOKENS


def by_hand(mask):
    return padded(lambda x, tokens: Scores(mask)([x, tokens]), mask_zero=False)


def implied(layer):
    return padded(lambda x, tokens: layer(x), mask_zero=True)


def passed_in():
    """Return a student that takes the mask as an input of its own."""
    inputs, kept = keras.Input((LENGTH, WIDTH), name="x"), keras.Input((LENGTH,), dtype="int32", name="kept")
    mask = ops.equal(kept, 1)[:, None, :]
    x = layers.LayerNormalization()(inputs + layers.MultiHeadAttention(2, 6)(inputs, inputs, attention_mask=mask))
    student = keras.Model([inputs, kept], layers.Dense(4)(x[:, 0]))
    return student, [NUMBERS, (TOKENS > 0).astype("int32")]


STUDENTS = {
    "causal": lambda: causal(lambda x: layers.MultiHeadAttention(2, 6)(x, x, use_causal_mask=True)),
    "causal_operation": lambda: causal(lambda x: Causal()(x)),
    "causal_constant": lambda: causal(lambda x: Causal(constant=True)(x)),
    "grouped": lambda: causal(lambda x: layers.GroupQueryAttention(6, 4, 2)(x, x, use_causal_mask=True)),
    "padding": lambda: implied(lambda x: layers.MultiHeadAttention(2, 6)(x, x)),
    "padding_attention": lambda: implied(lambda x: layers.Attention()([x, x])),
    "padding_additive": lambda: implied(lambda x: layers.AdditiveAttention()([x, x])),
    "passed_in": passed_in,
    "added": lambda: by_hand(lambda scores, padding: scores + padding * -1e9),
    "subtracted": lambda: by_hand(lambda scores, padding: scores - padding * 1e9),
    "small": lambda: by_hand(lambda scores, padding: scores + padding * -1e4),
    "largest": lambda: by_hand(lambda scores, padding: scores + padding * float(np.finfo("float32").min)),
    "infinite": lambda: by_hand(lambda scores, padding: ops.where(padding > 0.5, -np.inf, scores)),
    "replaced": lambda: by_hand(lambda scores, padding: scores * (1 - padding) - 1e9 * padding),
}


@pytest.mark.parametrize("name", STUDENTS)
def test_masked_attention_in_integers(name, tmp_path):
    keras.utils.set_random_seed(1)
    files = Files(*STUDENTS[name](), tmp_path)
    expected = files.expected()
    assert files.complain("tflite_int8") == []
    assert correlate(files.run("tflite_int8"), expected) > 0.997
    # The integers of 16 bits leave nothing but the rounding of the weights.
    assert correlate(files.run("tflite_int16x8"), expected) > 0.9997


def test_large_numbers_that_are_no_masks_keep_their_range(tmp_path):
    inputs = keras.Input((4,), name="x")
    student = keras.Model(inputs, layers.Rescaling(3e9)(inputs))
    x = np.linspace(-1, 1, 400, dtype="float32").reshape(100, 4)
    files = Files(student, x, tmp_path)
    np.testing.assert_allclose(files.run("tflite_int8"), files.expected(), atol=3e9 / 100)
