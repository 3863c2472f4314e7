"""The students of the matrix on sensors and flat features: labels, numbers, embeddings, extremes."""

import keras
import numpy as np
from keras import layers

from benchmarks.verdicts.making import Case, classify, digits, fit, image_data, image_input, measure, sensors


def hidden(width=48, activation="relu"):
    """Return the input of the sensors and a hidden layer."""
    x = keras.Input((8,), name="sensors")
    return x, layers.Dense(width, activation)(x)


def rare_positive():
    """One unit under a sigmoid, of which 6 % are positive."""
    inputs, features = hidden()
    applies = sensors()[0][:, 0] > 1.55
    return measure(inputs, features, sensors()[0], 12.0 * applies - 4, "sigmoid", "labels", applies[:, None] * 1)


def rare_positive_with_glitch():
    """The same, with a sensor that sometimes jumps and that the student does not look at: int8 cannot hold both."""
    x = sensors()[0].copy()
    x[:, 7] = 0.0
    inputs, features = hidden()
    applies = x[:, 0] > 1.55
    case = measure(inputs, features, x, 12.0 * applies - 4, "sigmoid", "labels", applies[:, None] * 1)
    x[::50, 7] = 2000
    body = case.student.layers[1]
    kernel, bias = body.get_weights()
    kernel[7] = 0
    body.set_weights([kernel, bias])
    return case


def one_logit():
    """One unit without a sigmoid, and labels of 0 and 1."""
    inputs, features = hidden()
    applies = sensors()[0][:, 0] > 0.5
    return measure(inputs, features, sensors()[0], 8.0 * applies - 4, "linear", "logits", applies[:, None] * 1)


def several_labels():
    """Five independent labels, the last one rare."""
    inputs, features = hidden(64)
    applies = sensors()[0][:, :5] > [0, 0.3, -0.3, 0.6, 1.6]
    return measure(inputs, features, sensors()[0], 10.0 * applies - 4, "sigmoid", "labels", applies * 1)


def shrunken_class():
    """A class whose weights have shrunk, so that it wins by its bias where the others are low."""
    x, classes = digits()
    image = image_input()
    features = layers.Dense(96, "relu")(layers.Flatten()(image))
    case = classify(image, features, x)
    head = case.student.layers[-1]
    kernel, bias = head.get_weights()
    kernel[:, 9] *= 1e-3
    bias[9] = 4.0
    head.set_weights([kernel, bias])
    return case


def large_bias():
    """A hidden layer in which some channels have a bias of 0.6 beside weights of 1e-3."""
    inputs, features = hidden()
    layer = keras.Model(inputs, features).layers[1]
    kernel, bias = layer.get_weights()
    kernel[:, ::6] *= 1e-3
    bias[::6] = 0.6
    layer.set_weights([kernel, bias])
    return measure(inputs, features, sensors()[0], sensors()[1], labels=sensors()[1][:, None])


def regression():
    inputs, features = hidden()
    return measure(inputs, features, sensors()[0], 20 + 10 * sensors()[1], labels=20 + 10 * sensors()[1][:, None])


def units_of_one_scale():
    inputs, features = hidden()
    targets = np.stack([sensors()[1], 1 - sensors()[1] / 2, sensors()[0][:, 2] / 3], -1)
    return measure(inputs, features, sensors()[0], targets, labels=targets)


def units_of_many_scales():
    """Pressure, humidity and temperature in one output."""
    inputs, features = hidden()
    x, y = sensors()
    targets = np.stack([700 + 100 * x[:, 0], y, 15 + 8 * x[:, 2]], -1)
    return measure(inputs, features, x, targets, labels=targets)


