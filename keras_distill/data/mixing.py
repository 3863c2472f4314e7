"""Batches of labelled and unlabelled samples, in one proportion."""

import keras
import numpy as np

from keras_distill._core.messages import expected

_BUFFER = 10_000  # Samples of a data set that wait to be drawn from; arrays are shuffled whole.


def mix(labelled, unlabelled, ratio=0.5, *, batch_size, seed=None, shuffle=True):
    """Make batches of which some samples have labels and the others, labelled -1, have none.

    A `Distiller` takes soft targets from all of them and hard labels where there are any. Every batch is full, the
    labelled samples in front. An epoch is over when every sample of both parts was seen at least once: the part that
    is through first starts again. Pass `shuffle=False` to `fit()`: the order is made here.

    Args:
        labelled: Pair of arrays `(x, y)`, or a `tf.data.Dataset` of single samples `(x, y)`. `x` and `y` are one array
            each or a nest of them; labels are sparse, `[samples, positions...]`, of whole numbers.
        unlabelled: Inputs of the same form, or a `tf.data.Dataset` of them one by one. Of a pair `(x, y)` the labels
            are left out.
        ratio: Share of unlabelled samples: `round(ratio * batch_size)` of each batch. Defaults to 0.5.
        batch_size: Samples per batch, 2 or more.
        seed: Integer seed of the order. Defaults to `None`, no two runs alike.
        shuffle: Whether to shuffle each part on its own. Of a data set, samples are drawn from the next 10,000.
            Defaults to `True`.

    Returns:
        A `tf.data.Dataset` of known length, of batches `(x, y)`. Labels of unsigned dtypes come as int32.

    Raises:
        ValueError: If a part is empty or of unknown length, the inputs of the two differ in structure, shape or dtype,
            labels are not sparse, or a batch would hold samples of one kind only.

    Example:

    >>> x, y = np.ones((4, 2)), np.array([0, 1, 2, 0])
    >>> dataset = mix((x, y), np.zeros((9, 2)), ratio=0.6, batch_size=5, shuffle=False)
    >>> [labels.numpy().tolist() for _, labels in dataset]
    [[0, 1, -1, -1, -1], [2, 0, -1, -1, -1], [0, 1, -1, -1, -1]]
    """
    import tensorflow as tf

    counts = _counts(ratio, batch_size)
    with_labels, without = Samples(labelled, "labelled"), Samples(unlabelled, "unlabelled")
    _check_labels(with_labels)
    _check_inputs(with_labels, without)
    steps = [part.batches(count) for part, count in zip((with_labels, without), counts, strict=True)]
    if max(steps) < 0:
        raise ValueError(expected("one part of known length", "two that never end", "Use `.take(n)` on one of them."))
    seeds = (None, None) if seed is None else (seed, seed + 1)
    streams = [
        # Cut to length before anything reads ahead, which would draw of the next epoch's order.
        part.stream(shuffle, part_seed).repeat().take(count * max(steps)).batch(count, drop_remainder=True)
        for part, count, part_seed in zip((with_labels, without), counts, seeds, strict=True)
    ]

    def join(known, other):
        x = keras.tree.map_structure(lambda one, two: tf.concat([one, two], 0), known[0], other[0])
        return x, keras.tree.map_structure(lambda labels: _extended(labels, counts[1]), known[1])

    dataset = tf.data.Dataset.zip(*streams).map(join, num_parallel_calls=tf.data.AUTOTUNE)
    dataset = dataset.prefetch(tf.data.AUTOTUNE)
    return dataset.apply(tf.data.experimental.assert_cardinality(max(steps)))


