"""Batches of labelled and unlabelled samples in a fixed proportion."""

import math
from typing import Any

import keras

from keras_distill._core.checked import checked
from keras_distill._core.checks import check_whole_number, is_number
from keras_distill._core.messages import expected
from keras_distill.data.samples import Samples


@checked(ratio=Any, batch_size=Any, seed=(0, math.inf))
def mix(
    labelled: Any,
    unlabelled: Any,
    ratio: float = 0.5,
    *,
    batch_size: int,
    seed: int | None = None,
    shuffle: bool = True,
) -> Any:
    """Return batches in which some samples have labels and the others have the label -1.

    A `Distiller` takes soft targets from all samples and hard labels from those that have one. Every batch is full and
    begins with the labelled samples. An epoch ends once every sample of both parts has been seen at least once; the
    shorter part starts again. Pass `shuffle=False` to `fit()`, since the order is made here.

    Args:
        labelled: Pair of arrays `(x, y)`, or a `tf.data.Dataset` of single samples `(x, y)`. `x` and `y` are arrays or
            nests of arrays. Labels are sparse integers `[samples, positions...]`.
        unlabelled: Inputs of the same form, or a `tf.data.Dataset` of single inputs. The labels of a pair `(x, y)` are
            ignored.
        ratio: Fraction of unlabelled samples: `round(ratio * batch_size)` of each batch. Defaults to 0.5.
        batch_size: Samples per batch, 2 or more.
        seed: Integer seed of the order. Defaults to `None`, a different order in each run.
        shuffle: Whether to shuffle each part separately. The samples of a data set are drawn from its next 10,000.
            Defaults to `True`.

    Returns:
        A `tf.data.Dataset` of known length with batches `(x, y)`. Labels of unsigned dtypes become int32.

    Raises:
        ValueError: If a part is empty or of unknown length, the inputs of the parts differ in structure, shape or
            dtype, labels are not sparse, or a batch would hold samples of only one kind.

    Example:

    >>> import numpy as np
    >>> x, y = np.ones((4, 2)), np.array([0, 1, 2, 0])
    >>> dataset = mix((x, y), np.zeros((9, 2)), ratio=0.6, batch_size=5, shuffle=False)
    >>> [labels.numpy().tolist() for _, labels in dataset]
    [[0, 1, -1, -1, -1], [2, 0, -1, -1, -1], [0, 1, -1, -1, -1]]
    """
    import tensorflow as tf

    counts = _split_batch(ratio, batch_size)
    parts = Samples(labelled, "labelled"), Samples(unlabelled, "unlabelled")
    _check_labels(parts[0])
    _check_inputs(*parts)
    length = max(part.count_batches(count) for part, count in zip(parts, counts, strict=True))
    if length < 0:
        fix = "Use `.take(n)` on one of them."
        raise ValueError(expected("at least one part of known length", "two endless data sets", fix))
    seeds = (None, None) if seed is None else (seed, seed + 1)
    streams = [
        # Cut to length before anything reads ahead, which would draw from the order of the next epoch.
        part.stream(shuffle, part_seed).repeat().take(count * length).batch(count, drop_remainder=True)
        for part, count, part_seed in zip(parts, counts, seeds, strict=True)
    ]

    def join(known: Any, other: Any) -> Any:
        x = keras.tree.map_structure(lambda one, two: tf.concat([one, two], 0), known[0], other[0])
        return x, keras.tree.map_structure(lambda labels: _pad_labels(labels, counts[1]), known[1])

    dataset = tf.data.Dataset.zip(*streams).map(join, num_parallel_calls=tf.data.AUTOTUNE)
    dataset = dataset.prefetch(tf.data.AUTOTUNE)
    return dataset.apply(tf.data.experimental.assert_cardinality(length))


def _split_batch(ratio: float, batch_size: int) -> tuple[int, int]:
    """Return how many labelled and how many unlabelled samples a batch holds."""
    batch_size = check_whole_number("batch_size", batch_size, 2)
    unlabelled = round(ratio * batch_size) if is_number(ratio) and 0.0 < ratio < 1.0 else 0
    if not 0 < unlabelled < batch_size:
        fix = "Pass samples of a single kind to `fit()` directly."
        received = f"ratio={ratio!r} with batch_size={batch_size}"
        raise ValueError(expected("a ratio that leaves samples of both kinds in a batch", received, fix))
    return batch_size - unlabelled, unlabelled


def _check_labels(part: Samples) -> None:
    if len(part.spec) != 2:
        raise ValueError(expected("labelled samples `(x, y)`", "inputs alone"))
    for spec in keras.tree.flatten(part.spec[1]):
        if not spec.dtype.is_integer:
            fix = "Convert one-hot labels with `np.argmax(y, axis=-1)`."
            raise ValueError(expected("sparse labels of an integer dtype", f"{spec.dtype.name}", fix))


def _check_inputs(labelled: Samples, unlabelled: Samples) -> None:
    one, two = (_describe(part.spec[0]) for part in (labelled, unlabelled))
    if one != two:
        what = f"unlabelled inputs with the shapes and dtypes of the labelled ones, {one}"
        raise ValueError(expected(what, f"{two}"))


def _describe(spec):
    return keras.tree.map_structure(lambda each: f"{each.dtype.name} {tuple(each.shape)}", spec)


def _pad_labels(labels, count):
    """Append a row of -1 for each of `count` samples without a label."""
    import tensorflow as tf

    labels = tf.cast(labels, tf.int32) if labels.dtype.is_unsigned else labels
    shape = tf.concat([[count], tf.shape(labels)[1:]], 0)
    return tf.concat([labels, tf.fill(shape, tf.constant(-1, labels.dtype))], 0)
