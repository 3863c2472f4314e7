"""One execution of a training or evaluation on several replicas: a loop of steps, and the logs after the last one.

Keras runs a single step per execution under a strategy, and none under a strategy of several machines. Here a loop in
the graph takes one batch after another, and the logs are computed from the metrics, whose states are summed over the
replicas.
"""

import math
import warnings
from collections.abc import Callable
from typing import Any

import keras
import tensorflow as tf

from keras_distill._core.batches import batch_size, unpack
from keras_distill._core.messages import expected
from keras_distill.distribution.data import restore_none


def make_execution(model: Any, step: Callable[[Any], Any], steps: int) -> Callable[[Any], Any]:
    """Return a function that runs up to `steps` steps, in the form of `keras.Model.train_function`.

    Args:
        model: A `keras.Model` created in the scope of a strategy.
        step: Its `train_step` or `test_step`.
        steps: Maximum number of steps per call.

    Returns:
        A function from an iterator of batches to the logs. It skips a batch that is too small to give every replica a
        sample, with a warning, or with a `ValueError` if it is the first batch. At the end of the data it raises
        `StopIteration`.
    """
    loop = _Loop(model, step, steps)
    execute, run_batch = loop, loop.run_batch
    if not model.run_eagerly:
        execute, run_batch = (tf.function(each, reduce_retracing=True, autograph=False) for each in (loop, run_batch))
    started = False

    def function(iterator: Any) -> Any:
        nonlocal started
        if not isinstance(iterator, tf.distribute.DistributedIterator):
            return run_batch(next(iter(iterator)))
        done, skipped, samples, logs = execute(iterator)
        if int(skipped):
            is_first = not started and not int(done)
            _report_skipped(int(samples), model.distribute_strategy.num_replicas_in_sync, is_first)
        elif not int(done):
            raise StopIteration
        started = True
        return logs

    return function


def _report_skipped(samples: int, replicas: int, is_first: bool) -> None:
    if is_first:
        fix = "Choose a larger batch size, which counts the samples of all replicas."
        raise ValueError(expected(f"batches of at least {replicas} samples, one for each replica", f"{samples}", fix))
    message = f"A batch of {samples} samples was left out because it is too small for {replicas} replicas."
    warnings.warn(f"{message} Use batches of equal size (drop_remainder=True).", stacklevel=2)


class _Loop:
    """The steps of one execution, in a graph or eagerly."""

    def __init__(self, model: Any, step: Callable[[Any], Any], steps: int):
        self._model, self._strategy, self._step, self._steps = model, model.distribute_strategy, step, steps
        self._names: tuple[str, ...] = ()

    def __call__(self, iterator: Any) -> tuple[Any, ...]:
        """Return the numbers of completed steps, skipped batches and samples in skipped batches, and the logs."""

        def run_next(done: Any, skipped: Any, samples: Any, has_more: Any) -> Any:
            batch = iterator.get_next_as_optional()
            counts = done, skipped, samples
            stop = (*counts, tf.constant(False))
            return tf.cond(batch.has_value(), lambda: self._run_or_skip(batch.get_value(), *counts), lambda: stop)

        def continues(done: Any, skipped: Any, samples: Any, has_more: Any) -> Any:
            return tf.logical_and(has_more, done + skipped < self._steps)

        begin = (tf.constant(0), tf.constant(0), tf.constant(0), tf.constant(True))
        done, skipped, samples, _ = tf.while_loop(continues, run_next, begin, parallel_iterations=1)
        return done, skipped, samples, self._compute_logs()

    def run_batch(self, batch: Any) -> dict[str, Any]:
        """Run one step on a batch that every replica receives as a whole; return the logs."""
        self._run(batch)
        return self._compute_logs()

    def _run_or_skip(self, batch, done, skipped, samples):
        """Run a step unless a replica has no samples."""
        counts = self._strategy.reduce("SUM", self._strategy.run(_count_samples, args=(batch,)), axis=None)

        def run() -> Any:
            self._run(batch)
            return done + 1, skipped, samples

        def skip() -> Any:
            return done, skipped + 1, samples + tf.cast(counts[0], samples.dtype)

        return *tf.cond(counts[1] > 0.0, skip, run), tf.constant(True)

    def _run(self, batch):
        @tf.autograph.experimental.do_not_convert
        def step(data: Any) -> None:
            # A step returns the logs of one replica, of which only the names are used.
            self._names = tuple(self._step(restore_none(data)))

        self._strategy.run(step, args=(batch,))

    def _compute_logs(self):
        floatx, metrics = keras.config.floatx(), self._model.metrics_variables
        summed = [each for each in metrics if each.aggregation == "sum" and each.dtype == floatx]

        def local_states() -> Any:
            return tf.concat([tf.reshape(each.value, [-1]) for each in summed], axis=0)

        # In one message; otherwise every variable would cost one.
        sums = tf.split(
            self._strategy.reduce("SUM", self._strategy.run(local_states), axis=None), list(map(_size, summed))
        )
        states = [(each, tf.reshape(value, each.shape)) for each, value in zip(summed, sums, strict=True)]
        with keras.StatelessScope(state_mapping=states):
            logs = self._model.get_metrics_result()
        return {name: value for name, value in logs.items() if name in self._names}


def _size(variable: Any) -> int:
    return math.prod(variable.shape)


@tf.autograph.experimental.do_not_convert
def _count_samples(data):
    """Return the number of samples of a replica, and 1 if it is 0, as numbers to sum over the replicas."""
    samples = batch_size(unpack(restore_none(data))[0])
    return tf.cast(tf.stack([samples, tf.cast(tf.equal(samples, 0), samples.dtype)]), "float32")
