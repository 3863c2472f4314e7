"""A warning when the input pipeline cannot keep up with the training."""

import math
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import keras

from keras_distill._core.checked import checked

_FIXES = {
    "tf.data": "Pass `num_parallel_calls=tf.data.AUTOTUNE` to `.map`, `.cache()` what is the same in every epoch and "
    "fits into memory, and end with `.prefetch(tf.data.AUTOTUNE)`.",
    "PyDataset": "Create it with more `workers`, prepare its batches in advance, or use a `tf.data.Dataset`.",
    "generator": "Do less work in it, or use a `keras.utils.PyDataset` with `workers=4` or a `tf.data.Dataset`.",
}


class InputWatch(keras.callbacks.Callback):
    """Warn once when the training waits for its data.

    `watch(x)` returns timed data to train on in place of `x`. For a `tf.data.Dataset` it measures how long the training
    waited for each batch, which costs 0.1 to 0.2 ms of processor time per batch. For a generator or a `PyDataset`,
    which Keras runs in parallel with the training, it measures how long they worked, divided by the number of workers,
    which costs microseconds. At the end of an epoch (the second if there are several, because the first may fill a
    cache) this time is compared with the duration of the epoch. Arrays, and data under `tf.distribute`, are not timed.

    Args:
        waiting: Fraction of an epoch, from 0.0 to 1.0, above which to warn about waiting for a `tf.data.Dataset`.
            Defaults to 0.3.
        working: Fraction of an epoch above which to warn about the work of a generator or a `PyDataset`. Defaults to
            0.9.
        seconds: Shortest duration in seconds of an epoch for which to warn. Defaults to 5.0.

    Example:

    >>> import numpy as np
    >>> watch = InputWatch()
    >>> batches = watch.watch(np.ones((2, 4)) for _ in range(3))
    >>> len(list(batches)), 0.0 < watch.waited() < 1.0
    (3, True)
    """

    async_safe = True

    @checked(waiting=(0.0, 1.0), working=(0.0, 1.0), seconds=(0.0, math.inf))
    def __init__(self, waiting: float = 0.3, working: float = 0.9, seconds: float = 5.0):
        super().__init__()
        self._limits, self._seconds = (waiting, working), seconds
        self._kind, self._workers = "", 1
        self._clock: _StreamClock | _Stopwatch | None = None
        self._begin = 0.0, 0.0

    def watch(self, x: Any) -> Any:
        """Return timed data to train on in place of `x`, or `x` itself if it cannot be timed."""
        if hasattr(x, "element_spec") and hasattr(x, "unbatch"):
            self._kind, self._clock = "tf.data", _StreamClock()
        elif isinstance(x, keras.utils.PyDataset):
            self._kind, self._clock, self._workers = "PyDataset", _Stopwatch(_TimedDataset), max(x.workers, 1)
        elif hasattr(x, "__next__"):
            self._kind, self._clock = "generator", _Stopwatch(_time_generator)
        return x if self._clock is None else self._clock.wrap(x)

    def waited(self) -> float:
        """Return the seconds of waiting for batches, or of work on them per worker, since `watch`."""
        return 0.0 if self._clock is None else self._clock.seconds() / self._workers

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        self._begin = time.perf_counter(), self.waited()

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        if self._clock is None or (epoch == 0 and (self.params or {}).get("epochs", 1) > 1):
            return
        elapsed, waited = time.perf_counter() - self._begin[0], self.waited() - self._begin[1]
        limit = self._limits[self._kind != "tf.data"]
        if elapsed >= self._seconds and waited > limit * elapsed:
            kind, self._clock = self._kind, None
            percent = min(round(100 * waited / elapsed), 100)
            warnings.warn(f"{percent} % of an epoch was spent waiting for the {kind}. {_FIXES[kind]}", stacklevel=2)


class _StreamClock:
    """Measures how long the training waits for the batches of a `tf.data.Dataset`."""

    def __init__(self):
        import tensorflow as tf

        with tf.device("CPU:0"):
            self._total: Any = tf.Variable(tf.zeros((), "float64"), trainable=False)

    def wrap(self, dataset: Any) -> Any:
        """Return the data set with its batches timed."""
        import tensorflow as tf

        if tf.distribute.has_strategy():
            return dataset
        # TensorFlow would add a prefetch at the end, after the clock; it has to come before the clock.
        if type(dataset).__name__ != "_PrefetchDataset":
            dataset = dataset.prefetch(tf.data.AUTOTUNE)
        # `zip` first takes the time at which the batch is requested.
        requested = tf.data.Dataset.from_tensors(0).repeat().map(lambda _: tf.timestamp())
        timed = tf.data.Dataset.zip((requested, dataset)).map(self._add)
        options = tf.data.Options()
        options.experimental_optimization.inject_prefetch = False
        return timed.with_options(options)

    def _add(self, requested, batch):
        import tensorflow as tf

        self._total.assign_add(tf.timestamp() - requested)
        return batch

    def seconds(self) -> float:
        return float(self._total.numpy())


class _Stopwatch:
    """Measures how long Python code works on batches.

    Args:
        wrap: Function of data and stopwatch that returns the timed data.
    """

    def __init__(self, wrap: Callable[[Any, "_Stopwatch"], Any]):
        self._wrap, self._total, self._lock = wrap, 0.0, threading.Lock()

    def wrap(self, data: Any) -> Any:
        """Return the data with its batches timed."""
        return self._wrap(data, self)

    def measure(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """Call a function and add the time that it takes, whether it returns or raises."""
        begin = time.perf_counter()
        try:
            return function(*arguments)
        finally:
            with self._lock:
                self._total += time.perf_counter() - begin

    def seconds(self) -> float:
        return self._total


def _time_generator(generator: Iterator[Any], stopwatch: _Stopwatch) -> Iterator[Any]:
    end = object()
    while (batch := stopwatch.measure(next, generator, end)) is not end:
        yield batch


class _TimedDataset(keras.utils.PyDataset):
    """A `PyDataset` whose batches are timed."""

    def __init__(self, dataset: keras.utils.PyDataset, stopwatch: _Stopwatch):
        options = {name: getattr(dataset, name) for name in ("workers", "use_multiprocessing", "max_queue_size")}
        super().__init__(**options)
        self._dataset, self._stopwatch = dataset, stopwatch

    @property
    def num_batches(self) -> Any:
        return self._dataset.num_batches

    def __len__(self):
        return len(self._dataset)

    def __getitem__(self, index):
        return self._stopwatch.measure(self._dataset.__getitem__, index)

    def on_epoch_begin(self) -> None:
        self._dataset.on_epoch_begin()

    def on_epoch_end(self) -> None:
        self._dataset.on_epoch_end()
