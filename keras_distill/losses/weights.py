"""Weights of samples: how they multiply losses of one value per sample, or of one per position, and are averaged."""

import warnings
from typing import Any

import keras
from keras import ops

from keras_distill._core.messages import expected
from keras_distill._core.tensors import expand_like, mask_of, same_shape, set_mask
from keras_distill.answers.answer import Tensor


class _Average(keras.losses.Loss):
    """Keras's reduction of values that are already losses: weights, masks and replicas count as in any Keras loss."""

    def call(self, y_true: Any, y_pred: Any) -> Any:
        return y_pred


def weighted_mean(
    values: Tensor, sample_weight: Tensor = None, mask: Tensor = None, reduction: str = "sum_over_batch_size"
) -> Tensor:
    """Average losses as Keras does: weights multiply, and masked positions are left out of the sum and the count.

    Args:
        values: Float tensor `[batch, positions...]`.
        sample_weight: Optional float tensor `[batch]` or `[batch, positions...]`. Beside one value per sample, the
            weights of its positions count as their mean. Defaults to `None`.
        mask: Optional bool tensor of the leading axes of `values`. Beside one value per sample, a sample counts if any
            of its positions does. Defaults to `None`.
        reduction: A reduction of Keras's losses. Defaults to `"sum_over_batch_size"`.

    Returns:
        Float scalar; under `tf.distribute`, this replica's share of it.

    Raises:
        ValueError: If the weights do not fit the values.

    Example:

    >>> import numpy as np
    >>> values, mask = np.array([[1.0, 3.0, 99.0]], "float32"), np.array([[True, True, False]])
    >>> float(weighted_mean(values, mask=mask))
    2.0
    """
    values = ops.convert_to_tensor(values)
    rank = len(values.shape)
    if rank == 0:
        return _Average(reduction=reduction, dtype=values.dtype)(values, values, sample_weight)
    if sample_weight is not None:
        sample_weight = mean_of_extra_axes(drop_ones(ops.cast(sample_weight, values.dtype), rank), rank)
        check_fit(sample_weight, values)
    if mask is not None:
        mask = any_of_extra_axes(mask, rank)
    factors = [each for each in (sample_weight, mask) if each is not None]
    if reduction not in (None, "none", "sum"):
        values = _mean_after(values, max([1, *(len(each.shape) for each in factors)]))
    if sample_weight is not None:
        sample_weight = expand_like(sample_weight, values)
    if mask is not None:
        mask = expand_like(mask, values)
        # Replaced, since a padded position may hold anything, NaN included.
        values = ops.where(mask, values, ops.zeros_like(values))
        set_mask(values, mask)
    return _Average(name="average", reduction=reduction, dtype=values.dtype)(values, values, sample_weight)


def call_loss(loss: keras.losses.Loss, y_true: Tensor, y_pred: Tensor, sample_weight: Tensor = None) -> Tensor:
    """Call a Keras loss so that each weight and each entry of a mask applies to its own sample or position.

    Keras multiplies weights and values of different ranks by broadcasting: weights `[batch]` beside values
    `[batch, height, width]` would multiply columns.

    Args:
        loss: A Keras loss. One that overrides `__call__` is called with what is given.
        y_true: Labels.
        y_pred: The student's output.
        sample_weight: Optional float tensor `[batch]` or `[batch, positions...]`. Defaults to `None`.

    Returns:
        Float scalar, or what the loss's own reduction returns.

    Raises:
        ValueError: If there are weights of positions, but the loss has one value per sample.
    """
    mask = mask_of(y_pred)
    own_call = type(loss).__call__ is not keras.losses.Loss.__call__
    if own_call or (sample_weight is None and mask is None):
        return loss(y_true, y_pred, sample_weight)
    y_true, y_pred = (
        keras.tree.map_structure(lambda each: ops.convert_to_tensor(each, dtype=loss.dtype), given)
        for given in (y_true, y_pred)
    )
    values = loss.call(y_true, y_pred)
    mask = combine_masks(mask, mask_of(values))
    values = ops.convert_to_tensor(values, dtype=loss.dtype)
    if sample_weight is not None:
        _check_values(values, sample_weight, loss.name)
    return weighted_mean(values, sample_weight, mask, loss.reduction)


def _check_values(values, sample_weight, name):
    rank = len(values.shape)
    if rank == 0 and len(ops.shape(sample_weight)) > 0:
        warnings.warn(
            f"The loss {name!r} returns one value for the whole batch, so a sample of weight 0 still counts: weights "
            "only multiply the loss by their mean. Let it return one value per sample, as `Dice(axis=(1, 2, 3))` does.",
            stacklevel=2,
        )
    elif len(drop_ones(sample_weight, max(rank, 1)).shape) > max(rank, 1):
        received = f"weights of shape {tuple(ops.shape(sample_weight))}, losses of shape {tuple(values.shape)}"
        fix = "Weigh the positions inside the loss, or pass one weight per sample."
        raise ValueError(expected(f"one weight for each value of the loss {name!r}", received, fix))


