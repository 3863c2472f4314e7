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


def at_once():
    """Make a batch in no time."""


class Batches(keras.utils.PyDataset):
    ends = 0

    def __init__(self, pause=at_once):
        super().__init__()
        self.pause = pause

    def __len__(self):
        return BATCHES

    def __getitem__(self, index):
        self.pause()
        return batch()

    def on_epoch_end(self):
        self.ends += 1


def generator(pause=at_once):
    while True:
        pause()
        yield batch()


def stream(pause=at_once):
    made = tf.data.Dataset.from_generator(
        lambda: generator(pause), output_signature=(tf.TensorSpec((2, 4)), tf.TensorSpec((2, 1)))
    )
    return made.take(BATCHES).apply(tf.data.experimental.assert_cardinality(BATCHES))


class Quick(keras.callbacks.Callback):
    """A training of which four fifths of an epoch are spent on making batches, however busy the machine is."""

    def __init__(self):
        super().__init__()
        self.on_epoch_begin(None)  # Keras asks for a batch before it begins.

    def on_epoch_begin(self, epoch, logs=None):
        self.begun, self.paused = time.perf_counter(), 0.0

    def pause(self):
        seconds = max(PAUSE, 4 * (time.perf_counter() - self.begun) - 5 * self.paused)
        time.sleep(seconds)
        self.paused += seconds


class Slow(keras.callbacks.Callback):
    """A training that takes ten times as long as its data did, however busy the machine is."""

    def __init__(self, watch):
        super().__init__()
        self.watch = watch

    def on_epoch_begin(self, epoch, logs=None):
        self.begun, self.waited = time.perf_counter(), self.watch.waited()

    def on_train_batch_end(self, batch, logs=None):
        until = self.begun + 10 * (self.watch.waited() - self.waited) + PAUSE
        time.sleep(max(until - time.perf_counter(), 0.0))


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
@pytest.mark.slow
def test_it_warns_once_and_says_what_to_do(model, make, name):
    watch, quick = InputWatch(waiting=0.2, working=0.4, seconds=0.01), Quick()
    with pytest.warns(UserWarning, match=rf"waiting for the {name}\. \w") as seen:
        fit(model, make(quick.pause), watch, epochs=3, callbacks=[quick])
    assert len(seen) == 1


@pytest.mark.parametrize("make", [Batches, generator, stream])
def test_nothing_is_said_of_data_that_keeps_up(model, make):
    watch = InputWatch(seconds=0.01)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        fit(model, make(), watch, epochs=2, callbacks=[Slow(watch)])
    assert watch.waited() > 0.0


def test_data_is_what_it_was(model):
    data, watch = Batches(), InputWatch()
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
