"""What the students share: their data, and heads that are fitted in closed form, which takes milliseconds.

Bodies are random. A ridge regression fits the last layer to logits or numbers, which gives answers as clear as training
does. Batch normalization takes the statistics of the data in the same pass.
"""

import dataclasses
import functools
from typing import Any

import keras
import numpy as np
from keras import layers

CALIBRATION, EVALUATION = slice(0, 160), slice(160, 416)


@dataclasses.dataclass(frozen=True)
class Case:
    """A student, its data, and what its outputs are.

    Attributes:
        student: `keras.Model`.
        inputs: Dict of input name to array, all samples.
        kinds: Dict of output name to its kind, as `checker.judge` takes it, in the student's order.
        targets: Array or dict of arrays, which `export` gets as labels; `None` for no labels.
        told: What `export` is told as `kinds`. Defaults to `None`.
    """

    student: Any
    inputs: dict
    kinds: dict
    targets: Any = None
    told: Any = None

    def data(self, rows):
        """Return what `export` takes: the inputs of some samples, with the labels if there are any."""
        x = {name: array[rows] for name, array in self.inputs.items()}
        x = next(iter(x.values())) if len(x) == 1 else x
        if self.targets is None:
            return x
        return x, keras.tree.map_structure(lambda array: array[rows], self.targets)

    def answer(self, inputs):
        """Return a dict of output name to what the student answers, asked through Keras."""
        flat = [inputs[tensor.name.split(":")[0]] for tensor in self.student.inputs]
        structure = self.student.inputs[0] if isinstance(self.student, keras.Sequential) else self.student.input
        answers = self.student(keras.tree.pack_sequence_as(structure, flat), training=False)
        return dict(zip(self.kinds, map(np.asarray, keras.tree.flatten(answers)), strict=True))


@functools.cache
def digits():
    """Scikit-learn's digits, shuffled: images `(1200, 8, 8, 1)` from 0 to 1, and classes."""
    from sklearn.datasets import load_digits

    bunch = load_digits()
    order = np.random.default_rng(0).permutation(len(bunch.target))[:1200]
    return (bunch.images[order, ..., None] / 16).astype("float32"), bunch.target[order]


@functools.cache
def words():
    """Eight words for each digit, `(1200, 8)` int32 from 1 to 17, and its class."""
    images, classes = digits()
    blocks = images.reshape(len(images), 4, 2, 2, 4).mean((2, 4))
    return (1 + np.round(16 * blocks)).astype("int32").reshape(len(images), 8), classes


@functools.cache
def sensors():
    """Eight sensors: numbers `(1200, 8)` around 0, and a smooth quantity from 0 to 1."""
    x = np.random.default_rng(3).normal(size=(1200, 8)).astype("float32")
    return x, (1 / (1 + np.exp(-1.5 * x[:, 0] - x[:, 1]))).astype("float32")


def normalized(x, activation="relu"):
    """Batch normalization, which takes the statistics of the batch that it last sees, and an activation."""
    around_one = keras.initializers.RandomUniform(0.8, 1.2)
    return layers.Activation(activation)(layers.BatchNormalization(momentum=0.0, gamma_initializer=around_one)(x))


def fit(inputs, features, head, data, targets):
    """Solve for the weights of a head, a `Dense` or a 1×1 `Conv2D`, so that it answers the targets on the data."""
    body = keras.Model(inputs, features)
    body(data, training=True)
    x = np.asarray(body(data, training=False), np.float64)
    x, targets = x.reshape(-1, x.shape[-1]), np.reshape(targets, (-1, head.get_weights()[1].size)).astype(np.float64)
    centre = x.mean(0)
    products = (x - centre).T @ (x - centre)
    ridge = 1e-2 * np.trace(products) / len(products)
    kernel = np.linalg.solve(products + ridge * np.eye(len(centre)), (x - centre).T @ targets)
    bias = targets.mean(0) - centre @ kernel
    head.set_weights([kernel.reshape(head.get_weights()[0].shape), bias])


def logits_of(classes, width):
    """Return targets for the logits of classes."""
    return 10 * (np.eye(width)[classes] - 1 / width)


def classify(inputs, features, data, targets=None, softmax=False):
    """Return a case that tells the digits apart, by a `Dense` head on the features."""
    classes = digits()[1]
    head = layers.Dense(10, name="logits")
    outputs = head(features)
    fit(inputs, features, head, data, logits_of(classes, 10))
    outputs = layers.Softmax(name="probability")(outputs) if softmax else outputs
    named = {tensor.name: array for tensor, array in zip(keras.tree.flatten(inputs), keras.tree.flatten(data))}
    return Case(keras.Model(inputs, outputs), named, {"y": "classes"}, classes)


def measure(inputs, features, data, targets, activation="linear", kind="numbers", labels=None, told=None):
    """Return a case with a `Dense` head of as many units as there are targets, under an activation."""
    targets = np.reshape(targets, (len(targets), -1))
    head = layers.Dense(targets.shape[-1], name="head")
    outputs = layers.Activation(activation)(head(features))
    fit(inputs, features, head, data, targets)
    return Case(keras.Model(inputs, outputs), {inputs.name: data}, {"y": kind}, labels, told)


def image_input():
    """Return the input of digits."""
    return keras.Input((8, 8, 1), name="image")


def image_data():
    """Return the images of digits."""
    return digits()[0]
