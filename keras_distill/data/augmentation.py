"""Views for function matching: crops and mixtures of inputs, on which the student follows its teacher."""

import keras

from keras_distill._core.messages import expected
from keras_distill.data.mixing import Samples


def mixup(data, alpha=1.0, *, batch_size, seed=None, classes=None, augment=None, shuffle=True):
    """Make batches of convex mixtures of pairs of samples, for a student to match its teacher's function on.

    Each sample of a batch is mixed with its neighbour, `share * x[i] + (1 - share) * x[i - 1]`, by a share of its own.
    A `Distiller` runs teacher and student on one and the same batch, so both see the same view; to let the student
    alone see something more, put it in front of the student: `keras.Sequential([augmentation, student])` is what
    is trained, and `student` is what is exported. Pass `shuffle=False` to `fit()`: the order is made here.

    Args:
        data: Pair of arrays `(x, y)`, inputs alone, or a `tf.data.Dataset` of single samples. Inputs are floats, one
            array or a nest of them.
        alpha: Shares are drawn from Beta(alpha, alpha). Defaults to 1.0, uniformly from 0 to 1; 0.2 leaves most
            samples nearly what they are.
        batch_size: Samples per batch; the last one holds what is left.
        seed: Integer seed of order and shares; `augment` has seeds of its own. Defaults to `None`, no two runs alike.
        classes: Number of classes. If given, sparse labels come as one-hot rows, mixed as the inputs are. Defaults to
            `None`: labels are left out, and the soft targets alone are learnt.
        augment: Keras layer or function applied to a batch of inputs before it is mixed, such as `crops()`. Defaults
            to `None`.
        shuffle: Whether every epoch has an order of its own. Defaults to `True`.

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

    _check(alpha, batch_size, classes)
    samples = Samples(data, "mixup")
    _check_samples(samples, classes)
    seeds = tf.data.Dataset.random(seed=seed, rerandomize_each_iteration=True).batch(2)

    def view(parts, seed):
        x = parts[0] if augment is None else _augmented(augment, parts[0])
        share = _shares(alpha, tf.shape(keras.tree.flatten(x)[0])[0], seed)
        x = keras.tree.map_structure(lambda each: _mixed(each, share), x)
        return (x,) if classes is None else (x, _mixed(_one_hot(parts[1], classes), share))

    batches = samples.stream(shuffle, seed).batch(batch_size)
    # One after the other: layers that augment hold a state of random numbers.
    return tf.data.Dataset.zip(batches, seeds).map(view).prefetch(tf.data.AUTOTUNE)


def crops(zoom=0.3, shift=0.15, fill_value=0.0, seed=None):
    """Build the layer that crops images at random: each is moved, then magnified to its old size.

    Args:
        zoom: Largest share of height and width that is cut off, from 0 to below 1. Defaults to 0.3.
        shift: Largest move up, down, left and right, as a share of height and width. Defaults to 0.15.
        fill_value: What moves in. Defaults to 0.0.
        seed: Integer seed. Defaults to `None`, no two runs alike.

    Returns:
        A `keras.Sequential` of Keras's own layers for images `[batch, height, width, channels]`; it does nothing
        outside training.

    Raises:
        ValueError: If a share is out of range.

    Example:

    >>> import numpy as np
    >>> tuple(crops(seed=0)(np.ones((2, 8, 8, 1)), training=True).shape)
    (2, 8, 8, 1)
    """
    for name, value in (("zoom", zoom), ("shift", shift)):
        if not 0.0 <= value < 1.0:
            raise ValueError(expected(f"{name} of crops from 0 to below 1", f"{name}={value!r}"))
    fill = {"fill_mode": "constant", "fill_value": fill_value}
    return keras.Sequential(
        [
            keras.layers.RandomTranslation(shift, shift, seed=seed, **fill),
            keras.layers.RandomZoom((-zoom, 0.0), seed=None if seed is None else seed + 1, **fill),
        ],
        name="crops",
    )


def _check(alpha, batch_size, classes):
    if isinstance(alpha, bool) or not isinstance(alpha, (int, float)) or not 0.0 < alpha < float("inf"):
        raise ValueError(expected("a finite alpha of mixup > 0", f"alpha={alpha!r}"))
    for name, value, low in (("batch_size", batch_size, 2), ("classes", classes, 2)):
        given = value is not None or name == "batch_size"
        if given and (isinstance(value, bool) or not hasattr(value, "__index__") or value < low):
            raise ValueError(expected(f"{name} to be a whole number >= {low}", f"{name}={value!r}"))


def _check_samples(samples, classes):
    for spec in keras.tree.flatten(samples.spec[0]):
        if not spec.dtype.is_floating:
            fix = "Scale images to floats, such as `x / 255.0`."
            raise ValueError(expected("inputs of a float dtype to mix", spec.dtype.name, fix))
    if classes is not None:
        labels = samples.spec[1] if len(samples.spec) == 2 else None
        if (
            keras.tree.is_nested(labels)
            or labels is None
            or not labels.dtype.is_integer
            or labels.shape not in ((), (1,))
        ):
            raise ValueError(expected("one sparse integer label for each sample to mix", f"labels {labels}"))


def _augmented(augment, x):
    return augment(x, training=True) if isinstance(augment, keras.layers.Layer) else augment(x)


def _shares(alpha, count, seed):
    """Draw from Beta(alpha, alpha), as the ratio of two Gamma draws by their logarithms: those of a small alpha vanish."""
    import tensorflow as tf

    def log_gamma(salt):
        seeds = tf.cast(tf.stack([seed[0] + salt, seed[1]]), tf.int64)
        uniform = tf.random.stateless_uniform([count], seeds, dtype=tf.float64)
        raised = tf.random.stateless_gamma(
            [count], seeds + 1, alpha=tf.constant(alpha + 1.0, tf.float64), dtype=tf.float64
        )
        return tf.math.log(raised) + tf.math.log1p(-uniform) / alpha

    return tf.sigmoid(log_gamma(0) - log_gamma(2))


def _mixed(values, share):
    import tensorflow as tf

    shape = tf.concat([tf.shape(share), tf.ones([tf.rank(values) - 1], tf.int32)], 0)
    share = tf.cast(tf.reshape(share, shape), values.dtype)
    return share * values + (1 - share) * tf.roll(values, 1, axis=0)


def _one_hot(labels, classes):
    import tensorflow as tf

    return tf.one_hot(tf.reshape(labels, [-1]), classes, dtype=keras.config.floatx())
