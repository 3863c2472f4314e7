"""Calibration: whether a model that is 80 % confident is right in 80 % of the cases."""

import math
from typing import Any, NamedTuple

import keras
import numpy as np
from keras import ops

from keras_distill._core.checked import checked
from keras_distill._core.checks import check_whole_number
from keras_distill.answers.answer import Tensor
from keras_distill.metrics.base import LabelMetric, labelled_logits, weighted_sum
from keras_distill.metrics.rows import divide_or_nan, keep_nan


class ReliabilityCurve(NamedTuple):
    """Confidence and accuracy in bins of confidence, arrays `[bins]`. They are equal if a model is calibrated.

    Attributes:
        confidence: Mean confidence of the samples in each bin; NaN for an empty bin.
        accuracy: Fraction of these samples whose most likely class is the label; NaN for an empty bin.
        weight: Number of samples in each bin, or the sum of their weights.
    """

    confidence: np.ndarray
    accuracy: np.ndarray
    weight: np.ndarray


@keras.saving.register_keras_serializable(package="keras_distill")
class ExpectedCalibrationError(LabelMetric):
    """Compute the expected calibration error: the mean difference of confidence and accuracy over bins of confidence.

    Samples are sorted into bins of equal width by their confidence, the probability of the most likely class. The error
    is the mean over the samples of `|accuracy - confidence|` of their bin. The state holds three sums for each bin, so
    a stream of batches gives the same result as all samples at once. `curve()` returns the bins. Under a single output,
    or several outputs of a sigmoid, each label is a sample, whose classes are no and yes.

    Args:
        bins: Number of bins. Defaults to 15.
        from_logits: Whether outputs are logits (or come from a softmax or sigmoid head whose logits can be found)
            rather than probabilities. Defaults to `True`.
        name: Name in the logs. Defaults to `"expected_calibration_error"`.
        dtype: Dtype of the result. Defaults to `None`, Keras's float dtype.
        head: `"classes"` or `"labels"`, what the outputs decide, as for `Agreement`. Defaults to `None`.

    Raises:
        ValueError: If `bins` is not a positive whole number.

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

    def __init__(
        self,
        bins: int = 15,
        from_logits: bool = True,
        name: str = "expected_calibration_error",
        dtype: str | None = None,
        head: str | None = None,
    ):
        bins = check_whole_number("bins", bins)
        super().__init__(from_logits, name=name, dtype=dtype, shape=(3, bins), head=head)
        self.bins = bins

    def _add_labelled(self, labels, logits, weights):
        confidence, hits, in_bin = (ops.reshape(each, (-1, 1)) for each in _judge(labels, logits, self.bins))
        weights = ops.reshape(weights, (-1, 1)) * ops.cast(in_bin == ops.arange(self.bins), weights.dtype)
        sums = [weighted_sum(each, weights, axis=0) for each in (confidence, hits)]
        self._add(*sums, ops.sum(weights, axis=0))

    def curve(self) -> ReliabilityCurve:
        """Return the `ReliabilityCurve` of all batches so far."""
        return _make_curve(*map(ops.convert_to_numpy, self._totals()))

    def result(self) -> Tensor:
        confidence, hits, weight = self._totals()
        error = ops.divide_no_nan(ops.sum(ops.abs(hits - confidence)), ops.sum(weight))
        return ops.cast(error, self.dtype)

    def get_config(self) -> dict[str, Any]:
        return {"bins": self.bins, **super().get_config()}


@checked(labels="[*...]", outputs="[..., classes]", bins=(1, math.inf))
def expected_calibration_error(
    labels: Any, outputs: Any, bins: int = 15, from_logits: bool = True, head: str | None = None
) -> float:
    """Return the expected calibration error of an array of outputs.

    Args:
        labels: Integers `[...]` or `[..., 1]`, -1 for no label, or one-hot rows `[..., classes]`.
        outputs: Logits `[..., classes]`, or probabilities.
        bins: Number of bins of equal width. Defaults to 15.
        from_logits: Whether outputs are logits rather than probabilities. Defaults to `True`.
        head: `"classes"` or `"labels"`, what the outputs decide, as for `Agreement`. Defaults to `None`.

    Returns:
        A float from 0.0 (calibrated) to 1.0.

    Raises:
        ValueError: If no row has a label, a label is not a valid class, probabilities are passed as logits, or `bins`
            is not a positive whole number.

    Example:

    >>> outputs = [[0.875, 0.125], [0.125, 0.875], [0.625, 0.375]]
    >>> round(expected_calibration_error([0, 1, 1], outputs, bins=4, from_logits=False), 4)
    0.2917
    """
    confidence, accuracy, weight = reliability_curve(labels, outputs, bins, from_logits, head)
    filled = weight > 0  # A NaN in one of these is one in the outputs.
    return float(np.sum((np.abs(accuracy - confidence) * weight)[filled]) / weight.sum())


@checked(labels="[*...]", outputs="[..., classes]", bins=(1, math.inf))
def reliability_curve(
    labels: Any, outputs: Any, bins: int = 15, from_logits: bool = True, head: str | None = None
) -> ReliabilityCurve:
    """Return confidence and accuracy in bins of confidence of an array of outputs.

    Args:
        labels: Integers `[...]` or `[..., 1]`, -1 for no label, or one-hot rows `[..., classes]`.
        outputs: Logits `[..., classes]`, or probabilities.
        bins: Number of bins of equal width; a confidence on an edge belongs to the lower bin. Defaults to 15.
        from_logits: Whether outputs are logits rather than probabilities. Defaults to `True`.
        head: `"classes"` or `"labels"`, what the outputs decide, as for `Agreement`. Defaults to `None`.

    Returns:
        A `ReliabilityCurve` of float64 arrays `[bins]`.

    Raises:
        ValueError: If no row has a label, a label is not a valid class, probabilities are passed as logits, or `bins`
            is not a positive whole number.

    Example:

    >>> outputs = [[0.875, 0.125], [0.125, 0.875], [0.625, 0.375]]
    >>> curve = reliability_curve([0, 1, 1], outputs, bins=4, from_logits=False)
    >>> curve.accuracy.tolist(), curve.weight.tolist()
    ([nan, nan, 0.0, 1.0], [0.0, 0.0, 1.0, 2.0])

    Reference:
        Guo, Pleiss, Sun, Weinberger, "On Calibration of Modern Neural Networks", 2017, arXiv:1706.04599.
    """
    bins = check_whole_number("bins", bins)
    labels, logits = labelled_logits(labels, outputs, from_logits, head)
    confidence, hits, in_bin = map(ops.convert_to_numpy, _judge(labels, logits, bins))
    return _make_curve(*(np.bincount(in_bin, each, minlength=bins) for each in (confidence, hits, np.ones(hits.size))))


def _judge(labels, logits, bins):
    """Return the confidence of each row, whether it is right (1.0 or 0.0), and the index of its bin."""
    confidence = keep_nan(ops.max(ops.softmax(logits, axis=-1), axis=-1), logits)
    hits = ops.cast(ops.equal(ops.cast(ops.argmax(logits, axis=-1), labels.dtype), labels), confidence.dtype)
    edges = ops.convert_to_tensor(np.linspace(0.0, 1.0, bins + 1)[1:-1], confidence.dtype)
    above = ops.expand_dims(confidence, -1) > edges
    return confidence, hits, ops.sum(ops.cast(above, "int32"), axis=-1)


def _make_curve(confidence, hits, weight) -> ReliabilityCurve:
    return ReliabilityCurve(divide_or_nan(confidence, weight), divide_or_nan(hits, weight), weight)
