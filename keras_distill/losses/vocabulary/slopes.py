"""What a few tokens cost by their logits, and the slope of that: one function for each form of soft targets.

Each is given logits `[tokens, classes]` and returns hard values (`None` without labels) and soft ones, `[tokens]`,
and the gradient `[tokens, classes]` of their weighted sum. TensorFlow's own operations: Keras has no scatter that
adds, and every pass over the logits that is saved counts.
"""

from keras_distill.losses import divergences

_FLOOR = -1e30
"""Stands in for -inf: its exponential is 0 too, and differences with it are numbers."""


def top_k_slopes(logits, labels, weights, temperature, indices, teacher):
    """Compute values and slopes of tokens whose teacher is known by k classes and the mass of the rest.

    The rest counts as one class, whose probability the student spreads over its members. So there is one softmax of
    these for each temperature; all that involves the teacher is `[tokens, k + 1]`, and done in float64.

    Args:
        logits: Float tensor `[tokens, classes]`, the student's.
        labels: Integer tensor `[tokens]`, or `None` for no hard labels.
        weights: Two float tensors `[tokens]`, of the hard (`None` without labels) and of the soft values.
        temperature: Positive number or scalar tensor T.
        indices: Integer tensor `[tokens, k]`, the classes that are known.
        teacher: Float64 tensor `[tokens, k + 1]`, the teacher's logits at T, the rest last; `[tokens, classes]` where
            nothing is left out.
    """
    import tensorflow as tf

    k, whole = indices.shape[-1], teacher.shape[-1] == indices.shape[-1]
    known = tf.cast(tf.gather(logits, indices, batch_dims=1), "float64")
    labelled = None if labels is None else tf.cast(tf.gather(logits, labels, batch_dims=1), "float64")
    nothing = tf.fill(tf.shape(indices), tf.cast(_FLOOR, logits.dtype))
    logits = tf.tensor_scatter_nd_update(logits, _places(indices), nothing)
    largest = tf.cast(tf.reduce_max(logits, axis=-1), "float64")
    wide, soft_weight = tf.cast(temperature, "float64"), tf.cast(weights[1], "float64")

    def reduced(shares, temperature):
        # The largest share is that of the largest logit: all that is missing from the log-sum-exp of the rest.
        rest = largest - temperature * tf.math.log(tf.cast(tf.reduce_max(shares, axis=-1), "float64"))
        return known if whole else tf.concat([known, rest[:, None]], axis=-1)

    def of_rest(slopes):
        return tf.cast(tf.zeros_like(slopes[:, :1]) if whole else slopes[:, -1:], logits.dtype)

    shares = tf.nn.softmax(logits / tf.cast(temperature, logits.dtype))
    p, q, log_ratio = divergences.distributions(teacher, reduced(shares, wide), wide)
    soft = divergences.mixture_divergence(p, q, log_ratio, 1.0) * wide**2
    slopes = (soft_weight * wide)[:, None] * (q - p)
    gradient = shares * of_rest(slopes)
    if labels is None:
        return None, soft, _added(gradient, indices, slopes[:, :k])
    shares = _at_one(shares, logits, temperature)
    student = reduced(shares, 1.0)
    hard = tf.reduce_logsumexp(student, axis=-1) - labelled
    hard_weight = tf.cast(weights[0], "float64")
    of_hard = hard_weight[:, None] * tf.nn.softmax(student)
    gradient += shares * of_rest(of_hard)
    slopes = tf.concat([(slopes + of_hard)[:, :k], -hard_weight[:, None]], axis=-1)
    return hard, soft, _added(gradient, tf.concat([indices, labels[:, None]], axis=-1), slopes)


def dense_slopes(logits, labels, weights, temperature, teacher):
    """Compute values and slopes of tokens whose teacher's logits are all there.

    Args:
        logits: Float tensor `[tokens, classes]`, the student's.
        labels: Integer tensor `[tokens]`, or `None` for no hard labels.
        weights: Two float tensors `[tokens]`, of the hard (`None` without labels) and of the soft values.
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
    return hard, soft, _added(gradient, labels[:, None], -hard_weight)


def _at_one(shares, logits, temperature):
    """Return the softmax at temperature 1, of which the one at T is no other where T is 1."""
    import tensorflow as tf

    return tf.cond(tf.equal(temperature, 1), lambda: shares, lambda: tf.nn.softmax(logits))


def _added(gradient, columns, slopes):
    """Add slopes `[tokens, k]` at some columns `[tokens, k]` of a gradient `[tokens, classes]`."""
    import tensorflow as tf

    return tf.tensor_scatter_nd_add(gradient, _places(columns), tf.cast(slopes, gradient.dtype))


def _places(columns):
    """Return the places `[tokens, k, 2]` of the columns `[tokens, k]` of each row."""
    import tensorflow as tf

    rows = tf.range(tf.shape(columns)[0])[:, None]
    return tf.stack([tf.broadcast_to(rows, tf.shape(columns)), columns], axis=-1)
