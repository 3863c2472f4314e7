"""Models that the tests share, trained once."""

import keras
import pytest
from keras import layers

import keras_distill as kd


@pytest.fixture(scope="session")
def digits():
    """Scikit-learn's digits, a `Data`."""
    return kd.data.digits()


def mobile(seed=0):
    """Build a small net of every kind of layer that phones run: folded normalization, depthwise, a sum, a softmax."""
    keras.utils.set_random_seed(seed)

    def normalized(x, layer, name):
        x = layers.BatchNormalization(momentum=0.8, name=f"{name}_norm")(layer(x))
        return layers.ReLU(6.0, name=f"{name}_relu")(x)

    inputs = keras.Input((8, 8, 1), name="image")
    x = normalized(inputs, layers.Conv2D(8, 3, padding="same", use_bias=False, name="stem"), "stem")
    y = normalized(x, layers.DepthwiseConv2D(3, padding="same", use_bias=False, name="depth"), "depth")
    y = layers.BatchNormalization(momentum=0.8, name="point_norm")(layers.Conv2D(8, 1, name="point")(y))
    x = layers.ReLU(name="sum_relu")(layers.Add(name="sum")([x, y]))
    x = layers.Concatenate(name="both")(
        [layers.MaxPooling2D(name="max")(x), layers.AveragePooling2D(2, name="mean")(x)]
    )
    x = layers.Dropout(0.1, name="dropout")(layers.Flatten(name="flat")(x))
    return keras.Model(inputs, layers.Dense(10, name="logits")(x), name="student")


@pytest.fixture(scope="session")
def small(digits):
    """A smaller net, trained on the digits, for tests of training, which spend most of their time on tracing."""
    keras.utils.set_random_seed(0)
    model = keras.Sequential(
        [
            keras.Input((8, 8, 1), name="image"),
            layers.Conv2D(12, 3, strides=2, name="conv"),
            layers.BatchNormalization(momentum=0.8, name="norm"),
            layers.ReLU(name="relu"),
            layers.Flatten(name="flat"),
            layers.Dropout(0.1, name="dropout"),
            layers.Dense(10, name="logits"),
        ],
        name="small",
    )
    fit(model, digits, epochs=10)
    return model


@pytest.fixture(scope="session")
def student(digits):
    """The net, trained on the digits."""
    model = mobile()
    fit(model, digits, epochs=8)
    return model


def fit(model, digits, epochs, rate=5e-3, jit_compile=False):
    """Train a model or a `Distiller` on the digits; return the history of its loss."""
    keras.utils.set_random_seed(1)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.Adam(rate), loss, jit_compile=jit_compile)
    return model.fit(*digits.train, batch_size=64, epochs=epochs, verbose=0).history["loss"]
