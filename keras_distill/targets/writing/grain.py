"""Reading the data sets of `grain`, which Keras trains on too, as `tf.data`."""

import itertools
import sys
from collections.abc import Callable, Iterator
from typing import Any

import keras
import numpy as np

from keras_distill._core.messages import expected

_KINDS = ("MapDataset", "IterDataset", "DataLoader")


def is_grain(source: Any) -> bool:
    """Return whether a source is a data set or a loader of `grain`. Does not import it."""
    parents = type(source).__mro__
    return any(each.__name__ in _KINDS and each.__module__.partition(".")[0] == "grain" for each in parents)


def read_grain(source: Any, is_batched: Callable[[Any], bool]) -> tuple[Any, bool]:
    """Return a `tf.data.Dataset` of a source, and whether its elements are batches.

    Args:
        source: A `grain.MapDataset`, `grain.IterDataset` or `grain.DataLoader`.
        is_batched: Function of a `tf.data.Dataset` that returns whether its elements are batches.

    Raises:
        ValueError: If the source is empty.
    """
    import tensorflow as tf

    def read() -> Iterator[Any]:
        return map(_to_arrays, source)

    samples = list(itertools.islice(read(), 2))
    if not samples:
        raise ValueError(expected("a data set with at least one example", "an empty data set"))
    first = keras.tree.map_structure(lambda array: _to_spec(array.shape, array.dtype), samples[0])
    batched = is_batched(tf.data.Dataset.from_generator(read, output_signature=first))
    signature = keras.tree.map_structure(lambda *arrays: _find_spec(arrays, batched), *samples)
    dataset = tf.data.Dataset.from_generator(read, output_signature=signature)
    # The length of a data set that is filtered counts what is left out, so only an endless one is believed.
    if hasattr(source, "__len__") and len(source) == sys.maxsize:
        dataset = dataset.apply(tf.data.experimental.assert_cardinality(tf.data.INFINITE_CARDINALITY))
    return dataset, batched


def _to_arrays(element: Any) -> Any:
    return keras.tree.map_structure(_to_array, keras.tree.lists_to_tuples(element))


def _to_array(leaf: Any) -> np.ndarray:
    return np.asarray(leaf, keras.config.floatx() if isinstance(leaf, float) else None)


def _find_spec(arrays: tuple[np.ndarray, ...], batched: bool) -> Any:
    """Return the spec of a leaf: lengths that differ between the first elements, and the size of a batch, are free."""
    lengths = zip(*(array.shape for array in arrays), strict=True)
    shape = [each[0] if len(set(each)) == 1 else None for each in lengths]
    return _to_spec([None, *shape[1:]] if batched else shape, arrays[0].dtype)


def _to_spec(shape: Any, dtype: np.dtype) -> Any:
    import tensorflow as tf

    return tf.TensorSpec(shape, tf.string if dtype.kind in "OSU" else dtype)