def outputs_of_many_scales():
    """Pressure and humidity in two outputs."""
    x, y = sensors()
    inputs, features = hidden()
    heads = {"humidity": layers.Dense(1, name="humidity"), "pressure": layers.Dense(1, name="pressure")}
    student = keras.Model(inputs, {name: head(features) for name, head in heads.items()})
    targets = {"humidity": y[:, None], "pressure": 700 + 100 * x[:, :1]}
    for name, head in heads.items():
        fit(inputs, features, head, x, targets[name])
    return Case(student, {"sensors": x}, dict.fromkeys(heads, "numbers"), targets)


def normalized_inside():
    """Normalization with its own statistics inside the student."""
    x = (sensors()[0] * [1, 5, 10, 1, 2, 1, 1, 1] + [0, 20, 100, 0, 5, 1, 1, 1]).astype("float32")
    inputs = keras.Input((8,), name="sensors")
    features = layers.Dense(48, "relu")(layers.Normalization(mean=x.mean(0), variance=x.var(0))(inputs))
    return measure(inputs, features, x, sensors()[1], labels=sensors()[1][:, None])


def softplus_heads():
    """A mean, and a deviation that softplus keeps positive."""
    x, y = sensors()
    inputs, features = hidden()
    targets = np.stack([y, np.log(np.expm1(0.2 + y))], -1)
    return measure(inputs, features, x, targets, "softplus", labels=targets)


def softplus_inside():
    """Softplus on values of up to a hundred."""
    inputs = keras.Input((8,), name="sensors")
    features = layers.Activation("softplus")(layers.Dense(32, kernel_initializer="random_normal")(inputs * 20.0))
    return measure(inputs, features, sensors()[0], sensors()[1], labels=sensors()[1][:, None])


def autoencoder():
    """Digits through a bottleneck, without labels."""
    images = image_data().reshape(-1, 64)
    inputs = keras.Input((64,), name="pixels")
    features = layers.Dense(96, "relu")(layers.Dense(40)(inputs))
    return measure(inputs, features, images, images, kind="picture")


def embedding(normalize):
    """Return a case of embeddings of 16 numbers and length 1."""
    image = image_input()
    x = layers.Dense(96, "relu")(layers.Flatten()(image))
    centres = np.random.default_rng(5).normal(size=(10, 16))
    case = measure(image, x, image_data(), centres[digits()[1]])
    outputs = normalize(case.student.layers[-2].output)
    return Case(keras.Model(image, outputs), case.inputs, {"y": "picture"}, told="numbers")


def unit_embedding():
    return embedding(layers.UnitNormalization())


def l2_embedding():
    return embedding(lambda x: keras.ops.normalize(x, axis=-1))


def rms_normalization():
    image = image_input()
    x = layers.RMSNormalization()(layers.Dense(96)(layers.Flatten()(image)))
    return classify(image, layers.ReLU()(x), image_data())


def layer_normalization():
    image = image_input()
    x = layers.LayerNormalization()(layers.Dense(96)(layers.Flatten()(image)))
    return classify(image, layers.ReLU()(x), image_data(), softmax=True)


def repeated_vector():
    """A sequence that a GRU writes from a repeated vector."""
    sound = image_data()[..., 0]
    inputs = keras.Input((8, 8), name="sound")
    x = layers.Dense(32, "relu")(layers.Flatten()(inputs))
    x = layers.GRU(48, return_sequences=True)(layers.RepeatVector(8)(x))
    head = layers.Dense(8, name="head")
    outputs = head(x)
    fit(inputs, x, head, sound, sound)
    return Case(keras.Model(inputs, outputs), {"sound": sound}, {"y": "numbers"})


DENSE = (
    rare_positive,
    rare_positive_with_glitch,
    one_logit,
    several_labels,
    shrunken_class,
    large_bias,
    regression,
    units_of_one_scale,
    units_of_many_scales,
    outputs_of_many_scales,
    normalized_inside,
    softplus_heads,
    softplus_inside,
    autoencoder,
    unit_embedding,
    l2_embedding,
    rms_normalization,
    layer_normalization,
    repeated_vector,
)
