"""Means over a stream of batches, of a fixed size and without drift."""

import keras
from keras import ops


class StreamedMean(keras.metrics.Metric):
    """Keep the weighted mean of values per row (samples, or positions of samples), and how rounding moved it.

    A plain float32 sum stops growing: after a million samples, 0.3 more is rounded to 0.3125, after 16 million one
    more sample is not counted. The rounding error of an addition is itself a float32 number, exactly; kept in a sum of
    its own, it makes the two as good as twice the digits, on every backend and accelerator.

    Args:
        name: Name in the logs.
        dtype: Dtype of the result; sums are in float64 where it is, in float32 otherwise.
        shape: Shape of the sums, for a metric that keeps others. Defaults to `(2,)`: of weighted values, of weights.
    """

    def __init__(self, name=None, dtype=None, shape=(2,)):
        super().__init__(name=name, dtype=dtype)
        wide = "float64" if self.dtype == "float64" else "float32"
        self._sums = self.add_variable(shape=shape, initializer="zeros", dtype=wide, name="sums")
        self._lost = self.add_variable(shape=shape, initializer="zeros", dtype=wide, name="lost")

    def _add_rows(self, values, weights):
        self._add(weighted_sum(values, weights), ops.sum(weights))

    def _add(self, *values):
        old, values = (
            ops.convert_to_tensor(self._sums),
            ops.stack([ops.cast(each, self._sums.dtype) for each in values]),
        )
        new = old + values
        added = new - old
        self._lost.assign_add((old - (new - added)) + (values - added))
        self._sums.assign(new)

    def _totals(self):
        return ops.unstack(ops.convert_to_tensor(self._sums) + ops.convert_to_tensor(self._lost), axis=0)

    def result(self):
        total, weight = self._totals()
        return ops.cast(ops.divide_no_nan(total, weight), self.dtype)


def weighted_sum(values, weights, axis=None):
    """Return the sum of values times weights, to which what has no weight adds nothing, NaN included.

    Args:
        values: Float tensor that broadcasts to `weights`.
        weights: Float tensor.
        axis: Axes to sum over. Defaults to `None`, all of them.
    """
    values = ops.cast(values, weights.dtype)
    return ops.sum(ops.where(weights == 0.0, ops.zeros_like(weights), values * weights), axis=axis)
