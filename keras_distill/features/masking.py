"""Adapters on features with a mask: padding reaches no adapter, and the mask stays with what an adapter returns."""

import warnings
from typing import Any

import keras

from keras_distill._core.models import run
from keras_distill._core.tensors import mask_of, same_shape, set_mask, unmasked, within_mask
from keras_distill.features.adapters import Float32Layer

_EXAMPLE = 60


def run_masked(adapter: keras.layers.Layer, features: Any, training: bool = False) -> Any:
    """Call an adapter on features whose padded positions are zeros.

    A layer that supports masks receives them, and returns the mask of its output. The output of another layer has the
    mask of the features if it has their positions.

    Args:
        adapter: A Keras layer.
        features: Float tensor `[batch, positions..., channels]`, or a nest of them.
        training: Whether the layer runs in training mode. Defaults to `False`.

    Returns:
        What the adapter returns, with masks.
    """
    masks = [mask_of(each) for each in keras.tree.flatten(features)]
    if all(mask is None for mask in masks):
        return run(adapter, features, training)
    if adapter.supports_masking and not isinstance(adapter, Float32Layer):
        return run(adapter, keras.tree.map_structure(within_mask, features), training)
    adapted = run(adapter, keras.tree.map_structure(unmasked, features), training)
    outputs = keras.tree.flatten(adapted)
    masks = masks if len(masks) == len(outputs) else masks[:1] * len(outputs)
    for mask, output in zip(masks, outputs, strict=True):
        if mask is not None and mask_of(output) is None:
            _pass_on(mask, output, adapter, features)
    return adapted


def _pass_on(mask, output, adapter, features):
    mine, its = mask.shape[1:], output.shape[1 : len(mask.shape)]
    fits = len(mask.shape) < len(output.shape) and same_shape(mine, its)
    if fits and (None not in (*mine, *its) or _keeps_any_length(adapter, features)):
        set_mask(output, mask)
        return
    warnings.warn(
        f"The adapter {adapter.name!r} does not support masks and changes the positions of masked features, so padding "
        "counts in the loss. Use a layer with `supports_masking = True` and `compute_mask`.",
        stacklevel=2,
    )


def _keeps_any_length(adapter, features):
    """Return whether lengths that are unknown before a layer are the same after it, by an example."""
    if isinstance(adapter, Float32Layer):
        return True  # Made for pairs of layers of the same size.
    shape = tuple(_EXAMPLE if size is None else size for size in features.shape)
    return tuple(adapter.compute_output_shape(shape))[:-1] == shape[:-1]
