"""Data sets of all kinds as one: `tf.data`, whatever was given."""

import keras
import numpy as np

from keras_distill._core.batches import unpack
from keras_distill._core.messages import expected

BATCH_SIZE = 128
"""Examples in a batch where nobody says how many."""


def as_dataset(source, batch_size=None):
    """Return a `tf.data.Dataset` of what may be trained on.

    Args:
        source: A `tf.data.Dataset` of examples or of batches, a `keras.utils.PyDataset`, or arrays: `x`, a pair
            `(x, y)`, nests of arrays among them.
        batch_size: Examples in a batch, for arrays. Defaults to `None`, 128.

    Returns:
        The data set, and whether it is known to be of batches (`None` for a `tf.data.Dataset`).

    Raises:
        ValueError: If it is nothing of that kind, or empty.
    """
    import tensorflow as tf

    if isinstance(source, tf.data.Dataset):
        return source, None
    if isinstance(source, keras.utils.PyDataset):
        return _of_batches(source), True
    arrays = keras.tree.map_structure(_array, source, none_is_leaf=False)
    lengths = {len(array) for array in keras.tree.flatten(arrays) if array is not None}
    if len(lengths) != 1 or not min(lengths):
        raise ValueError(expected("arrays of one length, at least 1", f"lengths {sorted(lengths)}"))
    with tf.device("CPU:0"):
        tensors = keras.tree.map_structure(tf.constant, arrays, none_is_leaf=False)

    def gather(rows):
        return keras.tree.map_structure(lambda tensor: tf.gather(tensor, rows), tensors, none_is_leaf=False)

    rows = tf.data.Dataset.range(lengths.pop()).batch(batch_size or BATCH_SIZE)
    return rows.map(gather, num_parallel_calls=tf.data.AUTOTUNE), True


def is_batched(dataset, keying, ranks):
    """Tell whether the elements of a data set are batches.

    Args:
        dataset: A `tf.data.Dataset`.
        keying: A `Keying`.
        ranks: Number of axes of each input of one example, `None` where that is not known.

    Raises:
        ValueError: If the inputs are neither batches nor examples of such inputs.
    """
    found = [leaf.shape.rank for leaf in keras.tree.flatten(inputs_spec(dataset, keying))]
    if ranks is not None and len(ranks) == len(found):
        for batched in (True, False):
            if found == [rank + batched for rank in ranks]:
                return batched
        received = f"inputs of {', '.join(map(str, found))} axes"
        raise ValueError(expected(f"examples of {', '.join(map(str, ranks))} axes, or batches of them", received))
    # Nothing that comes in batches is without an axis.
    return all(leaf.shape.rank != 0 for leaf in _flat(dataset.element_spec))


def inputs_spec(dataset, keying):
    """Return the specs of the inputs of a data set, ids left out."""
    if callable(keying.key):
        return unpack(dataset.element_spec)[0]
    return keying.split(dataset.element_spec)[0]


def batches(source, keying, ranks, batch_size=None, batched=None):
    """Return the inputs of a data set in batches, with their keys.

    Args:
        source: See `as_dataset`.
        keying: A `Keying`.
        ranks: Number of axes of each input of one example, `None` where that is not known.
        batch_size: Examples in a batch. Defaults to `None`: the batches as they come, 128 where there are none.
        batched: Whether the data set is of batches. Defaults to `None`, found out.

    Returns:
        A `tf.data.Dataset` of dicts: `"x"`, `"key"` and, with padding, `"length"`.
    """
    import tensorflow as tf

    dataset, known = as_dataset(source, batch_size)
    batched = next((each for each in (known, batched) if each is not None), None)
    batched = is_batched(dataset, keying, ranks) if batched is None else batched
    dataset = dataset.map(lambda *element: _parts(keying, element))
    if not batched:
        dataset = _in_batches(dataset, keying, batch_size or BATCH_SIZE)
    elif batch_size is not None and known is None and keying.padding is None:
        dataset = dataset.rebatch(batch_size)

    def with_keys(parts):
        found, lengths = keying.of(parts["x"], parts.get("ids"))
        return {"x": parts["x"], "key": found, **({} if lengths is None else {"length": lengths})}

    options = tf.data.Options()
    options.deterministic = True
    with_keys = tf.autograph.experimental.do_not_convert(with_keys)
    return dataset.map(with_keys, num_parallel_calls=tf.data.AUTOTUNE).with_options(options).prefetch(2)


def _parts(keying, element):
    x, ids = keying.split(_whole(element))
    return {"x": x} if ids is None else {"x": x, "ids": ids}


def _in_batches(dataset, keying, batch_size):
    import tensorflow as tf

    if keying.padding is None:
        return dataset.batch(batch_size)
    spec = dataset.element_spec
    leaf, padding = keying.padded_leaf(spec["x"])
    values = [tf.constant("" if each.dtype == tf.string else 0, each.dtype) for each in keras.tree.flatten(spec["x"])]
    values[leaf] = tf.constant(padding, values[leaf].dtype)
    values = {"x": keras.tree.pack_sequence_as(spec["x"], values)}
    if "ids" in spec:
        values["ids"] = tf.constant("" if spec["ids"].dtype == tf.string else 0, spec["ids"].dtype)
    return dataset.padded_batch(batch_size, padding_values=values)


def _whole(element):
    return element[0] if len(element) == 1 else element


def _flat(spec):
    return [leaf for leaf in keras.tree.flatten(spec) if leaf is not None and hasattr(leaf, "shape")]


def _array(array):
    array = np.asarray(array)
    if array.ndim == 0:
        raise ValueError(expected("a data set, or arrays of examples", f"{array.dtype} without an axis"))
    return array.astype(keras.config.floatx()) if array.dtype.kind == "f" else array


def _of_batches(source):
    """Return the batches of a `keras.utils.PyDataset` in their order."""
    import tensorflow as tf

    def spec(leaf):
        array = np.asarray(leaf)
        return tf.TensorSpec((None, *array.shape[1:]), array.dtype)

    def read():
        return (keras.tree.map_structure(np.asarray, source[index]) for index in range(len(source)))

    dataset = tf.data.Dataset.from_generator(read, output_signature=keras.tree.map_structure(spec, source[0]))
    return dataset.apply(tf.data.experimental.assert_cardinality(len(source)))
