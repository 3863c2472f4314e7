"""Rows of logits one after another, where all at once would not stay in a processor's cache."""

import keras
from keras import ops

from keras_distill._core.backend import has_accelerator

LONG = 20_000
"""From so many classes on, each row alone is quicker than the batch at once; see `benchmarks/growth.py`."""


def by_rows(function, *arrays):
    """Compute a function of rows: at once, or one row after another where they are long and a processor computes them.

    A step of arithmetic on a batch of long rows waits for the memory; on one row, what the step before it has left is
    still in the cache. Accelerators take all rows at once, and so does JAX, which may hold them on several devices.

    Args:
        function: Function of arrays `[..., n]` to arrays `[..., m]`, or a tuple of them, that treats each row alone.
        *arrays: Arrays `[..., n]`, the first of them with the longest rows.

    Returns:
        What the function returns for all rows.

    Example:

    >>> import numpy as np
    >>> total, = by_rows(lambda x: (ops.sum(x, axis=-1, keepdims=True),), np.ones((2, 3, 30_000), "float32"))
    >>> total[..., 0].numpy().tolist()
    [[30000.0, 30000.0, 30000.0], [30000.0, 30000.0, 30000.0]]
    """
    shape = arrays[0].shape
    if shape[-1] is None or shape[-1] < LONG or not _one_by_one():
        return function(*arrays)
    leading = ops.shape(arrays[0])[:-1]
    rows = tuple(ops.reshape(array, (-1, array.shape[-1])) for array in arrays)
    found = ops.map(lambda row: function(*row), rows)
    return keras.tree.map_structure(lambda array: ops.reshape(array, (*leading, array.shape[-1])), found)


def _one_by_one():
    return keras.backend.backend() == "tensorflow" and not has_accelerator()
