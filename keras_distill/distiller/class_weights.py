"""Weights of classes for a `tf.data.Dataset` in which some labels are missing."""

from typing import Any

import keras

from keras_distill._core.batches import unpack
from keras_distill._core.messages import expected


def weigh_classes(dataset: Any, class_weight: dict[int, float]) -> Any:
    """Return a `tf.data.Dataset` whose batches carry the weight of each sample's class, as Keras computes it.

    Keras looks the weights up in a table, which has no entry for a label of -1 or for an `ignore_class`: it stops. Such
    a label, and a class without a weight, weighs 1.0 here, as it does where Keras is given arrays.

    Args:
        dataset: A `tf.data.Dataset` of batches `(x, y)`, with or without a fourth part of extras.
        class_weight: Weight of each class by its index.

    Raises:
        ValueError: If the batches have sample weights, or several outputs have labels.
    """
    import tensorflow as tf

    first, last = min(0, *class_weight), max(0, *class_weight)
    table = tf.constant([class_weight.get(label, 1.0) for label in range(first, last + 1)], "float32")

    def weigh(*data: Any) -> tuple:
        x, y, sample_weight, extras = unpack(data)
        if sample_weight is not None:
            raise ValueError(expected("class_weight or sample weights", "both"))
        if y is None or keras.tree.is_nested(y):
            raise ValueError(expected("labels of one output beside class_weight", f"{type(y).__name__}"))
        labels = _find_classes(y)
        inside = tf.clip_by_value(labels, first, last)
        weights = tf.where(labels == inside, tf.gather(table, inside - first), 1.0)
        return (x, y, weights, extras) if extras else (x, y, weights)

    return dataset.map(weigh).prefetch(tf.data.AUTOTUNE)


def _find_classes(labels):
    """Return class indices as Keras finds them: rows of several numbers are one-hot."""
    import tensorflow as tf

    if labels.shape.rank < 2:
        return tf.cast(tf.round(labels), "int32")
    if labels.shape[-1] == 1:
        return tf.cast(tf.round(tf.squeeze(labels, -1)), "int32")
    return tf.argmax(labels, axis=-1, output_type="int32")
