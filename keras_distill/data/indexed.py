"""Batches that carry the index of each sample and the indices of samples to contrast it with."""

import math
from collections.abc import Callable
from typing import Any

import keras
import numpy as np

from keras_distill._core.checked import checked
from keras_distill._core.checks import check_whole_number
from keras_distill._core.messages import expected
from keras_distill.data.samples import to_tensor


@checked(batch_size=Any, negatives=Any, seed=(0, math.inf))
def indexed(
    x: Any,
    y: Any = None,
    *,
    batch_size: int,
    negatives: int = 0,
    shuffle: bool = True,
    seed: int | None = None,
    sample_weight: Any = None,
) -> Any:
    """Return batches that carry the index of each sample and, on request, the indices of negative samples.

    Losses with a memory of every sample, such as `CRD`, and losses on stored targets need to know which samples a batch
    holds. An index is a row of `x`, in whatever order the rows are read. Pass `shuffle=False` to `fit()`, since the
    order is made here.

    Negatives are drawn anew in every epoch, uniformly with replacement. If `y` is one array of class indices, they are
    samples of other classes; otherwise (one-hot labels, say, or no labels) all other samples.

    Args:
        x: Inputs, an array `[samples, ...]` or a nest of arrays.
        y: Labels, an array `[samples, ...]` or a nest of arrays. Defaults to `None`.
        batch_size: Samples per batch; the last batch may be smaller.
        negatives: Number of negatives for each sample. Defaults to 0.
        shuffle: Whether to reshuffle in every epoch. Defaults to `True`.
        seed: Integer seed of the order and the draws. The same seed gives the same batches, epoch by epoch. Defaults to
            `None`, different batches in each run.
        sample_weight: Array `[samples, ...]` of weights, or a nest of arrays. Defaults to `None`.

    Returns:
        A `tf.data.Dataset` of known length with batches `(x, y, sample_weight, extras)`, in which missing parts are
        `None`. `extras` is a dict with `"index"`, int32 `[batch]`, and, if there are negatives, `"contrast_index"`,
        int32 `[batch, 1 + negatives]`, which begins with the sample itself.

    Raises:
        ValueError: If lengths differ, a number is out of range, or there is no negative to draw.

    Example:

    >>> x, y = np.arange(6.0).reshape(6, 1), np.array([0, 0, 1, 1, 2, 2])
    >>> dataset = indexed(x, y, batch_size=4, negatives=3, seed=0)
    >>> len(dataset)
    2
    >>> _, labels, _, extras = next(iter(dataset))
    >>> same_class = y[extras["contrast_index"]] == labels.numpy()[:, None]  # Only the sample itself.
    >>> bool(same_class[:, 0].all()), bool(same_class[:, 1:].any())
    (True, False)
    """
    import tensorflow as tf

    samples = _count_samples(x, y, sample_weight)
    batch_size = check_whole_number("batch_size", batch_size)
    negatives = check_whole_number("negatives", negatives, 0)
    # On the host, where batches are assembled, whatever accelerators there are.
    with tf.device("CPU:0"):
        arrays = keras.tree.map_structure(to_tensor, (x, y, sample_weight), none_is_leaf=False)
        draw = _negative_sampler(_class_indices(y, samples), negatives)
    rows = tf.data.Dataset.range(samples, output_type=tf.int32)
    if shuffle:
        rows = rows.shuffle(samples, seed=seed, reshuffle_each_iteration=True)
    seeds = tf.data.Dataset.random(seed=seed, rerandomize_each_iteration=True).batch(2)

    def gather(index: Any, seed: Any) -> Any:
        parts: Any = keras.tree.map_structure(lambda array: tf.gather(array, index), arrays, none_is_leaf=False)
        return (*parts, {"index": index, **draw(index, seed)})

    dataset = tf.data.Dataset.zip(rows.batch(batch_size), seeds)
    return dataset.map(gather, num_parallel_calls=tf.data.AUTOTUNE).prefetch(tf.data.AUTOTUNE)


def _count_samples(x, y, sample_weight) -> int:
    """Return the number of samples; raise a `ValueError` if lengths differ."""
    arrays = [array for array in keras.tree.flatten((x, y, sample_weight)) if array is not None]
    unknown = next((array for array in arrays if not hasattr(array, "__len__")), None)
    if unknown is not None:
        raise ValueError(expected("x, y and sample_weight to be arrays", f"{unknown!r:.200}"))
    lengths = [len(array) for array in arrays]
    if len(set(lengths)) != 1 or not lengths[0]:
        raise ValueError(expected("as many labels and weights as inputs, at least 1", f"lengths {lengths}"))
    return lengths[0]


def _class_indices(y, samples: int) -> np.ndarray:
    """Return the class of each sample; without sparse labels, each sample is a class of its own."""
    labels: Any = np.arange(samples) if y is None or keras.tree.is_nested(y) else np.asarray(y)
    labels = labels[:, 0] if labels.ndim == 2 and labels.shape[1] == 1 else labels
    return labels if labels.ndim == 1 and labels.dtype.kind in "iu" else np.arange(samples)


def _negative_sampler(classes: np.ndarray, negatives: int) -> Callable[[Any, Any], dict[str, Any]]:
    """Return a function that draws the negatives of a batch of indices, given a seed of two numbers."""
    import tensorflow as tf

    if not negatives:
        return lambda index, seed: {}
    samples = len(classes)
    # If samples are sorted by class, those of the other classes are one cyclic stretch from the end of the own class.
    _, own, sizes = np.unique(classes, return_inverse=True, return_counts=True)
    order, ends, others = np.argsort(own, kind="stable"), np.cumsum(sizes)[own], samples - sizes[own]
    if not others.all():
        raise ValueError(expected("samples of at least two classes to draw negatives from", "samples of one class"))
    order, ends = tf.constant(order, "int32"), tf.constant(ends, "int32")
    others = tf.constant(others, "float64")

    def draw(index: Any, seed: Any) -> Any:
        uniform = tf.random.stateless_uniform((tf.size(index), negatives), seed, dtype=tf.float64)
        steps = tf.cast(uniform * tf.gather(others, index)[:, None], tf.int32)
        drawn = tf.gather(order, (tf.gather(ends, index)[:, None] + steps) % samples)
        return {"contrast_index": tf.concat([index[:, None], drawn], axis=1)}

    return draw
