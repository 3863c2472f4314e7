"""The zoo: small students of every kind that people export, and real digits in the shape that each takes.

None is trained by gradients: their bodies are random, their heads are fitted in closed form, which takes milliseconds
and gives answers as clear as training does.
"""

import dataclasses

import keras
import numpy as np
from keras import layers
from sklearn.datasets import load_digits

SEED = 11
WORDS = 17
COUNT = 64


@dataclasses.dataclass(frozen=True)
class Specimen:
    """A student, data to calibrate it on, and other data, with labels, to compare it on."""

    student: keras.Model
    calibration: object
    evaluation: tuple


def cnn():
    """Convolutions, depthwise and separable ones, with batch normalization, for 8×8 grey digits."""
    image = keras.Input((8, 8, 1), name="image")
    x = _normalized(layers.Conv2D(12, 3, padding="same", use_bias=False)(image))
    x = _normalized(layers.DepthwiseConv2D(3, padding="same", use_bias=False)(x))
    x = layers.MaxPooling2D()(_normalized(layers.Conv2D(24, 1, use_bias=False)(x)))
    x = layers.SeparableConv2D(24, 3, padding="same", activation="relu")(x)
    return _classifier(image, layers.Flatten()(x), digits())


def mobilenet():
    """Inverted residuals with ReLU6, for 32×32 colour images."""
    image = keras.Input((32, 32, 3), name="image")
    x = _normalized(layers.Conv2D(8, 3, 2, padding="same", use_bias=False)(image), 6.0)
    for filters, stride in ((8, 1), (16, 2), (16, 1)):
        y = _normalized(layers.Conv2D(4 * filters, 1, use_bias=False)(x), 6.0)
        y = _normalized(layers.DepthwiseConv2D(3, stride, padding="same", use_bias=False)(y), 6.0)
        y = layers.BatchNormalization(momentum=0.0)(layers.Conv2D(filters, 1, use_bias=False)(y))
        x = layers.Add()([x, y]) if x.shape == y.shape else y
    pooled = layers.AveragePooling2D(4)(_normalized(layers.Conv2D(64, 1, use_bias=False)(x), 6.0))
    return _classifier(image, layers.Flatten()(pooled), _in_colour(digits()))


def vit(gelu="gelu"):
    """Patches, positions, attention, layer normalization and GELU, for 8×8 grey digits."""
    image = keras.Input((8, 8, 1), name="image")
    x = layers.Reshape((16, 24))(layers.Conv2D(24, 2, 2)(image))
    x = Positions()(x)
    for _ in range(2):
        y = layers.LayerNormalization()(x)
        x = layers.Add()([x, layers.MultiHeadAttention(2, 12)(y, y)])
        y = layers.Dense(48, activation=gelu)(layers.LayerNormalization()(x))
        x = layers.Add()([x, layers.Dense(24)(y)])
    return _classifier(image, layers.Flatten()(layers.LayerNormalization()(x)), digits())


def lstm():
    """Words to a long short-term memory."""
    return _recurrent(layers.LSTM(24, name="memory"))


def gru():
    """Words to a gated recurrent unit."""
    return _recurrent(layers.GRU(24, name="memory"))


def two_ends():
    """An image and words in; a class, as probabilities, and a number out."""
    x, y = digits()
    words = keras.Input((8,), dtype="int32", name="words")
    image = keras.Input((8, 8, 1), name="image")
    seen = layers.Flatten()(layers.Conv2D(8, 3, activation="relu")(image))
    read = layers.Flatten()(_embedded(words, 4))
    joined = layers.Dense(32, activation="relu")(layers.Concatenate()([seen, read]))
    outputs = {"kind": layers.Dense(10, name="kind"), "ink": layers.Dense(1, name="ink")}
    data = {"image": x, "words": _as_words(x)}
    targets = {"kind": y, "ink": x.mean((1, 2))}
    body = keras.Model([image, words], joined)
    heads = {name: head(joined) for name, head in outputs.items()}
    heads["kind"] = layers.Softmax(name="probability")(heads["kind"])
    student = keras.Model([image, words], heads, name="two_ends")
    _fit_head(body, outputs["kind"], data, 10 * (np.eye(10)[y] - 0.1))
    _fit_head(body, outputs["ink"], data, targets["ink"])
    return _specimen(student, data, targets)


class Positions(layers.Layer):
    """Adds a learned vector to each patch, depending on where it is."""

    def build(self, shape):
        self.vectors = self.add_weight(shape=shape[1:], initializer="random_normal", name="vectors")

    def call(self, inputs):
        return inputs + self.vectors


def specimen(name):
    """Build a student of the zoo, the same one each time."""
    keras.utils.set_random_seed(SEED)
    return STUDENTS[name]()


STUDENTS = {make.__name__: make for make in (cnn, mobilenet, vit, lstm, gru, two_ends)}


def digits():
    """Scikit-learn's digits, shuffled: `(count, 8, 8, 1)` from 0 to 1, and classes."""
    bunch = load_digits()
    order = np.random.default_rng(0).permutation(len(bunch.target))[:640]
    return (bunch.images[order, ..., None] / 16).astype("float32"), bunch.target[order]


def _in_colour(data):
    x, y = data
    tint = np.random.default_rng(1).uniform(0.5, 1, size=(len(x), 1, 1, 3))
    return (x.repeat(4, 1).repeat(4, 2) * tint).astype("float32"), y


def _as_words(x):
    """The mean of each of eight blocks of the image is a word."""
    return np.round(16 * x.reshape(len(x), 4, 2, 2, 4).mean((2, 4))).astype("int32").reshape(len(x), 8)


def _recurrent(memory):
    x, y = digits()
    words = keras.Input((8,), dtype="int32", name="words")
    return _classifier(words, memory(_embedded(words, 12)), (_as_words(x), y))


def _embedded(words, size):
    """Vectors of about the size that training gives them; Keras starts from smaller ones."""
    return layers.Embedding(WORDS, size, keras.initializers.RandomNormal(stddev=0.5))(words)


def _normalized(x, ceiling=None):
    """Batch normalization, which takes the statistics of the batch that it last sees, and a ReLU."""
    around_one = keras.initializers.RandomUniform(0.8, 1.2)
    return layers.ReLU(ceiling)(layers.BatchNormalization(momentum=0.0, gamma_initializer=around_one)(x))


def _classifier(inputs, features, data):
    head = layers.Dense(10, name="logits")
    student = keras.Model(inputs, head(features))
    _fit_head(keras.Model(inputs, features), head, data[0], 10 * (np.eye(10)[data[1]] - 0.1))
    return _specimen(student, *data)


def _fit_head(body, head, data, targets):
    """Solve for the weights of the last layer: ridge regression of the targets on the body's features."""
    rows = slice(2 * COUNT, None)
    body(_rows(data, rows), training=True)
    features = np.asarray(body(_rows(data, rows), training=False), np.float64)
    targets = np.reshape(targets[rows], (len(features), -1))
    centre = features.mean(0)
    products = (features - centre).T @ (features - centre)
    strength = 1e-2 * np.trace(products) / len(products)
    kernel = np.linalg.solve(products + strength * np.eye(len(centre)), (features - centre).T @ targets)
    head.set_weights([kernel, targets.mean(0) - centre @ kernel])


def _specimen(student, data, labels):
    calibration, evaluation = slice(COUNT), slice(COUNT, 2 * COUNT)
    return Specimen(student, _rows(data, calibration), (_rows(data, evaluation), _rows(labels, evaluation)))


def _rows(arrays, rows):
    return keras.tree.map_structure(lambda array: array[rows], arrays)
