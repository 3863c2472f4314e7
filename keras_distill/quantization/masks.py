"""Masked attention: scores that do not count are the smallest number of a range that reaches below all others."""

from typing import Any

import keras
import numpy as np

from keras_distill.quantization.parts import Part

ops: Any = keras.ops  # Keras infers `None` among the types of its operations.

# Masked scores lie that far below the smallest score, so that each has less than exp(-8) of the weight of any other.
MARGIN = 8.0
# Far below any range of scores; rounding cuts it off at the end of the range.
_LEAST = -1e9


@keras.saving.register_keras_serializable(package="keras_distill")
class MaskedScores(Part, keras.layers.Layer):
    """Put a very small number in the place of masked scores.

    Args:
        causal: Whether a query sees only the keys up to its own place. Defaults to `False`.
        **kwargs: Passed to `keras.layers.Layer`.
    """

    def __init__(self, causal: bool = False, **kwargs: Any):
        super().__init__(**kwargs)
        self.causal = causal

    def call(self, inputs: Any) -> Any:
        """Compute a batch of scores `[batch, heads, queries, keys]`, perhaps with a mask `[batch, queries, keys]`."""
        scores, *masks = inputs if isinstance(inputs, (list, tuple)) else [inputs]
        mask: Any = ops.expand_dims(masks[0], 1) if masks else None
        if self.causal:
            seen = np.tril(np.ones((1, 1, *scores.shape[2:]), bool))
            mask = seen if mask is None else ops.logical_and(mask, seen)
        return ops.where(mask, scores, ops.full((1, 1, 1, 1), _LEAST))

    def compute_output_shape(self, input_shape: Any) -> Any:
        """Return the shape of the scores."""
        return input_shape[0] if isinstance(input_shape[0], (list, tuple)) else input_shape

    def get_config(self) -> dict[str, Any]:
        """Return the arguments of the constructor."""
        return {**super().get_config(), "causal": self.causal}


def combine_masks(given: dict[str, Any]) -> Any:
    """Return the mask `[batch, queries, keys]` of a call of attention, or `None`, without the causal one.

    Args:
        given: Dict of `"query_mask"`, `"value_mask"`, `"key_mask"` and `"attention_mask"` to a tensor or `None`.
    """
    parts = [(given.get("query_mask"), -1), (given.get("value_mask"), -2), (given.get("key_mask"), -2)]
    masks = [ops.expand_dims(ops.cast(mask, "bool"), axis) for mask, axis in parts if mask is not None]
    whole = given.get("attention_mask")
    if whole is not None:
        masks.append(ops.cast(whole, "bool"))
    combined = masks[0] if masks else None
    for mask in masks[1:]:
        combined = ops.logical_and(combined, mask)
    return combined
