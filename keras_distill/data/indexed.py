"""Batches that say which samples they hold, and which other samples each of them is told from."""

import keras
import numpy as np

from keras_distill._core.messages import expected


def indexed(x, y=None, *, batch_size, negatives=0, shuffle=True, seed=None, sample_weight=None):
    """Make batches that carry the index of each sample, and the indices of others to contrast it with.

    Losses that remember something of every sample, such as `CRD`, or that are given stored targets, need to know
    which samples a batch holds. Indices count the rows of `x`, in whatever order they are read. Pass `shuffle=False`
    to `fit()`: the order is made here.

    The others are drawn anew in every epoch, uniformly and with repetition: among the samples of other classes where
    `y` is one array of class indices, among all other samples where it is anything else (one-hot labels, say) or none.

    Args:
        x: Inputs, an array `[samples, ...]` or a nest of them.
        y: Labels, an array `[samples, ...]` or a nest of them. Defaults to `None`.
        batch_size: Samples per batch; the last one holds what is left.
        negatives: Number of other samples for each sample. Defaults to 0.
        shuffle: Whether every epoch has an order of its own. Defaults to `True`.
        seed: Integer seed of order and draws; the same seed gives the same batches, epoch for epoch. Defaults to
            `None`, no two runs alike.
        sample_weight: Array `[samples, ...]` of weights, or a nest of them. Defaults to `None`.

    Returns:
        A `tf.data.Dataset` of known length, of batches `(x, y, sample_weight, extras)`, where what was not given is
        `None`. `extras` is a dict of `"index"`, int32 `[batch]`, and, where negatives are asked for,
        `"contrast_index"`, int32 `[batch, 1 + negatives]`, the sample itself in front.

    Raises:
        ValueError: If lengths differ, a number is out of range, or there is no other sample (of another class) to
            draw.

    Example:

    >>> x, y = np.arange(6.0).reshape(6, 1), np.array([0, 0, 1, 1, 2, 2])
    >>> dataset = indexed(x, y, batch_size=4, negatives=3, seed=0)
    >>> len(dataset)
    2
    >>> _, labels, _, extras = next(iter(dataset))
    >>> same_class = y[extras["contrast_index"]] == labels.numpy()[:, None]  # The sample itself, and no other.
    >>> bool(same_class[:, 0].all()), bool(same_class[:, 1:].any())
    (True, False)
    """
    import tensorflow as tf

    samples = _check(x, y, sample_weight, batch_size, negatives)
    # On the host, where batches are put together, whatever accelerators there are.
    with tf.device("CPU:0"):
        arrays = keras.tree.map_structure(_tensor, (x, y, sample_weight), none_is_leaf=False)
        draw = _contrasts(_classes(y, samples), negatives)
    rows = tf.data.Dataset.range(samples, output_type=tf.int32)
    if shuffle:
        rows = rows.shuffle(samples, seed=seed, reshuffle_each_iteration=True)
    seeds = tf.data.Dataset.random(seed=seed, rerandomize_each_iteration=True).batch(2)

    def gather(index, seed):
        parts = keras.tree.map_structure(lambda array: tf.gather(array, index), arrays, none_is_leaf=False)
        return (*parts, {"index": index, **draw(index, seed)})

    dataset = tf.data.Dataset.zip(rows.batch(batch_size), seeds)
    return dataset.map(gather, num_parallel_calls=tf.data.AUTOTUNE).prefetch(tf.data.AUTOTUNE)


def _check(x, y, sample_weight, batch_size, negatives):
    """Return the number of samples; raise a `ValueError` where the arguments do not fit."""
    given = [array for array in keras.tree.flatten((x, y, sample_weight)) if array is not None]
    lengths = [len(array) for array in given]
    if len(set(lengths)) != 1 or not lengths[0]:
        raise ValueError(expected("as many labels and weights as inputs, at least 1", f"lengths {lengths}"))
    for name, value, low in (("batch_size", batch_size, 1), ("negatives", negatives, 0)):
        if isinstance(value, bool) or not hasattr(value, "__index__") or value < low:
            raise ValueError(expected(f"{name} to be a whole number >= {low}", f"{name}={value!r}"))
    return lengths[0]


def _tensor(array):
    import tensorflow as tf

    array = np.asarray(array)
    return tf.constant(array.astype(keras.config.floatx()) if array.dtype.kind == "f" else array)


def _classes(y, samples):
    """Return the class of each sample; without sparse labels, each sample is a class of its own."""
    labels = np.arange(samples) if y is None or keras.tree.is_nested(y) else np.asarray(y)
    labels = labels[:, 0] if labels.ndim == 2 and labels.shape[1] == 1 else labels
    return labels if labels.ndim == 1 and labels.dtype.kind in "iu" else np.arange(samples)


def _contrasts(classes, negatives):
    """Return the function that draws the contrasts of a batch of indices, by a seed of two numbers."""
    import tensorflow as tf

    if not negatives:
        return lambda index, seed: {}
    samples = len(classes)
    # In the order of the classes the samples of the others are one stretch, from the end of the own class round.
    _, own, sizes = np.unique(classes, return_inverse=True, return_counts=True)
    order, ends, others = np.argsort(own, kind="stable"), np.cumsum(sizes)[own], samples - sizes[own]
    if not others.all():
        raise ValueError(expected("samples of two classes or more to draw negatives from", "samples of one"))
    order, ends = tf.constant(order, "int32"), tf.constant(ends, "int32")
    others = tf.constant(others, "float64")

    def draw(index, seed):
        uniform = tf.random.stateless_uniform((tf.size(index), negatives), seed, dtype=tf.float64)
        steps = tf.cast(uniform * tf.gather(others, index)[:, None], tf.int32)
        drawn = tf.gather(order, (tf.gather(ends, index)[:, None] + steps) % samples)
        return {"contrast_index": tf.concat([index[:, None], drawn], axis=1)}

    return draw
