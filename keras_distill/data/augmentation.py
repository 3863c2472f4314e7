"""Views for function matching: crops and mixtures of inputs on which the student matches its teacher."""

import math
from collections.abc import Callable
from typing import Any

import keras

from keras_distill._core.checked import checked
from keras_distill._core.checks import check_number, check_whole_number
from keras_distill._core.messages import expected
from keras_distill.data.samples import Samples


@checked(alpha=Any, batch_size=Any, classes=Any, seed=(0, math.inf))
def mixup(
    data: Any,
    alpha: float = 1.0,
    *,
    batch_size: int,
    seed: int | None = None,
    classes: int | None = None,
    augment: Callable[..., Any] | None = None,
    shuffle: bool = True,
) -> Any:
    """Return batches of convex mixtures of pairs of samples, on which a student matches the function of its teacher.

    Each sample of a batch is mixed with its neighbour, `share * x[i] + (1 - share) * x[i - 1]`, with a share of its
    own. A `Distiller` runs teacher and student on the same batch, so both see the same view. To augment the input of
    the student alone, put the augmentation in front of it: train `keras.Sequential([augmentation, student])` and export
    `student`. Pass `shuffle=False` to `fit()`, since the order is made here.

    Args:
        data: Pair of arrays `(x, y)`, inputs alone, or a `tf.data.Dataset` of single samples. Inputs are floats, one
            array or a nest of arrays.
        alpha: Shares are drawn from Beta(alpha, alpha). Defaults to 1.0, uniformly from 0 to 1; 0.2 leaves most
            samples nearly unmixed.
        batch_size: Samples per batch, 2 or more; the last batch may be smaller.
        seed: Integer seed of the order and the shares; `augment` has seeds of its own. Defaults to `None`, different
            batches in each run.
        classes: Number of classes. If given, sparse labels become one-hot rows that are mixed like the inputs. Defaults
            to `None`: labels are dropped, and the student learns from the soft targets alone.
        augment: Keras layer or function that is applied to a batch of inputs before mixing, such as `crops()`. Defaults
            to `None`.
        shuffle: Whether to reshuffle in every epoch. Defaults to `True`.

    Returns:
        A `tf.data.Dataset` of batches `(x,)`, or `(x, y)` with `y` of float `[batch, classes]`.

    Raises:
        ValueError: If a number is out of range, inputs are not floats, or there are no sparse labels to mix.

    Example:

    >>> import numpy as np
    >>> (x, y), = mixup((np.eye(3), np.arange(3)), batch_size=3, classes=3, seed=0)
    >>> bool(np.allclose(x, y)), np.round(np.sum(y, axis=-1), 4).tolist()
    (True, [1.0, 1.0, 1.0])

    Reference:
        Beyer, Zhai, Royer, Markeeva, Anil, Kolesnikov, "Knowledge distillation: A good teacher is patient and
        consistent", 2021, arXiv:2106.05237; Zhang, Cisse, Dauphin, Lopez-Paz, "mixup: Beyond Empirical Risk
        Minimization", 2017, arXiv:1710.09412.
    """
    import tensorflow as tf

    alpha = check_number("alpha", alpha, 0.0, math.inf, open_low=True)
    batch_size = check_whole_number("batch_size", batch_size, 2)
    classes = None if classes is None else check_whole_number("classes", classes, 2)
    samples = Samples(data, "mixup")
    _check_inputs(samples)
    if classes is not None:
        _check_labels(samples)
    seeds = tf.data.Dataset.random(seed=seed, rerandomize_each_iteration=True).batch(2)

    def mix(parts: Any, seed: Any) -> Any:
        x = parts[0] if augment is None else _augment(augment, parts[0])
        share = draw_shares(alpha, tf.shape(keras.tree.flatten(x)[0])[0], seed)
        x = keras.tree.map_structure(lambda each: _mix_neighbours(each, share), x)
        return (x,) if classes is None else (x, _mix_neighbours(_one_hot(parts[1], classes), share))

    batches = samples.stream(shuffle, seed).batch(batch_size)
    # Not in parallel: augmentation layers hold the state of a random number generator.
    return tf.data.Dataset.zip(batches, seeds).map(mix).prefetch(tf.data.AUTOTUNE)


