"""Reading data sets of every kind as `tf.data`."""

from typing import Any

import keras
import numpy as np

from keras_distill._core.batches import unpack
from keras_distill._core.messages import expected
from keras_distill.answers.answer import Tensor
from keras_distill.targets.store.keys import Keying
from keras_distill.targets.writing.grain import is_grain, read_grain

Dataset = Any
"""A `tf.data.Dataset`."""

BATCH_SIZE = 128
"""Examples in a batch if the caller gives no size."""

CHUNK = 64
"""Examples that are processed at once if the data set yields them one by one."""


def open_source(
    source: Any, keying: Keying, ranks: list[int] | None, batch_size: int | None = None, batched: bool | None = None
) -> tuple[Dataset, bool]:
    """Return any data set as a `tf.data.Dataset`, and whether its elements are batches.

    Args:
        source: A `tf.data.Dataset` of examples or of batches, a data set of `grain`, a `keras.utils.PyDataset`, or
            arrays: `x`, a pair `(x, y)`, or nests of arrays.
        keying: A `Keying`.
        ranks: Number of axes of each input of one example, `None` if unknown.
        batch_size: Examples in a batch, for arrays. Defaults to `None`, 128.
        batched: Whether a data set of `tf.data` or `grain` yields batches. Defaults to `None`, inferred from `ranks`.

    Raises:
        ValueError: If the source is of another kind or empty, or its inputs are neither batches nor examples.
    """
    import tensorflow as tf

    def is_batched(dataset: Dataset) -> bool:
        return _is_batched(dataset, keying, ranks) if batched is None else batched

    if isinstance(source, tf.data.Dataset):
        return source, is_batched(source)
    if is_grain(source):
        return read_grain(source, is_batched)
    if isinstance(source, keras.utils.PyDataset):
        return _read_py_dataset(source), True
    return _read_arrays(source, batch_size or BATCH_SIZE), True


def is_arrays(source: Any) -> bool:
    """Return whether a source is arrays, rather than a data set of `tf.data`, `grain` or Keras."""
    import tensorflow as tf

    return not isinstance(source, (tf.data.Dataset, keras.utils.PyDataset)) and not is_grain(source)


def batches(
    source: Any,
    keying: Keying,
    ranks: list[int] | None,
    batch_size: int | None = None,
    batched: bool | None = None,
) -> Dataset:
    """Return the inputs of a data set in batches, with their keys.

    Args:
        source: See `open_source`.
        keying: A `Keying`.
        ranks: Number of axes of each input of one example, `None` if unknown.
        batch_size: Examples in a batch. Defaults to `None`: the batches of the data set, or 128 if it has no batches.
        batched: Whether the data set yields batches. Defaults to `None`, inferred from `ranks`.

    Returns:
        A `tf.data.Dataset` of dicts: `"x"`, `"key"` and, with padding, `"length"`.
    """
    import tensorflow as tf

    dataset, batched = open_source(source, keying, ranks, batch_size, batched)
    dataset = dataset.map(lambda *element: _split(keying, element))
    if not batched:
        dataset = _batch(dataset, keying, batch_size or BATCH_SIZE)
    elif batch_size is not None and _can_be_rebatched(source) and keying.padding is None:
        dataset = dataset.rebatch(batch_size)

    def with_keys(parts: Any) -> Any:
        keys, lengths = keying.compute(parts["x"], parts.get("ids"))
        return {"x": parts["x"], "key": keys, **({} if lengths is None else {"length": lengths})}

    with_keys = tf.autograph.experimental.do_not_convert(with_keys)
    return keep_order(dataset.map(with_keys, num_parallel_calls=tf.data.AUTOTUNE)).prefetch(2)


def _can_be_rebatched(source: Any) -> bool:
    import tensorflow as tf

    return isinstance(source, tf.data.Dataset) or is_grain(source)


def inputs_spec(dataset: Dataset, keying: Keying) -> Any:
    """Return the specs of the inputs of a data set, without the ids."""
    if callable(keying.key):
        return unpack(dataset.element_spec)[0]
    return keying.split(dataset.element_spec)[0]


def find_batch_size(dataset: Dataset) -> int | None:
    """Return the static size of the batches of a data set, `None` if it is unknown."""
    return keras.tree.flatten(dataset.element_spec)[0].shape[0]


def count_in_element(element: Any, batched: bool) -> Tensor:
    """Return the number of examples in an element of a data set, an int64 scalar."""
    import tensorflow as tf

    leaf = keras.tree.flatten(unpack(element)[0])[0]
    return tf.shape(leaf, tf.int64)[0] if batched else tf.constant(1, tf.int64)


