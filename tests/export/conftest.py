"""A small student of real digits, and one shared export of it in the most common formats."""

import contextlib

import keras
import numpy as np
import pytest
from sklearn.datasets import load_digits

from keras_distill import export as room
from keras_distill.export import exporter
from keras_distill.export.conversion.sources import Converter
from keras_distill.export.runtimes import remote, session
from keras_distill.export.worker import Process

FORMATS = ("saved_model", "tflite", "tflite_int8")


@pytest.fixture(scope="session")
def digits():
    """Scikit-learn's 8×8 digits: `(train x, train y), (test x, test y)`."""
    bunch = load_digits()
    x, y = (bunch.images[..., None] / 16).astype("float32"), bunch.target
    order = np.random.default_rng(0).permutation(len(x))
    x, y = x[order], y[order]
    return (x[:1400], y[:1400]), (x[1400:], y[1400:])


@pytest.fixture(scope="session")
def student(digits):
    """A convolutional student, trained a little."""
    keras.utils.set_random_seed(0)
    model = keras.Sequential(
        [
            keras.Input((8, 8, 1), name="image"),
            keras.layers.Conv2D(8, 3, padding="same"),
            keras.layers.BatchNormalization(),
            keras.layers.ReLU(),
            keras.layers.MaxPooling2D(),
            keras.layers.Flatten(),
            keras.layers.Dense(10, name="logits"),
        ],
        name="digits",
    )
    model.compile(keras.optimizers.Adam(0.01), keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    model.fit(*digits[0], epochs=4, verbose=0)
    return model


@pytest.fixture(scope="session")
def exported(student, digits, tmp_path_factory):
    """`(directory, report)` of an export in three formats; the whole table is `test_matrix.py`'s."""
    train, test = digits
    path = tmp_path_factory.mktemp("exported") / "digits"
    return path, room.export(student, path, FORMATS, calibration_data=train, evaluation_data=test)


@pytest.fixture(scope="session")
def converter(tmp_path_factory):
    """One converter process for all tests, since starting one costs seconds."""
    with Converter(tmp_path_factory.mktemp("converter")) as running:
        yield running


@pytest.fixture(scope="session")
def server(tmp_path_factory):
    """One process for the SavedModels of all tests, since each would import TensorFlow anew."""
    with Process(session.__name__, tmp_path_factory.mktemp("server") / "runtime.log", 600.0) as running:
        yield running


@pytest.fixture(autouse=True)
def shared_processes(converter, server, monkeypatch):
    """Let every export but the session's own use the shared processes."""

    class Shared(Process):
        served = False

        def ask(self, function, **arguments):
            self.served |= arguments.get("runtime") == "saved_model"
            return server.ask(function, **arguments) if self.served else super().ask(function, **arguments)

    monkeypatch.setattr(exporter, "Converter", lambda work, time_limit: contextlib.nullcontext(converter))
    monkeypatch.setattr(remote, "Process", Shared)


@pytest.fixture
def tiny():
    """An untrained student of four numbers and three classes, and data for it."""
    keras.utils.set_random_seed(1)
    model = keras.Sequential([keras.Input((4,), name="x"), keras.layers.Dense(3, name="logits")])
    return model, np.random.default_rng(1).normal(size=(12, 4)).astype("float32")
