"""Means over a stream of batches, with a state of fixed size and without rounding drift."""

from typing import Any

import keras
from keras import ops

from keras_distill.answers.answer import Tensor


class StreamedMean(keras.metrics.Metric):
    """Keep the weighted mean of values per row (samples, or positions of samples) with compensated sums.

    A plain float32 sum stops growing: after a million samples 0.3 is rounded to 0.3125, and after 16 million one more
    sample is not counted. The rounding error of an addition is exactly representable in float32. A second sum of these
    errors gives about twice the digits on every backend and accelerator.

    Args:
        name: Name in the logs. Defaults to `None`, derived from the name of the class.
        dtype: Dtype of the result. The sums are float64 if it is float64, and float32 otherwise. Defaults to `None`,
            Keras's float dtype.
        shape: Shape of the sums, for metrics that keep other sums. Defaults to `(2,)`: weighted values and weights.
    """

    def __init__(self, name: str | None = None, dtype: str | None = None, shape: tuple[int, ...] = (2,)):
        super().__init__(name=name, dtype=dtype)
        wide = "float64" if self.dtype == "float64" else "float32"
        self._sums: Any = self.add_variable(shape=shape, initializer="zeros", dtype=wide, name="sums")
        self._lost: Any = self.add_variable(shape=shape, initializer="zeros", dtype=wide, name="lost")

    def _add_rows(self, values, weights):
        self._add(weighted_sum(values, weights), ops.sum(weights))

    def _add(self, *values):
        old = ops.convert_to_tensor(self._sums)
        added = ops.stack([ops.cast(each, self._sums.dtype) for each in values])
        new = old + added
        rounded = new - old
        self._lost.assign_add((old - (new - rounded)) + (added - rounded))
        self._sums.assign(new)

    def _totals(self):
        return ops.unstack(ops.convert_to_tensor(self._sums) + ops.convert_to_tensor(self._lost), axis=0)

    def result(self) -> Tensor:
        total, weight = self._totals()
        return ops.cast(ops.divide_no_nan(total, weight), self.dtype)


def weighted_sum(values: Tensor, weights: Tensor, axis: Any = None) -> Tensor:
    """Return the sum of values times weights; a value of weight 0 adds nothing, even if it is NaN.

    Args:
        values: Float tensor that broadcasts to `weights`.
        weights: Float tensor.
        axis: Axes to sum over. Defaults to `None`, all axes.
    """
    values = ops.cast(values, weights.dtype)
    return ops.sum(ops.where(weights == 0.0, ops.zeros_like(weights), values * weights), axis=axis)
