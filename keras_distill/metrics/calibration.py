"""Calibration: whether a model that is 80 % sure is right in 80 % of the cases."""

import typing

import keras
import numpy as np
from keras import ops

from keras_distill._core.messages import expected
from keras_distill.metrics.labels import LabelMetric, offline
from keras_distill.metrics.streaming import weighted_sum


class ReliabilityCurve(typing.NamedTuple):
    """Confidence and accuracy by bins of confidence: equal where a model is calibrated. Arrays `[bins]`.

    Attributes:
        confidence: Mean confidence of the samples in each bin; NaN where there are none.
        accuracy: Fraction of them whose most likely class is the label; NaN where there are none.
        weight: Number of samples in each bin, or the sum of their weights.
    """

    confidence: np.ndarray
    accuracy: np.ndarray
    weight: np.ndarray


@keras.saving.register_keras_serializable(package="keras_distill")
class ExpectedCalibrationError(LabelMetric):
    """Compute the expected calibration error: by how much confidence and accuracy differ, over bins of confidence.

    Samples are sorted into bins of equal width by their confidence, the probability of the most likely class. The error
    is the mean over the samples of `|accuracy - confidence|` of their bin. The state is three sums for each bin, so
    that a stream of batches gives what all samples at once would. `curve()` returns the bins themselves.

    Args:
        bins: Number of bins. Defaults to 15.
        from_logits: Whether outputs are logits, or come from a softmax head whose logits can be found, rather than
            probabilities. Defaults to `True`.
        name: Name in the logs. Defaults to `"expected_calibration_error"`.
        dtype: Dtype of the result. Defaults to `None`, Keras's float.

    Raises:
        ValueError: If `bins` is no positive whole number.

    Example:

    >>> metric = ExpectedCalibrationError(bins=4, from_logits=False)
    >>> metric.update_state([0, 1, 1], [[0.875, 0.125], [0.125, 0.875], [0.625, 0.375]])
    >>> round(float(metric.result()), 4)  # (2 * |1 - 0.875| + |0 - 0.625|) / 3
    0.2917
    >>> metric.curve().accuracy.tolist()
    [nan, nan, 0.0, 1.0]

    Reference:
        Guo, Pleiss, Sun, Weinberger, "On Calibration of Modern Neural Networks", 2017, arXiv:1706.04599.
    """

    def __init__(self, bins=15, from_logits=True, name="expected_calibration_error", dtype=None):
        bins = _checked(bins)
        super().__init__(from_logits, name=name, dtype=dtype, shape=(3, bins))
        self.bins = bins

    def _add_labelled(self, labels, logits, weights):
        confidence, hits, in_bin = (ops.reshape(each, (-1, 1)) for each in _judged(labels, logits, self.bins))
        weights = ops.reshape(weights, (-1, 1)) * ops.cast(in_bin == ops.arange(self.bins), weights.dtype)
        sums = [weighted_sum(each, weights, axis=0) for each in (confidence, hits)]
        self._add(*sums, ops.sum(weights, axis=0))

    def curve(self):
        """Return the `ReliabilityCurve` of all batches so far."""
        return _curve(*map(ops.convert_to_numpy, self._totals()))

    def result(self):
        confidence, hits, weight = self._totals()
        error = ops.divide_no_nan(ops.sum(ops.abs(hits - confidence)), ops.sum(weight))
        return ops.cast(error, self.dtype)

    def get_config(self):
        return {"bins": self.bins, **super().get_config()}


def expected_calibration_error(labels, outputs, bins=15, from_logits=True):
    """Compute by how much confidence and accuracy differ, over bins of confidence, offline on arrays.

    Args:
        labels: Integers `[...]` or `[..., 1]`, -1 for none, or one-hot rows `[..., classes]`.
        outputs: Logits `[..., classes]`, or probabilities.
        bins: Number of bins of equal width. Defaults to 15.
        from_logits: Whether outputs are logits rather than probabilities. Defaults to `True`.

    Returns:
        A float from 0.0, calibrated, to 1.0.

    Raises:
        ValueError: If no row has a label, a label is no class, probabilities are not said to be, or `bins` is no
            positive whole number.

    Example:

    >>> outputs = [[0.875, 0.125], [0.125, 0.875], [0.625, 0.375]]
    >>> round(expected_calibration_error([0, 1, 1], outputs, bins=4, from_logits=False), 4)
    0.2917
    """
    confidence, accuracy, weight = reliability_curve(labels, outputs, bins, from_logits)
    return float(np.nansum(np.abs(accuracy - confidence) * weight) / weight.sum())


def reliability_curve(labels, outputs, bins=15, from_logits=True):
    """Compute confidence and accuracy by bins of confidence, offline on arrays.

    Args:
        labels: Integers `[...]` or `[..., 1]`, -1 for none, or one-hot rows `[..., classes]`.
        outputs: Logits `[..., classes]`, or probabilities.
        bins: Number of bins of equal width; a confidence on an edge is in the lower one. Defaults to 15.
        from_logits: Whether outputs are logits rather than probabilities. Defaults to `True`.

    Returns:
        A `ReliabilityCurve` of float64 arrays `[bins]`.

    Raises:
        ValueError: If no row has a label, a label is no class, probabilities are not said to be, or `bins` is no
            positive whole number.

    Example:

    >>> outputs = [[0.875, 0.125], [0.125, 0.875], [0.625, 0.375]]
    >>> curve = reliability_curve([0, 1, 1], outputs, bins=4, from_logits=False)
    >>> curve.accuracy.tolist(), curve.weight.tolist()
    ([nan, nan, 0.0, 1.0], [0.0, 0.0, 1.0, 2.0])

    Reference:
        Guo, Pleiss, Sun, Weinberger, "On Calibration of Modern Neural Networks", 2017, arXiv:1706.04599.
    """
    bins = _checked(bins)
    judged = _judged(*offline(labels, outputs, from_logits), bins)
    confidence, hits, in_bin = (ops.convert_to_numpy(each) for each in judged)
    return _curve(*(np.bincount(in_bin, each, minlength=bins) for each in (confidence, hits, np.ones(len(hits)))))


def _judged(labels, logits, bins):
    """Return of each row its confidence, whether it is right (1.0 or 0.0), and the index of its bin."""
    confidence = ops.max(ops.softmax(logits, axis=-1), axis=-1)
    hits = ops.cast(ops.equal(ops.cast(ops.argmax(logits, axis=-1), labels.dtype), labels), confidence.dtype)
    edges = ops.convert_to_tensor(np.linspace(0.0, 1.0, bins + 1)[1:-1], confidence.dtype)
    above = ops.expand_dims(confidence, -1) > edges
    return confidence, hits, ops.sum(ops.cast(above, "int32"), axis=-1)


def _curve(confidence, hits, weight):
    def mean(sums):
        return np.divide(sums, weight, out=np.full(len(weight), np.nan), where=weight > 0)

    return ReliabilityCurve(mean(confidence), mean(hits), weight)


def _checked(bins):
    if isinstance(bins, bool) or not hasattr(bins, "__index__") or bins < 1:
        raise ValueError(expected("`bins` to be a positive whole number", f"bins={bins!r}"))
    return int(bins)