def weights_for_features(sample_weight: Any, features: Any, output: Any, staged: bool = False) -> Any:
    """Convert weights for a model's output to weights for features of a hidden layer.

    If the features have the positions of the output, each position keeps its weight. Otherwise the features of a sample
    have the mean weight of its positions.

    Args:
        sample_weight: Float tensor `[batch]` or `[batch, positions...]`, or `None`; a nest with one entry counts as it.
        features: Float tensor `[batch, positions..., channels]`, or a nest of them.
        output: The model's output, or a nest of outputs.
        staged: Whether all features are compared by one value per sample. Defaults to `False`.

    Returns:
        One tensor for all features, or a nest with one for each.

    Raises:
        ValueError: If each of several outputs has weights of its own.
    """
    given = [each for each in keras.tree.flatten(sample_weight) if each is not None]
    if len(given) > 1:
        fix = "Pass one weight per sample, or compare outputs."
        raise ValueError(expected("one array of weights for a loss that compares layers", f"{len(given)}", fix))
    if not given:
        return None
    weights = drop_ones(ops.convert_to_tensor(given[0]), 1)
    whole = mean_of_extra_axes(weights, 1)
    positions = None if keras.tree.is_nested(output) else tuple(output.shape)[1:-1]

    def convert(features: Tensor) -> Tensor:
        own = tuple(features.shape)[1:-1]
        if positions is None or not same_shape(own, positions) or len(weights.shape) > 1 + len(own):
            return whole
        return weights if None not in (*own, *positions) else _choose(weights, whole, features, output)

    return whole if staged else keras.tree.map_structure(convert, features)


def _choose(weights, whole, features, output):
    """Return the weights of positions if features of unknown size have the output's positions; else of samples."""
    size, wanted = (ops.convert_to_tensor(ops.shape(each)[1:-1]) for each in (features, output))
    sides = ops.shape(features)[: len(weights.shape)]
    spread = expand_like(whole, weights)
    return ops.cond(ops.all(ops.equal(size, wanted)), lambda: weights, lambda: ops.broadcast_to(spread, sides))


def counted(mask: Tensor, sample_weight: Tensor, rank: int) -> Tensor:
    """Return which positions count for a loss that compares samples with each other: no padding, and no weight of 0.

    Args:
        mask: Bool tensor of the leading axes, or `None`.
        sample_weight: Float tensor `[batch]` or `[batch, positions...]`, or `None`.
        rank: Number of leading axes, at most, of the result.

    Returns:
        Bool tensor of leading axes, or `None` for all.
    """
    if sample_weight is None or len(ops.shape(sample_weight)) == 0:
        return mask
    weighed = ops.not_equal(drop_ones(ops.convert_to_tensor(sample_weight), rank), 0)
    return combine_masks(mask, any_of_extra_axes(weighed, rank))


def combine_masks(mask: Tensor, other: Tensor) -> Tensor:
    """Return the mask of the positions that both masks keep. `None` keeps all positions."""
    if mask is None or other is None:
        return other if mask is None else mask
    mask, other = (ops.cast(each, "bool") for each in (mask, other))
    return ops.logical_and(expand_like(mask, other), expand_like(other, mask))


def drop_ones(weights: Tensor, rank: int) -> Tensor:
    """Drop trailing axes of length 1 until the rank is at most `rank`."""
    weights = ops.convert_to_tensor(weights)
    while len(weights.shape) > rank and weights.shape[-1] == 1:
        weights = ops.squeeze(weights, -1)
    return weights


def mean_of_extra_axes(weights: Tensor, rank: int) -> Tensor:
    """Average over the axes from `rank` on."""
    axes = tuple(range(rank, len(weights.shape)))
    return ops.mean(weights, axis=axes) if axes else weights


def any_of_extra_axes(mask: Tensor, rank: int) -> Tensor:
    """Return whether any entry of the axes from `rank` on is true."""
    mask = ops.cast(mask, "bool")
    axes = tuple(range(rank, len(mask.shape)))
    return ops.any(mask, axis=axes) if axes else mask


def check_fit(weights: Tensor, values: Tensor) -> None:
    """Raise a `ValueError` unless weights have leading axes of the values, as far as these are known."""
    pairs = zip(weights.shape, values.shape, strict=False)
    if not all(mine in (1, None, its) or its is None for mine, its in pairs):
        received = f"weights of shape {tuple(weights.shape)}, losses of shape {tuple(values.shape)}"
        raise ValueError(expected("one weight for each sample, or for each position of its losses", received))


def _mean_after(values, keep):
    """Average over the axes from `keep` on."""
    axes = tuple(range(keep, len(values.shape)))
    return ops.mean(values, axis=axes) if axes else values
