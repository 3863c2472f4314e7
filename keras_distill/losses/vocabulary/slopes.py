"""The losses of a chunk of tokens and their slopes in the logits: one function for each form of soft targets.

Each function takes logits `[tokens, classes]`. It returns the hard losses (`None` without labels) and the soft losses,
`[tokens]`, and the gradient `[tokens, classes]` of their weighted sum. It uses TensorFlow's operations, since Keras has
no scatter that adds, and since every pass over the logits costs time.
"""

from typing import Any

from keras_distill.losses import divergences

_FLOOR = -1e30
"""Replaces -inf: its exponential is 0 too, and differences with it are finite."""


def top_k_slopes(
    logits: Any, labels: Any, weights: Any, temperature: Any, indices: Any, teacher: Any
) -> tuple[Any, Any, Any]:
    """Compute losses and slopes of tokens if the teacher's k largest classes and the mass of the rest are known.

    The rest counts as one class. There is one softmax of the student's logits for each temperature. All arrays that
    involve the teacher are `[tokens, k + 1]`, in float64.

    Args:
        logits: Float tensor `[tokens, classes]`, the student's.
        labels: Integer tensor `[tokens]`, or `None` for no hard labels.
        weights: Two float tensors `[tokens]`, of the hard losses (`None` without labels) and of the soft losses.
        temperature: Positive number or scalar tensor T.
        indices: Integer tensor `[tokens, k]`, the known classes.
        teacher: Float64 tensor `[tokens, k + 1]`, the teacher's logits at T, with the rest last; `[tokens, classes]` if
            no class is left out.
    """
    import tensorflow as tf

    k, whole = indices.shape[-1], teacher.shape[-1] == indices.shape[-1]
    known = tf.cast(tf.gather(logits, indices, batch_dims=1), "float64")
    labelled = None if labels is None else tf.cast(tf.gather(logits, labels, batch_dims=1), "float64")
    nothing = tf.fill(tf.shape(indices), tf.cast(_FLOOR, logits.dtype))
    logits = tf.tensor_scatter_nd_update(logits, _row_positions(indices), nothing)
    largest = tf.cast(tf.reduce_max(logits, axis=-1), "float64")
    wide, soft_weight = tf.cast(temperature, "float64"), tf.cast(weights[1], "float64")

    def reduce(shares: Any, temperature: Any) -> Any:
        # The largest share is that of the largest logit: together they give the log-sum-exp of the rest.
        rest = largest - temperature * tf.math.log(tf.cast(tf.reduce_max(shares, axis=-1), "float64"))
        return known if whole else tf.concat([known, rest[:, None]], axis=-1)

    def take_rest(slopes: Any) -> Any:
        return tf.cast(tf.zeros_like(slopes[:, :1]) if whole else slopes[:, -1:], logits.dtype)

    shares = tf.nn.softmax(logits / tf.cast(temperature, logits.dtype))
    p, q, log_ratio = divergences.distributions(teacher, reduce(shares, wide), wide)
    soft = divergences.mixture_divergence(p, q, log_ratio, 1.0) * wide**2
    slopes = (soft_weight * wide)[:, None] * (q - p)
    gradient = shares * take_rest(slopes)
    if labels is None:
        return None, soft, _add_at(gradient, indices, slopes[:, :k])
    shares = _softmax_at_one(shares, logits, temperature)
    student = reduce(shares, 1.0)
    hard = tf.reduce_logsumexp(student, axis=-1) - labelled
    hard_weight = tf.cast(weights[0], "float64")
    hard_slopes = hard_weight[:, None] * tf.nn.softmax(student)
    gradient += shares * take_rest(hard_slopes)
    slopes = tf.concat([(slopes + hard_slopes)[:, :k], -hard_weight[:, None]], axis=-1)
    return hard, soft, _add_at(gradient, tf.concat([indices, labels[:, None]], axis=-1), slopes)


def dense_slopes(logits: Any, labels: Any, weights: Any, temperature: Any, teacher: Any) -> tuple[Any, Any, Any]:
    """Compute losses and slopes of tokens if all of the teacher's logits are known.

    Args:
        logits: Float tensor `[tokens, classes]`, the student's.
        labels: Integer tensor `[tokens]`, or `None` for no hard labels.
        weights: Two float tensors `[tokens]`, of the hard losses (`None` without labels) and of the soft losses.
        temperature: Positive number or scalar tensor T.
        teacher: Float tensor `[tokens, classes]`.
    """
    import tensorflow as tf

    wide = tf.cast(temperature, logits.dtype)
    soft, slopes = divergences.kl_divergence_and_slopes(teacher, logits, temperature)
    soft *= wide**2
    gradient = tf.cast(weights[1], logits.dtype)[:, None] * wide * slopes
    if labels is None:
        return None, soft, gradient
    hard = tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits)
    hard_weight = tf.cast(weights[0], logits.dtype)[:, None]
    gradient += hard_weight * tf.nn.softmax(logits)
    return hard, soft, _add_at(gradient, labels[:, None], -hard_weight)


def _softmax_at_one(shares, logits, temperature):
    """Return the softmax at temperature 1, which is the one at T if T is 1."""
    import tensorflow as tf

    return tf.cond(tf.equal(temperature, 1), lambda: shares, lambda: tf.nn.softmax(logits))


def _add_at(gradient, columns, slopes):
    """Add slopes `[tokens, k]` at the columns `[tokens, k]` of a gradient `[tokens, classes]`."""
    import tensorflow as tf

    return tf.tensor_scatter_nd_add(gradient, _row_positions(columns), tf.cast(slopes, gradient.dtype))


def _row_positions(columns):
    """Return the positions `[tokens, k, 2]` of the columns `[tokens, k]` of each row."""
    import tensorflow as tf

    rows = tf.range(tf.shape(columns)[0])[:, None]
    return tf.stack([tf.broadcast_to(rows, tf.shape(columns)), columns], axis=-1)
