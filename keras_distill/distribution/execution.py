"""One execution of a training or evaluation on several replicas: steps in a loop, and the logs after the last.

Keras's own runs a single step under a strategy, and none under that of several machines. Here a loop in the graph takes
one batch after the other, and the logs are read from the metrics themselves, whose states the replicas add up.
"""

import math
import warnings

import keras
import tensorflow as tf

from keras_distill._core.batches import batch_size, unpack
from keras_distill._core.messages import expected
from keras_distill.distribution.data import restored


def execution(model, step, steps):
    """Return a function that makes up to `steps` steps, as `keras.Model.train_function` is one.

    Args:
        model: A `keras.Model` of a strategy.
        step: Its `train_step` or `test_step`.
        steps: Largest number of steps of one call.

    Returns:
        A function from an iterator of batches to the logs. A batch that leaves a replica without a sample is left out,
        with a warning; where the first one does, it raises a `ValueError`. At the end of the data it raises
        `StopIteration`.
    """
    loop = _Loop(model, step, steps)
    execute, on_batch = loop, loop.on_batch
    if not model.run_eagerly:
        execute, on_batch = (tf.function(each, reduce_retracing=True, autograph=False) for each in (execute, on_batch))
    begun = False

    def function(iterator):
        nonlocal begun
        if not isinstance(iterator, tf.distribute.DistributedIterator):
            return on_batch(next(iter(iterator)))
        made, dropped, samples, logs = execute(iterator)
        if int(dropped):
            _tell(int(samples), model.distribute_strategy.num_replicas_in_sync, first=not begun and not int(made))
        elif not int(made):
            raise StopIteration
        begun = True
        return logs

    return function


def _tell(samples, replicas, first):
    if first:
        fix = "Choose a larger batch size: it is that of all replicas together."
        raise ValueError(expected(f"batches of at least {replicas} samples, one for each replica", f"{samples}", fix))
    message = f"A batch of {samples} samples was left out: it has none for some of the {replicas} replicas."
    warnings.warn(f"{message} Batches of one size (drop_remainder=True) avoid it.", stacklevel=2)


class _Loop:
    """The steps of one execution, in a graph or not."""

    def __init__(self, model, step, steps):
        self._model, self._strategy, self._step, self._steps = model, model.distribute_strategy, step, steps
        self._names = ()

    def __call__(self, iterator):
        """Return the number of steps made and of batches left out, the samples of these, and the logs."""

        def body(made, dropped, samples, more):
            batch = iterator.get_next_as_optional()
            none = (made, dropped, samples, tf.constant(False))
            return tf.cond(batch.has_value(), lambda: self._attempt(batch.get_value(), *none[:3]), lambda: none)

        def goes_on(made, dropped, samples, more):
            return tf.logical_and(more, made + dropped < self._steps)

        begin = (tf.constant(0), tf.constant(0), tf.constant(0), tf.constant(True))
        made, dropped, samples, _ = tf.while_loop(goes_on, body, begin, parallel_iterations=1)
        return made, dropped, samples, self._logs()

    def on_batch(self, batch):
        """Make one step on a batch that every replica gets whole; return the logs."""
        self._run(batch)
        return self._logs()

    def _attempt(self, batch, made, dropped, samples):
        """Make a step unless a replica is left without samples."""
        counts = self._strategy.reduce("SUM", self._strategy.run(_counts, args=(batch,)), axis=None)

        def step():
            self._run(batch)
            return made + 1, dropped, samples

        def leave_out():
            return made, dropped + 1, samples + tf.cast(counts[0], samples.dtype)

        return *tf.cond(counts[1] > 0.0, leave_out, step), tf.constant(True)

    def _run(self, batch):
        @tf.autograph.experimental.do_not_convert
        def step(data):
            # What a step returns are the logs of one replica; their names are all that is of use.
            self._names = tuple(self._step(restored(data)))

        self._strategy.run(step, args=(batch,))

    def _logs(self):
        floatx, metrics = keras.config.floatx(), self._model.metrics_variables
        summed = [each for each in metrics if each.aggregation == "sum" and each.dtype == floatx]

        def local():
            return tf.concat([tf.reshape(each.value, [-1]) for each in summed], axis=0)

        # All in one message: the replicas would be asked for each variable otherwise.
        sums = tf.split(self._strategy.reduce("SUM", self._strategy.run(local), axis=None), list(map(_size, summed)))
        states = [(each, tf.reshape(value, each.shape)) for each, value in zip(summed, sums, strict=True)]
        with keras.StatelessScope(state_mapping=states):
            logs = self._model.get_metrics_result()
        return {name: value for name, value in logs.items() if name in self._names}


def _size(variable):
    return math.prod(variable.shape)


@tf.autograph.experimental.do_not_convert
def _counts(data):
    """Return the samples of a replica, and whether it has none, as numbers to be added up."""
    samples = batch_size(unpack(restored(data))[0])
    return tf.cast(tf.stack([samples, tf.cast(tf.equal(samples, 0), samples.dtype)]), "float32")
