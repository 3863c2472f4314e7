"""Sums of probabilities in logarithms, so that none of them vanishes."""

from typing import Any

import numpy as np
from keras import ops

from keras_distill.losses.divergences import working_dtype

FLOOR = -1e30
"""The logarithm of zero: unlike for -inf, its difference with itself is a number."""


def prepared(logits: Any) -> Any:
    """Return logits in float32 (or float64, if they are), clipped below at the floor."""
    logits = ops.convert_to_tensor(logits)
    return ops.maximum(ops.cast(logits, working_dtype(logits)), FLOOR)


def exactly(value: Any, dtype: Any) -> Any:
    """Return numbers or a tensor in a dtype; Python numbers without rounding to float32 first."""
    return ops.cast(value, dtype) if hasattr(value, "dtype") else ops.convert_to_tensor(value, dtype)


def tempered(logits: Any, temperature: Any) -> Any:
    """Return prepared logits divided by T, shifted so that the largest of each row is 0."""
    logits = prepared(logits)
    logits = ops.maximum(logits - ops.max(logits, axis=-1, keepdims=True), FLOOR)
    return logits / exactly(temperature, logits.dtype)


def log_probabilities(logits: Any, temperature: Any = 1.0) -> Any:
    """Compute `log_softmax(logits / T)` along the last axis.

    Args:
        logits: Float tensor `[..., classes]`.
        temperature: Positive number or scalar tensor T. Defaults to 1.0.

    Returns:
        Float tensor `[..., classes]`, finite.

    Example:

    >>> log_probabilities([[2.0, -2000.0]]).numpy().tolist()
    [[0.0, -2002.0]]
    """
    logits = tempered(logits, temperature)
    return logits - ops.logsumexp(logits, axis=-1, keepdims=True)


def log_mean_exp(values: Any, weights: Any, axis: Any) -> Any:
    """Compute `log(sum(weights * exp(values)))` for weights that sum to 1, exact where all values are nearly equal.

    Of logits over a high temperature, `logsumexp` keeps little more than the logarithm of their number.

    Args:
        values: Float tensor.
        weights: Float tensor that broadcasts to `values`.
        axis: Axis to sum over.

    Returns:
        Float tensor, that axis of length one.

    Example:

    >>> mean = log_mean_exp(np.array([1e-6, 3e-6], "float32"), ops.convert_to_tensor([0.5, 0.5]), axis=0)
    >>> print(f"{float(mean[0]):.5e}")
    2.00000e-06
    """
    top = ops.max(values, axis=axis, keepdims=True)
    low = values - top
    near = ops.min(low, axis=axis, keepdims=True) > -1.0
    close = ops.log1p(ops.sum(weights * ops.expm1(ops.where(near, low, 0.0)), axis=axis, keepdims=True))
    far = ops.logsumexp(low + ops.log(weights), axis=axis, keepdims=True)
    return top + ops.where(near, close, far)


def group_logits(logits: Any, groups: Any, count: int, temperature: Any = 1.0) -> Any:
    """Add up the probabilities of groups of entries: `v = T log(sum(exp(logits / T)))` over each group.

    Args:
        logits: Float tensor `[..., entries]`.
        groups: Integers `[entries]`, the group of each. No group may be empty.
        count: Number of groups.
        temperature: Positive number or scalar tensor T. Defaults to 1.0.

    Returns:
        Float tensor `[..., count]`; of a group of one entry, that entry itself.

    Example:

    >>> print(group_logits(ops.log(ops.convert_to_tensor([[0.25, 0.25, 0.5]])), [0, 0, 1], 2).numpy().round(4))
    [[-0.6931 -0.6931]]
    """
    rows = ops.moveaxis(prepared(logits), -1, 0)
    groups = np.asarray(groups, "int32")
    temperature = exactly(temperature, rows.dtype)
    tops = ops.segment_max(rows, groups, count)
    sums = ops.segment_sum(ops.exp((rows - ops.take(tops, groups, axis=0)) / temperature), groups, count)
    return ops.moveaxis(tops + temperature * ops.log(sums), 0, -1)
