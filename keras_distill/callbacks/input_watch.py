"""Telling that the data cannot keep up with the training."""

import threading
import time
import warnings

import keras

_FIXES = {
    "tf.data": "Give `.map` `num_parallel_calls=tf.data.AUTOTUNE`, `.cache()` what is the same in every epoch and fits "
    "into memory, and end it with `.prefetch(tf.data.AUTOTUNE)`.",
    "PyDataset": "Make it with more `workers`, prepare its batches beforehand, or use a `tf.data.Dataset`.",
    "generator": "Do less in it, or use a `keras.utils.PyDataset` with `workers=4` or a `tf.data.Dataset`.",
}


class InputWatch(keras.callbacks.Callback):
    """Warn once when the training waits for its data.

    `watch(x)` returns the data to train on in place of `x`, with a clock on it. Of a `tf.data.Dataset` it adds up how
    long each batch was waited for, which costs 0.1 to 0.2 ms of processor time a batch; of a generator or a
    `PyDataset`, which Keras runs beside the training, how long they worked, divided among the workers, which costs
    microseconds. At the end of an epoch (the second, if there are several: the first may fill a cache) that time is
    compared with the epoch's. Arrays, and data under `tf.distribute`, are not watched.

    Args:
        waiting: Share of the time from which on to warn, from 0.0 to 1.0, where it was waited. Defaults to 0.3.
        working: Likewise where data worked beside the training. Defaults to 0.9.
        seconds: Seconds of an epoch from which on a warning is worth it. Defaults to 5.0.

    Example:

    >>> import numpy as np
    >>> watch = InputWatch()
    >>> batches = watch.watch(np.ones((2, 4)) for _ in range(3))
    >>> len(list(batches)), 0.0 < watch.waited() < 1.0
    (3, True)
    """

    async_safe = True

    def __init__(self, waiting=0.3, working=0.9, seconds=5.0):
        super().__init__()
        self._limits, self._seconds = (waiting, working), seconds
        self._kind, self._clock, self._workers = None, None, 1
        self._begun = None

    def watch(self, x):
        """Return data to train on in place of `x`: `x` itself where there is nothing to watch."""
        if hasattr(x, "element_spec") and hasattr(x, "unbatch"):
            self._kind, self._clock = "tf.data", _StreamClock()
        elif isinstance(x, keras.utils.PyDataset):
            self._kind, self._clock, self._workers = "PyDataset", _Stopwatch(_Watched), max(x.workers, 1)
        elif hasattr(x, "__next__"):
            self._kind, self._clock = "generator", _Stopwatch(_timed)
        return x if self._clock is None else self._clock.on(x)

    def waited(self):
        """Return the seconds that batches were waited for, or worked on by each worker, since `watch`."""
        return 0.0 if self._clock is None else self._clock.seconds() / self._workers

    def on_epoch_begin(self, epoch, logs=None):
        self._begun = time.perf_counter(), self.waited()

    def on_epoch_end(self, epoch, logs=None):
        if self._clock is None or (epoch == 0 and (self.params or {}).get("epochs", 1) > 1):
            return
        elapsed, waited = time.perf_counter() - self._begun[0], self.waited() - self._begun[1]
        limit = self._limits[self._kind != "tf.data"]
        if elapsed >= self._seconds and waited > limit * elapsed:
            kind, self._clock = self._kind, None
            percent = min(round(100 * waited / elapsed), 100)
            warnings.warn(f"{percent} % of an epoch went by waiting for the {kind}. {_FIXES[kind]}", stacklevel=2)


class _StreamClock:
    """Adds up how long the batches of a `tf.data.Dataset` were waited for."""

    def __init__(self):
        import tensorflow as tf

        with tf.device("CPU:0"):
            self._total = tf.Variable(0.0, trainable=False, dtype="float64")

    def on(self, dataset):
        import tensorflow as tf

        if tf.distribute.has_strategy():
            return dataset
        # TensorFlow would put a prefetch of its own at the end, behind the clock: it has to be before it.
        if type(dataset).__name__ != "_PrefetchDataset":
            dataset = dataset.prefetch(tf.data.AUTOTUNE)
        # What `zip` asks first is when the batch was asked for.
        asked = tf.data.Dataset.from_tensors(0).repeat().map(lambda _: tf.timestamp())
        timed = tf.data.Dataset.zip((asked, dataset)).map(self._arrived)
        options = tf.data.Options()
        options.experimental_optimization.inject_prefetch = False
        return timed.with_options(options)

    def _arrived(self, asked, batch):
        import tensorflow as tf

        self._total.assign_add(tf.timestamp() - asked)
        return batch

    def seconds(self):
        return float(self._total.numpy())


class _Stopwatch:
    """Adds up how long Python code worked on batches.

    Args:
        wrap: Function of data and stopwatch that returns the data with the stopwatch on it.
    """

    def __init__(self, wrap):
        self._wrap, self._total, self._lock = wrap, 0.0, threading.Lock()

    def on(self, data):
        return self._wrap(data, self)

    def timed(self, function, *arguments):
        """Call a function; add the time that it takes, whether it returns or raises."""
        begun = time.perf_counter()
        try:
            return function(*arguments)
        finally:
            with self._lock:
                self._total += time.perf_counter() - begun

    def seconds(self):
        return self._total


def _timed(generator, stopwatch):
    end = object()
    while (batch := stopwatch.timed(next, generator, end)) is not end:
        yield batch


class _Watched(keras.utils.PyDataset):
    """A data set whose batches are timed."""

    def __init__(self, dataset, stopwatch):
        options = {name: getattr(dataset, name) for name in ("workers", "use_multiprocessing", "max_queue_size")}
        super().__init__(**options)
        self._dataset, self._stopwatch = dataset, stopwatch

    @property
    def num_batches(self):
        return self._dataset.num_batches

    def __len__(self):
        return len(self._dataset)

    def __getitem__(self, index):
        return self._stopwatch.timed(self._dataset.__getitem__, index)

    def on_epoch_begin(self):
        self._dataset.on_epoch_begin()

    def on_epoch_end(self):
        self._dataset.on_epoch_end()
