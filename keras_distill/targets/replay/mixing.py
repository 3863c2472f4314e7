"""Views of two examples: mixup and cutmix with a partner that follows from the seed."""

from typing import Any

import keras

from keras_distill._core.checks import check_whole_number
from keras_distill._core.messages import expected
from keras_distill.answers.answer import Tensor
from keras_distill.data.augmentation import draw_shares
from keras_distill.targets.writing.grain import is_grain

MIXES = ("mixup", "cutmix")


class Partners:
    """Look up any example of a data set by its number, inside a pipeline.

    Args:
        source: Arrays `x` or `(x, y)`, or a function of a number (an int64 tensor) that returns `x` or `(x, y)`.
        count: Number of examples, for a function. Defaults to `None`.

    Raises:
        ValueError: If the source cannot be read at random, or `count` is missing.
    """

    def __init__(self, source: Any, count: int | None = None):
        import tensorflow as tf

        if isinstance(source, (tf.data.Dataset, keras.utils.PyDataset)) or is_grain(source) or source is None:
            fix = "Pass `Replay(partners=...)`: arrays, or a function of a number with `count`."
            raise ValueError(expected("partners that can be read at random, to mix", type(source).__name__, fix))
        if callable(source):
            self.count, self._find = check_whole_number("count", count, 2), source
            return
        if not all(hasattr(leaf, "__len__") for leaf in keras.tree.flatten(source)):
            raise ValueError(expected("partners to be arrays, or a function of a number", f"partners={source!r:.200}"))
        with tf.device("CPU:0"):
            tensors = keras.tree.map_structure(tf.convert_to_tensor, source, none_is_leaf=False)
        self.count = len(keras.tree.flatten(tensors)[0])
        self._find = lambda number: keras.tree.map_structure(
            lambda each: tf.gather(each, number), tensors, none_is_leaf=False
        )

    def __call__(self, number: Tensor) -> tuple[Any, Any]:
        """Return the inputs of an example, and its label or `None`."""
        found = self._find(number)
        x, label = (*found, None)[:2] if isinstance(found, (tuple, list)) else (found, None)
        return x, label


def mix(kind: str, x: Any, other: Any, alpha: float, seed: Tensor) -> tuple[Any, Tensor]:
    """Mix an example with its partner.

    Args:
        kind: `"mixup"` or `"cutmix"`.
        x: Inputs of one example.
        other: Inputs of its partner.
        alpha: The share of the example is drawn from Beta(alpha, alpha).
        seed: int32 tensor `[2]`.

    Returns:
        The mixed inputs, and the share of the example, a float64 scalar.
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


def _cut(x: Any, other: Any, share: Tensor, seed: Tensor) -> tuple[Tensor, Tensor]:
    """Paste a box of the partner into an image; the part of the box outside the image is not counted."""
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


def mix_labels(y: Any, other: Any, share: Tensor, classes: int | None) -> Tensor | None:
    """Mix the label of an example with its partner's label.

    Args:
        y: A sparse label, one value for each class, or `None`.
        other: The partner's label, in the same form.
        share: Share of the example, a float scalar.
        classes: Number of classes, for sparse labels.

    Returns:
        Float tensor `[classes]`, `None` without labels.
    """
    import tensorflow as tf

    if y is None:
        return None
    if other is None or keras.tree.is_nested(y):
        received = "no label" if other is None else "several labels"
        raise ValueError(expected("partners with one label each, to mix labels", received))

    def to_row(label: Any) -> Any:
        if not label.dtype.is_integer:
            return tf.cast(label, keras.config.floatx())
        if classes is None:
            raise ValueError(expected("`Replay(classes=...)` to mix sparse labels", "classes=None"))
        return tf.one_hot(tf.reshape(label, []), classes, dtype=keras.config.floatx())

    share = tf.cast(share, keras.config.floatx())
    return share * to_row(y) + (1.0 - share) * to_row(other)
