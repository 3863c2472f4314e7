"""Single samples, from arrays or from a `tf.data.Dataset`, as streams."""

from typing import Any

import keras
import numpy as np

from keras_distill._core.messages import expected

_BUFFER = 10_000  # Samples of a data set in the shuffle buffer; arrays are shuffled as a whole.


class Samples:
    """Single samples, from arrays or from a `tf.data.Dataset`.

    Args:
        source: A pair of arrays (or nests of them) `(x, y)`, inputs alone, or a `tf.data.Dataset` of such samples.
        name: Name of the samples in messages.

    Raises:
        ValueError: If there are no samples, their number is unknown, or the arrays differ in length.
    """

    def __init__(self, source: Any, name: str):
        import tensorflow as tf

        self.name = name
        if isinstance(source, tf.data.Dataset):
            self._dataset, self.arrays = _as_tuples(source), None
            self.count = int(self._dataset.cardinality())
            self.spec: Any = self._dataset.element_spec
            self._check_count()
        else:
            # On the host, where batches are assembled, whatever accelerators there are.
            with tf.device("CPU:0"):
                self.arrays = keras.tree.map_structure(to_tensor, _as_tuple(source))
            self.count, self.spec = self._common_length(), keras.tree.map_structure(_row_spec, self.arrays)

    def _check_count(self):
        import tensorflow as tf

        if self.count == tf.data.UNKNOWN_CARDINALITY:
            fix = "Set it: `dataset.apply(tf.data.experimental.assert_cardinality(n))`."
            raise ValueError(expected(f"a known number of {self.name} samples", "a data set of unknown length", fix))
        if self.count == 0:
            raise ValueError(expected(f"at least 1 {self.name} sample", "an empty data set"))

    def _common_length(self):
        lengths = [len(array) for array in keras.tree.flatten(self.arrays)]
        if len(set(lengths)) != 1 or not lengths[0]:
            raise ValueError(expected(f"{self.name} arrays of one length, at least 1", f"lengths {lengths}"))
        return lengths[0]

    def count_batches(self, size: int) -> int:
        """Return how many batches of a size hold all samples once, or -1 for an endless data set."""
        return -1 if self.count < 0 else -(-self.count // size)

    def stream(self, shuffle: bool, seed: int | None) -> Any:
        """Return a `tf.data.Dataset` of single samples, which `shuffle` reorders in each pass."""
        import tensorflow as tf

        if self.arrays is None:
            buffer = _BUFFER if self.count < 0 else min(self.count, _BUFFER)
            return self._dataset.shuffle(buffer, seed=seed) if shuffle else self._dataset
        rows = tf.data.Dataset.range(self.count)
        rows = rows.shuffle(self.count, seed=seed) if shuffle else rows
        return rows.map(lambda row: keras.tree.map_structure(lambda array: tf.gather(array, row), self.arrays))


def to_tensor(array: Any) -> Any:
    """Return an array of samples as a TensorFlow tensor, floats in Keras's precision."""
    import tensorflow as tf

    array = np.asarray(array)
    if array.ndim == 0:
        raise ValueError(expected("arrays of samples or a `tf.data.Dataset`", f"a scalar of dtype {array.dtype}"))
    return tf.constant(array.astype(keras.config.floatx()) if array.dtype.kind == "f" else array)


def _as_tuples(dataset: Any) -> Any:
    spec = dataset.element_spec
    if isinstance(spec, tuple) and len(spec) not in (1, 2):
        raise ValueError(expected("a data set of samples `(x, y)` or `x`", f"samples of {len(spec)} parts"))
    return dataset if isinstance(spec, tuple) else dataset.map(lambda x: (x,))


def _as_tuple(source):
    if isinstance(source, tuple) and len(source) not in (1, 2):
        raise ValueError(expected("a pair `(x, y)` or inputs alone", f"a tuple of {len(source)}"))
    return source if isinstance(source, tuple) else (source,)


def _row_spec(array):
    import tensorflow as tf

    return tf.TensorSpec(array.shape[1:], array.dtype)