@checked(zoom=(0.0, 1.0), shift=(0.0, 1.0), seed=(0, math.inf))
def crops(zoom: float = 0.3, shift: float = 0.15, fill_value: float = 0.0, seed: int | None = None) -> keras.Sequential:
    """Return a layer that crops images at random: it shifts each image and magnifies it to its original size.

    Args:
        zoom: Largest fraction of height and width that is cut off, from 0 to below 1. Defaults to 0.3.
        shift: Largest shift up, down, left and right, as a fraction of height and width, from 0 to below 1. Defaults to
            0.15.
        fill_value: Value of the pixels that are shifted in. Defaults to 0.0.
        seed: Integer seed. Defaults to `None`, different crops in each run.

    Returns:
        A `keras.Sequential` of Keras layers for images `[batch, height, width, channels]`. Outside training it returns
        its input.

    Raises:
        ValueError: If a fraction is out of range.

    Example:

    >>> import numpy as np
    >>> tuple(crops(seed=0)(np.ones((2, 8, 8, 1)), training=True).shape)
    (2, 8, 8, 1)
    """
    for name, value in (("zoom", zoom), ("shift", shift)):
        if not 0.0 <= value < 1.0:
            raise ValueError(expected(f"{name} to be a number from 0 to below 1", f"{name}={value!r}"))
    fill = {"fill_mode": "constant", "fill_value": fill_value}
    return keras.Sequential(
        [
            keras.layers.RandomTranslation(shift, shift, seed=seed, **fill),
            keras.layers.RandomZoom((-zoom, 0.0), seed=None if seed is None else seed + 1, **fill),
        ],
        name="crops",
    )


def draw_shares(alpha: float, count: Any, seed: Any) -> Any:
    """Draw shares from Beta(alpha, alpha).

    They are ratios of two Gamma draws, computed from logarithms because the draws for a small alpha underflow.

    Args:
        alpha: Positive number.
        count: Number of shares, an int or a scalar integer tensor.
        seed: Integer tensor `[2]`.

    Returns:
        A float64 TensorFlow tensor `[count]`.
    """
    import tensorflow as tf

    def draw_log_gamma(salt: Any) -> Any:
        seeds = tf.cast(tf.stack([seed[0] + salt, seed[1]]), tf.int64)
        uniform = tf.random.stateless_uniform([count], seeds, dtype=tf.float64)
        shape = tf.constant(alpha + 1.0, tf.float64)
        gamma = tf.random.stateless_gamma([count], seeds + 1, alpha=shape, dtype=tf.float64)
        return tf.math.log(gamma) + tf.math.log1p(-uniform) / alpha

    return tf.sigmoid(draw_log_gamma(0) - draw_log_gamma(2))


def _check_inputs(samples: Samples) -> None:
    for spec in keras.tree.flatten(samples.spec[0]):
        if not spec.dtype.is_floating:
            fix = "Scale images to floats, such as `x / 255.0`."
            raise ValueError(expected("inputs of a float dtype to mix", spec.dtype.name, fix))


def _check_labels(samples: Samples) -> None:
    labels = samples.spec[1] if len(samples.spec) == 2 else None
    if labels is None or keras.tree.is_nested(labels) or not labels.dtype.is_integer or labels.shape not in ((), (1,)):
        raise ValueError(expected("one sparse integer label for each sample to mix", f"labels {labels}"))


def _augment(augment, x):
    return augment(x, training=True) if isinstance(augment, keras.layers.Layer) else augment(x)


def _mix_neighbours(values, share):
    import tensorflow as tf

    shape = tf.concat([tf.shape(share), tf.ones([tf.rank(values) - 1], tf.int32)], 0)
    share = tf.cast(tf.reshape(share, shape), values.dtype)
    return share * values + (1 - share) * tf.roll(values, 1, axis=0)


def _one_hot(labels, classes):
    import tensorflow as tf

    return tf.one_hot(tf.reshape(labels, [-1]), classes, dtype=keras.config.floatx())
