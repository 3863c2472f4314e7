"""Views of two examples: mixup and cutmix with a partner that the seed names."""

import keras

from keras_distill._core.messages import expected
from keras_distill.data.augmentation import draw_shares

MIXES = ("mixup", "cutmix")


class Partners:
    """Give any example of a data set by its number, inside a pipeline.

    Args:
        source: Arrays `x` or `(x, y)`, or a function of a number (an int64 tensor) that returns one or the other.
        count: Number of examples, for a function.

    Raises:
        ValueError: If it is neither.
    """

    def __init__(self, source, count=None):
        import tensorflow as tf

        if isinstance(source, (tf.data.Dataset, keras.utils.PyDataset)) or source is None:
            fix = "Give `Replay(partners=...)`: arrays, or a function of a number with `count`."
            raise ValueError(expected("partners that can be read at random, to mix", type(source).__name__, fix))
        if callable(source):
            if isinstance(count, bool) or not isinstance(count, int) or count < 2:
                raise ValueError(expected("count, the number of examples that partners finds", f"count={count!r}"))
            self.count, self._find = count, source
            return
        with tf.device("CPU:0"):
            tensors = keras.tree.map_structure(tf.convert_to_tensor, source, none_is_leaf=False)
        self.count = len(keras.tree.flatten(tensors)[0])
        self._find = lambda number: keras.tree.map_structure(
            lambda each: tf.gather(each, number), tensors, none_is_leaf=False
        )

    def __call__(self, number):
        """Return inputs and labels, `None` without any, of an example."""
        found = self._find(number)
        return (*found, None)[:2] if isinstance(found, (tuple, list)) else (found, None)


def mixed(kind, x, other, alpha, seed):
    """Mix an example with its partner.

    Args:
        kind: `"mixup"` or `"cutmix"`.
        x: Inputs of one example.
        other: Inputs of its partner.
        alpha: The share of the first is drawn from Beta(alpha, alpha).
        seed: int32 tensor `[2]`.

    Returns:
        The inputs, and the share that the first has of them, a float64 scalar.
    """
    import tensorflow as tf

    share = draw_shares(alpha, 1, seed)[0]
    if kind == "cutmix":
        return _cut(x, other, share, seed)
    for leaf in keras.tree.flatten(x):
        if not leaf.dtype.is_floating:
            raise ValueError(expected("inputs of a float dtype to mix", leaf.dtype.name, "Scale them in augment_fn."))
    return keras.tree.map_structure(
        lambda a, b: tf.cast(share, a.dtype) * a + tf.cast(1 - share, a.dtype) * b, x, other
    ), share


def _cut(x, other, share, seed):
    """Put a box of the partner into an image; what hangs over the edge is cut off and not counted."""
    import tensorflow as tf

    if keras.tree.is_nested(x) or x.shape.rank != 3:
        raise ValueError(expected("images `[height, width, channels]` for cutmix", f"{keras.tree.flatten(x)}"))
    size = tf.shape(x)[:2]
    extent = tf.cast(size, tf.float64) * tf.sqrt(1.0 - share)
    centre = tf.random.stateless_uniform([2], seed + tf.constant([0, 5]), dtype=tf.float64) * tf.cast(size, tf.float64)
    low = tf.cast(tf.round(tf.maximum(centre - extent / 2, 0.0)), tf.int32)
    high = tf.minimum(tf.cast(tf.round(centre + extent / 2), tf.int32), size)
    rows, columns = tf.range(size[0])[:, None], tf.range(size[1])[None]
    inside = (rows >= low[0]) & (rows < high[0]) & (columns >= low[1]) & (columns < high[1])
    kept = 1.0 - tf.reduce_mean(tf.cast(inside, tf.float64))
    return tf.where(inside[..., None], other, x), kept


def mixed_labels(y, other, share, classes):
    """Return the labels of a mixture, float `[classes]`.

    Args:
        y: A sparse label, or one value for each class.
        other: That of the partner, in the same form.
        share: What the first counts.
        classes: Number of classes, for sparse labels.
    """
    import tensorflow as tf

    if y is None:
        return None
    if other is None or keras.tree.is_nested(y):
        raise ValueError(expected("partners with one label each, for labels to be mixed", "none, or several"))

    def rows(label):
        if not label.dtype.is_integer:
            return tf.cast(label, keras.config.floatx())
        if classes is None:
            raise ValueError(expected("`Replay(classes=...)` to mix sparse labels", "classes=None"))
        return tf.one_hot(tf.reshape(label, []), classes, dtype=keras.config.floatx())

    share = tf.cast(share, keras.config.floatx())
    return share * rows(y) + (1.0 - share) * rows(other)
