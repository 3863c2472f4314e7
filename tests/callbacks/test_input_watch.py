"""The warning that training waits for its data."""

import time
import warnings

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_distill.callbacks.input_watch import InputWatch

BATCHES, PAUSE = 6, 0.03


def batch():
    return np.ones((2, 4), "float32"), np.zeros((2, 1), "float32")


class Batches(keras.utils.PyDataset):
    ends = 0

    def __init__(self, pause):
        super().__init__()
        self.pause = pause

    def __len__(self):
        return BATCHES

    def __getitem__(self, index):
        time.sleep(self.pause)
        return batch()

    def on_epoch_end(self):
        self.ends += 1


def generator(pause):
    while True:
        time.sleep(pause)
        yield batch()


def stream(pause):
    made = tf.data.Dataset.from_generator(
        lambda: generator(pause), output_signature=(tf.TensorSpec((2, 4)), tf.TensorSpec((2, 1)))
    )
    return made.take(BATCHES).apply(tf.data.experimental.assert_cardinality(BATCHES))


class Slow(keras.callbacks.Callback):
    """A training that is slower than its data."""

    def on_train_batch_end(self, batch, logs=None):
        time.sleep(2 * PAUSE)


@pytest.fixture(scope="module")
def model():
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(1)])
    model.compile("sgd", "mse")
    model.fit(*batch(), verbose=0)
    return model


def fit(model, data, watch, epochs=1, callbacks=()):
    steps = BATCHES if hasattr(data, "__next__") else None
    return model.fit(
        watch.watch(data),
        steps_per_epoch=steps,
        epochs=epochs,
        shuffle=False,
        verbose=0,
        callbacks=[watch, *callbacks],
    )


@pytest.mark.parametrize("make, name", [(Batches, "PyDataset"), (generator, "generator"), (stream, "tf.data")])
def test_it_warns_once_and_says_what_to_do(model, make, name):
    watch = InputWatch(waiting=0.2, working=0.4, seconds=0.01)
    with pytest.warns(UserWarning, match=rf"waiting for the {name}\. \w") as seen:
        fit(model, make(4 * PAUSE), watch, epochs=3)
    assert len(seen) == 1


@pytest.mark.parametrize("make", [Batches, generator, stream])
def test_nothing_is_said_of_data_that_keeps_up(model, make):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        fit(model, make(0.0), InputWatch(seconds=0.01), epochs=2, callbacks=[Slow()])


def test_data_is_what_it_was(model):
    data, watch = Batches(0.0), InputWatch()
    watched = watch.watch(data)
    assert (len(watched), watched.num_batches, watched.workers) == (BATCHES, BATCHES, 1)
    np.testing.assert_equal(watched[0], data[0])
    watched.on_epoch_end()
    assert data.ends == 1
    dataset = tf.data.Dataset.from_tensor_slices({"x": np.arange(6)}).batch(2)
    watched = watch.watch(dataset)
    assert watched.element_spec == dataset.element_spec and watched.cardinality() == 3
    np.testing.assert_equal(list(watched.as_numpy_iterator()), list(dataset.as_numpy_iterator()))
    x = np.ones((2, 4))
    assert InputWatch().watch(x) is x
