"""A small teacher, its data, and stores of its answers, made once for all tests of a file."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_distill import targets

EXAMPLES, WIDTH, CLASSES = 100, 6, 5


def make_teacher(seed=0):
    layers = [keras.Input((WIDTH,)), keras.layers.Dense(8, activation="relu", name="hidden")]
    teacher = keras.Sequential([*layers, keras.layers.Dense(CLASSES, name="logits")])
    generator = np.random.default_rng(seed)
    teacher.set_weights([2.0 * generator.normal(size=each.shape) for each in teacher.get_weights()])
    return teacher


@pytest.fixture(scope="module")
def teacher():
    return make_teacher()


@pytest.fixture(scope="module")
def arrays():
    generator = np.random.default_rng(1)
    x = generator.normal(size=(EXAMPLES, WIDTH)).astype("float32")
    return x, generator.integers(0, CLASSES, EXAMPLES).astype("int32")


@pytest.fixture(scope="module")
def logits(teacher, arrays):
    return np.asarray(teacher(arrays[0]))


@pytest.fixture(scope="module")
def dataset(arrays):
    return tf.data.Dataset.from_tensor_slices(arrays).batch(16)


@pytest.fixture(scope="module")
def store(teacher, dataset, tmp_path_factory):
    """A store in float32, with four shards and a layer."""
    path = tmp_path_factory.mktemp("stores") / "exact"
    return targets.write(teacher, dataset, path, dtype="float32", shard_size=32, features=["hidden"])


@pytest.fixture
def fresh(teacher, dataset, tmp_path):
    """Return a function that writes a store for one test alone."""

    def write(**options):
        return targets.write(teacher, dataset, tmp_path / "targets", **{"shard_size": 32, **options})

    return write
