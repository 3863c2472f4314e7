"""What the steps of a training tell the host: how many have passed, and, where XLA drops assertions, what failed."""

from typing import Any

import tensorflow as tf

from keras_distill._core import guards

_NOT_FAILED = 2**31


class StepRecord:
    """Count the steps that passed, and remember the first check that failed.

    Attributes:
        steps: Int64 variable, the number of steps since it was last set to zero.
    """

    def __init__(self) -> None:
        self.steps = tf.Variable(0, dtype="int64", trainable=False, name="steps")
        self._failed = tf.Variable(0, dtype="int64", trainable=False, name="failed")
        self._received = tf.Variable(tf.zeros([2]), trainable=False, name="received")
        self._checks: list[Any] = []

    def note(self, checks: Any) -> Any:
        """Note the first failed check of a step.

        Args:
            checks: The checks of the step, see `guards.collected`.

        Returns:
            Bool scalar tensor: whether every check of this step and of those before has passed.
        """
        if not checks:
            return tf.equal(self._failed, 0)
        numbers = tf.range(len(self._checks) + 1, len(self._checks) + 1 + len(checks), dtype="int64")
        self._checks += [(key, [value.dtype for value in values]) for key, (_, values) in checks.items()]
        conditions = tf.stack([tf.cast(condition, "bool") for condition, _ in checks.values()])
        received = tf.stack([_two_numbers(values) for _, values in checks.values()])
        # Masked rather than indexed: TensorFlow tries to infer an index at compile time, by a walk through all that it
        # depends on, which is the whole step here: compiling did not end in minutes.
        failed = tf.reduce_min(tf.where(conditions, _NOT_FAILED, numbers))
        shown = tf.reduce_sum(tf.where(tf.equal(numbers, failed)[:, None], received, 0.0), axis=0)
        fails = tf.logical_and(tf.equal(self._failed, 0), failed < _NOT_FAILED)
        self._received.assign(tf.where(fails, shown, self._received))
        self._failed.assign(tf.where(fails, failed, self._failed))
        return tf.equal(self._failed, 0)

    def raise_failed(self) -> None:
        """Raise for the check that failed, if one did, and forget it."""
        failed = int(self._failed.numpy())
        if failed:
            self._failed.assign(0)
            key, dtypes = self._checks[failed - 1]
            numbers = zip(self._received.numpy(), dtypes, strict=False)
            values = [number.astype(dtype.as_numpy_dtype) for number, dtype in numbers]
            guards.raise_failed({key: (False, values)})


def _two_numbers(values):
    numbers = [tf.cast(tf.reshape(value, [-1])[0], "float32") for value in values[:2]]
    return tf.stack([*numbers, *(tf.zeros([]) for _ in range(2 - len(numbers)))])
