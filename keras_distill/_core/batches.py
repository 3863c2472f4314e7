"""The parts of a batch: inputs, labels, sample weights, and a dict of extras."""

from typing import Any

import keras
from keras import ops

from keras_distill._core.messages import expected

SOFT_TARGETS = "soft_targets"
"""Key of the stored soft targets among the extras of a batch."""


def unpack(data: Any) -> tuple[Any, Any, Any, dict]:
    """Split a batch into inputs, labels, sample weights and extras: `(x, y, sample_weight, {"index": ...})`.

    The first three are Keras's. The fourth, a dict, carries what some losses need beyond them.
    """
    if isinstance(data, (list, tuple)) and len(data) == 4:
        *data, extras = data
        if not isinstance(extras, dict):
            raise ValueError(expected("a dict as the fourth part of a batch", f"{type(extras).__name__}"))
        return *keras.utils.unpack_x_y_sample_weight(tuple(data)), extras
    return *keras.utils.unpack_x_y_sample_weight(data), {}


def batch_size(x: Any) -> Any:
    """Return the number of samples in a batch of inputs."""
    return ops.shape(next(leaf for leaf in keras.tree.flatten(x) if leaf is not None))[0]