def check_not_endless(dataset: Dataset) -> None:
    """Raise a `ValueError` if a data set is known to have no end."""
    import tensorflow as tf

    if int(dataset.cardinality()) == tf.data.INFINITE_CARDINALITY:
        raise ValueError(expected("a data set that ends", "one that is repeated for ever", "Leave `repeat()` out."))


def has_static_shapes(dataset: Dataset) -> bool:
    """Return whether all elements of a data set have one known shape, so that they can be batched."""
    import tensorflow as tf

    return all(
        isinstance(leaf, tf.NoneTensorSpec) or isinstance(leaf, tf.TensorSpec) and leaf.shape.is_fully_defined()
        for leaf in tf.nest.flatten(dataset.element_spec)
    )


def keep_order(dataset: Dataset) -> Dataset:
    """Return a data set whose parallel steps yield their elements in order."""
    import tensorflow as tf

    options = tf.data.Options()
    options.deterministic = True
    return dataset.with_options(options)


def assert_cardinality(dataset: Dataset, count: int) -> Dataset:
    """Return a data set that is known to have `count` elements."""
    import tensorflow as tf

    return dataset.apply(tf.data.experimental.assert_cardinality(count))


def unwrap(element: tuple) -> Any:
    """Return an element as the data set yields it, given the arguments of a function that maps it."""
    return element[0] if len(element) == 1 else element


def _is_batched(dataset: Dataset, keying: Keying, ranks: list[int] | None) -> bool:
    """Return whether the elements of a data set are batches, judged by the number of axes of their inputs."""
    found = [leaf.shape.rank for leaf in keras.tree.flatten(inputs_spec(dataset, keying))]
    if ranks is not None and len(ranks) == len(found):
        for batched in (True, False):
            if found == [rank + batched for rank in ranks]:
                return batched
        received = f"inputs of {', '.join(map(str, found))} axes"
        raise ValueError(expected(f"examples of {', '.join(map(str, ranks))} axes, or batches of them", received))
    # Every part of a batch has at least the batch axis.
    leaves = keras.tree.flatten(dataset.element_spec)
    return all(leaf.shape.rank != 0 for leaf in leaves if leaf is not None and hasattr(leaf, "shape"))


def _read_arrays(source: Any, batch_size: int) -> Dataset:
    import tensorflow as tf

    arrays = keras.tree.map_structure(_to_array, source, none_is_leaf=False)
    lengths = {len(array) for array in keras.tree.flatten(arrays) if array is not None}
    if len(lengths) != 1 or not min(lengths):
        raise ValueError(expected("arrays of one length, at least 1", f"lengths {sorted(lengths)}"))
    with tf.device("CPU:0"):
        tensors = keras.tree.map_structure(tf.constant, arrays, none_is_leaf=False)

    def gather(rows: int) -> Any:
        return keras.tree.map_structure(lambda tensor: tf.gather(tensor, rows), tensors, none_is_leaf=False)

    rows = tf.data.Dataset.range(lengths.pop()).batch(batch_size)
    return rows.map(gather, num_parallel_calls=tf.data.AUTOTUNE)


def _to_array(array: Any) -> np.ndarray:
    array = np.asarray(array)
    if array.ndim == 0:
        raise ValueError(expected("a data set, or arrays of examples", f"{array.dtype} without an axis"))
    return array.astype(keras.config.floatx()) if array.dtype.kind == "f" else array


def _read_py_dataset(source: Any) -> Dataset:
    """Return the batches of a `keras.utils.PyDataset` in their order."""
    import tensorflow as tf

    def spec(leaf: Any) -> Any:
        array = np.asarray(leaf)
        return tf.TensorSpec((None, *array.shape[1:]), array.dtype)

    def read() -> Any:
        return (keras.tree.map_structure(np.asarray, source[index]) for index in range(len(source)))

    dataset = tf.data.Dataset.from_generator(read, output_signature=keras.tree.map_structure(spec, source[0]))
    return assert_cardinality(dataset, len(source))


def _split(keying: Keying, element: tuple) -> dict[str, Any]:
    x, ids = keying.split(unwrap(element))
    return {"x": x} if ids is None else {"x": x, "ids": ids}


def _batch(dataset: Dataset, keying: Keying, batch_size: int) -> Dataset:
    import tensorflow as tf

    spec = dataset.element_spec
    leaf, padding = keying.padded_leaf(spec["x"])
    if padding is None:
        return dataset.batch(batch_size)

    def fill(each: Any) -> Any:
        return tf.constant("" if each.dtype == tf.string else 0, each.dtype)

    leaves = [fill(each) for each in keras.tree.flatten(spec["x"])]
    leaves[leaf] = tf.constant(padding, leaves[leaf].dtype)
    values = {**keras.tree.map_structure(fill, spec), "x": keras.tree.pack_sequence_as(spec["x"], leaves)}
    return dataset.padded_batch(batch_size, padding_values=values)