class Samples:
    """Hold single samples, from arrays or from a `tf.data.Dataset`, and make streams of them.

    Args:
        source: A pair of arrays (or nests of them) `(x, y)`, inputs alone, or a `tf.data.Dataset` of such samples.
        name: What it is called in messages.

    Raises:
        ValueError: If it is empty, its length is unknown, or its arrays differ in length.
    """

    def __init__(self, source, name):
        import tensorflow as tf

        self.name = name
        if isinstance(source, tf.data.Dataset):
            self._dataset, self.arrays = _as_pairs(source), None
            self.count, self.spec = int(self._dataset.cardinality()), self._dataset.element_spec
            self._check_length()
        else:
            # On the host, where batches are put together, whatever accelerators there are.
            with tf.device("CPU:0"):
                self.arrays = keras.tree.map_structure(_tensor, _pair(source))
            self.count, self.spec = self._length(), keras.tree.map_structure(_row_spec, self.arrays)

    def _check_length(self):
        import tensorflow as tf

        if self.count == tf.data.UNKNOWN_CARDINALITY:
            fix = "Say it: `dataset.apply(tf.data.experimental.assert_cardinality(n))`."
            raise ValueError(expected(f"{self.name} samples of known number", "a data set of unknown length", fix))
        if self.count == 0:
            raise ValueError(expected(f"{self.name} samples, at least 1", "none"))

    def _length(self):
        lengths = [len(array) for array in keras.tree.flatten(self.arrays)]
        if len(set(lengths)) != 1 or not lengths[0]:
            raise ValueError(expected(f"{self.name} arrays of one length, at least 1", f"lengths {lengths}"))
        return lengths[0]

    def batches(self, count):
        """Return how many batches hold all samples once; -1 where they never end."""
        return -1 if self.count < 0 else -(-self.count // count)

    def stream(self, shuffle, seed):
        """Return a `tf.data.Dataset` of single samples, in an order of its own in each pass."""
        import tensorflow as tf

        if self.arrays is None:
            buffer = _BUFFER if self.count < 0 else min(self.count, _BUFFER)
            return self._dataset.shuffle(buffer, seed=seed) if shuffle else self._dataset
        rows = tf.data.Dataset.range(self.count)
        rows = rows.shuffle(self.count, seed=seed) if shuffle else rows
        return rows.map(lambda row: keras.tree.map_structure(lambda array: tf.gather(array, row), self.arrays))


def _as_pairs(dataset):
    spec = dataset.element_spec
    if isinstance(spec, tuple) and len(spec) not in (1, 2):
        raise ValueError(expected("data sets of samples `(x, y)` or `x`", f"samples of {len(spec)} parts"))
    return dataset if isinstance(spec, tuple) else dataset.map(lambda x: (x,))


def _pair(source):
    if isinstance(source, tuple) and len(source) not in (1, 2):
        raise ValueError(expected("a pair `(x, y)` or inputs alone", f"a tuple of {len(source)}"))
    return source if isinstance(source, tuple) else (source,)


def _tensor(array):
    import tensorflow as tf

    array = np.asarray(array)
    if array.ndim == 0:
        raise ValueError(expected("arrays of samples or a `tf.data.Dataset`", f"{array.dtype} without an axis"))
    return tf.constant(array.astype(keras.config.floatx()) if array.dtype.kind == "f" else array)


def _row_spec(array):
    import tensorflow as tf

    return tf.TensorSpec(array.shape[1:], array.dtype)


def _counts(ratio, batch_size):
    """Return how many labelled and how many unlabelled samples a batch holds."""
    if isinstance(batch_size, bool) or not hasattr(batch_size, "__index__") or batch_size < 2:
        raise ValueError(expected("batch_size to be a whole number >= 2", f"batch_size={batch_size!r}"))
    unlabelled = round(ratio * batch_size) if 0.0 < ratio < 1.0 else 0
    if not 0 < unlabelled < batch_size:
        fix = "For one kind alone, give it to `fit()` as it is."
        received = f"ratio={ratio!r} of {batch_size}"
        raise ValueError(expected("a ratio that leaves samples of both kinds in a batch", received, fix))
    return batch_size - unlabelled, unlabelled


def _check_labels(part):
    if len(part.spec) != 2:
        raise ValueError(expected("labelled samples `(x, y)`", "inputs alone"))
    for spec in keras.tree.flatten(part.spec[1]):
        if not spec.dtype.is_integer:
            fix = "One-hot labels become sparse by `np.argmax(y, axis=-1)`."
            raise ValueError(expected("sparse labels of an integer dtype", f"{spec.dtype.name}", fix))


def _check_inputs(labelled, unlabelled):
    one, two = (_described(part.spec[0]) for part in (labelled, unlabelled))
    if one != two:
        raise ValueError(expected(f"unlabelled inputs of the labelled ones' shapes and dtypes, {one}", f"{two}"))


def _described(spec):
    return keras.tree.map_structure(lambda each: f"{each.dtype.name} {tuple(each.shape)}", spec)


def _extended(labels, count):
    """Append as many rows of -1 as there are samples without labels."""
    import tensorflow as tf

    labels = tf.cast(labels, tf.int32) if labels.dtype.is_unsigned else labels
    shape = tf.concat([[count], tf.shape(labels)[1:]], 0)
    return tf.concat([labels, tf.fill(shape, tf.constant(-1, labels.dtype))], 0)
