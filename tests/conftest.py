"""What all tests share: quiet TensorFlow, fixed seeds, small models, and the optional folder of prepared data."""

import os
import pathlib

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
import pytest

# What writes files by TensorFlow's converters, or ends in doing so.
collect_ignore = (
    [] if keras.backend.backend() == "tensorflow" else ["cli", "export", "quantization", "recipes", "tutorials"]
)
SHARED = pathlib.Path(__file__).parents[2] / "shared"


def pytest_collection_modifyitems(items):
    if keras.backend.backend() != "tensorflow":
        for item in items:
            if item.get_closest_marker("tensorflow_only"):
                item.add_marker(pytest.mark.skip(reason="needs the TensorFlow backend"))


@pytest.fixture(autouse=True)
def fixed_seed():
    keras.utils.set_random_seed(7)


@pytest.fixture
def shared():
    """The folder of prepared data and conformance vectors that lies beside the checkout, where there is one."""
    if not SHARED.is_dir():
        pytest.skip("needs the folder of prepared data beside the checkout (../shared)")
    return SHARED


@pytest.fixture
def mlp():
    """Make a small dense classifier of 4 features and 3 classes."""

    def make(width=8, head=None, features=4, classes=3, dropout=0.0, name=None):
        layers = [keras.Input((features,)), keras.layers.Dense(width, activation="relu", name="hidden")]
        layers += [keras.layers.Dropout(dropout)] if dropout else []
        return keras.Sequential([*layers, keras.layers.Dense(classes, activation=head, name="head")], name=name)

    return make


@pytest.fixture
def data():
    """A learnable problem: 96 samples of 4 features, 3 classes."""
    generator = np.random.default_rng(0)
    x = generator.normal(size=(96, 4)).astype("float32")
    return x, np.argmax(x[:, :3], axis=-1).astype("int32")
