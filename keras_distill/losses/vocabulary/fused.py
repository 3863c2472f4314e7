"""Hard labels and soft targets of a large vocabulary, with the student's last layer and without its logits."""

import collections

from keras import ops

from keras_distill._core.backend import check_tensorflow
from keras_distill._core.messages import expected
from keras_distill.losses import divergences
from keras_distill.losses.base import both, expand_like, weighted_mean
from keras_distill.losses.vocabulary.chunks import in_chunks
from keras_distill.losses.vocabulary.soft_targets import soft_targets_of

CHUNK_BYTES = 2**24
"""Size of the logits that are there at a time, by default: small enough to be at hand, large enough to be worth it."""

FusedLoss = collections.namedtuple("FusedLoss", ("loss", "hard", "soft", "hard_weight", "soft_weight"))
FusedLoss.__doc__ = """The loss, a scalar that has gradients; its hard and soft values token by token, constants; and
what each counts in the mean of its kind."""


def fused_distillation(
    hidden,
    kernel,
    bias,
    labels,
    targets,
    temperature=1.0,
    student_loss_weight=0.5,
    chunk=None,
    mask=None,
    sample_weight=None,
    gradients=True,
):
    """Compute the hard and the soft loss of a language model, without ever holding its logits.

    The logits `hidden @ kernel + bias` are made of a few tokens at a time, and what they give to the gradients of
    `hidden`, `kernel` and `bias` is formed while they are there: each is computed once, and the memory needed does not
    grow with the tokens. With w for `student_loss_weight` the loss is `w mean(hard) + (1 - w) mean(soft)`, the first
    the cross-entropy of the labels, the second `T² KL(p, q)` of teacher and student at the temperature T; means as
    Keras takes them, over the tokens that the mask leaves (the first over those of them that have a label).

    Args:
        hidden: Float tensor `[..., width]`, what the student's last layer is given.
        kernel: Float tensor `[width, classes]`.
        bias: Float tensor `[classes]`, or `None`.
        labels: Integer tensor `[...]`, class indices, below zero for none; or `None`, soft targets alone.
        targets: What the teacher says: a `keras_distill.targets.TopK`; a tuple `(hidden, kernel, bias)` of the
            teacher's own last layer, which is then applied in chunks as well; or logits `[..., classes]`.
        temperature: Positive number or scalar tensor T. Constant. Defaults to 1.0.
        student_loss_weight: Number or scalar tensor w from 0.0 to 1.0; without labels it is 0. Constant. Defaults to
            0.5.
        chunk: How many tokens' logits to hold at most. Defaults to `None`, as many as fit into 16 MiB.
        mask: Bool tensor `[...]`: which tokens count. The others change nothing, whatever they hold. Defaults to
            `None`, all.
        sample_weight: Float tensor that broadcasts to `[...]` from the left. Defaults to `None`.
        gradients: Whether gradients will be asked for; without them an evaluation is cheaper. Defaults to `True`.

    Returns:
        `FusedLoss(loss, hard, soft, hard_weight, soft_weight)`: a scalar, and tensors `[...]`: nats, 0 where the mask
        or a missing label says so, and what they count in their mean. In float32, in float64 where the hidden states
        are. The values token by token are constants: one pass can form the gradient of the one sum that it knows.

    Raises:
        ValueError: If the shapes do not fit together.

    Example:

    >>> import numpy as np
    >>> hidden, kernel, labels = np.ones((2, 3, 4), "float32"), np.zeros((4, 8), "float32"), np.zeros((2, 3), "int32")
    >>> result = fused_distillation(hidden, kernel, None, labels, np.zeros((2, 3, 8), "float32"))
    >>> result.hard.shape, round(float(result.loss), 4)  # log(8) / 2
    (TensorShape([2, 3]), 1.0397)

    Reference:
        Hinton, Vinyals, Dean, "Distilling the Knowledge in a Neural Network", 2015, arXiv:1503.02531. Hsu et al.,
        "Liger Kernel: Efficient Triton Kernels for LLM Training", 2024, arXiv:2410.10989.
    """
    check_tensorflow("fused_distillation")
    hidden, kernel = ops.convert_to_tensor(hidden), ops.convert_to_tensor(kernel)
    dtype, classes = divergences.working_dtype(hidden), kernel.shape[-1]
    temperature, share = (ops.stop_gradient(ops.cast(each, dtype)) for each in (temperature, student_loss_weight))
    rows, slopes = soft_targets_of(targets, temperature, (*hidden.shape[:-1], classes))
    rows["hidden"] = ops.stop_gradient(hidden)
    hard_weight, soft_weight = None, _weights(hidden, dtype, mask, sample_weight)
    if labels is None:
        share = ops.zeros_like(share)
        hard_weight = ops.zeros_like(soft_weight)
    else:
        rows["labels"] = _of_tokens(labels, hidden)
        hard_weight = _weights(hidden, dtype, both(mask, rows["labels"] >= 0), sample_weight)
        rows["hard_weight"] = share * hard_weight
    rows["soft_weight"] = (1.0 - share) * soft_weight
    rows = {name: _flat(each, hidden, mask) for name, each in rows.items()}
    size = chunk or max(CHUNK_BYTES // (classes * (8 if dtype == "float64" else 4)), 1)
    loss, *values = _differentiable([hidden, kernel, bias], rows, slopes, size, dtype, gradients)
    weights = hard_weight, soft_weight
    values = [
        ops.where(weight == 0.0, 0.0, ops.reshape(each, ops.shape(weight)))
        for each, weight in zip(values, weights, strict=True)
    ]
    return FusedLoss(loss, *values, *weights)


def _differentiable(inputs, rows, slopes, size, dtype, gradients):
    """Return the loss, whose gradients are formed with it, and hard and soft values token by token."""
    import tensorflow as tf

    inputs = [tf.convert_to_tensor(each) for each in inputs if each is not None]

    @tf.custom_gradient
    def compute(hidden, *head):
        head = [tf.cast(each, dtype) for each in head]
        (hard, soft, *of_hidden), of_head = _run(head, rows, slopes, size, gradients)
        loss = tf.reduce_sum(rows["soft_weight"] * soft)
        if "labels" in rows:
            loss += tf.reduce_sum(rows["hard_weight"] * hard)

        def gradient(of_loss, *_):
            if not gradients:
                raise ValueError(expected("gradients=True where gradients are asked for", "gradients=False"))
            of_inputs = [tf.reshape(of_hidden[0], tf.shape(hidden)), *of_head]
            return [tf.cast(of_loss * each, to.dtype) for each, to in zip(of_inputs, inputs, strict=True)]

        return (loss, hard, soft), gradient

    loss, *values = compute(*inputs)
    return loss, *map(tf.stop_gradient, values)


def _run(head, rows, slopes, size, gradients):
    """Return values and slopes token by token, and the slopes of the last layer."""
    import tensorflow as tf

    dtype, width = head[0].dtype, rows["hidden"].shape[-1]

    def step(rows):
        hidden = tf.cast(rows["hidden"], dtype)
        logits = tf.matmul(hidden, head[0])
        logits = tf.nn.bias_add(logits, head[1]) if len(head) > 1 else logits
        labels = tf.maximum(rows["labels"], 0) if "labels" in rows else None
        hard, soft, slope = slopes(logits, labels, (rows.get("hard_weight"), rows["soft_weight"]), rows)
        values = [tf.cast(each, dtype) for each in (tf.zeros_like(soft) if hard is None else hard, soft)]
        if not gradients:
            return values, []
        of_head = [tf.matmul(hidden, slope, transpose_a=True), tf.reduce_sum(slope, axis=0)]
        return [*values, tf.matmul(slope, head[0], transpose_b=True)], of_head[: len(head)]

    values = [tf.TensorSpec((), dtype), tf.TensorSpec((), dtype), tf.TensorSpec((width,), dtype)]
    sums = [tf.zeros_like(each) for each in head]
    return in_chunks(step, rows, size, values if gradients else values[:2], sums if gradients else [])


def _weights(hidden, dtype, mask, sample_weight):
    """Return what each token's value counts in Keras's mean of all, `[...]`: it is linear in them."""
    import tensorflow as tf

    values = tf.zeros(tf.shape(hidden)[:-1], dtype)
    with tf.GradientTape() as tape:
        tape.watch(values)
        mean = weighted_mean(values, sample_weight, mask)
    return tape.gradient(mean, values)


def _of_tokens(labels, hidden):
    """Return labels `[...]` of hidden states `[..., width]`, as integers."""
    labels = ops.cast(labels, "int32")
    if len(labels.shape) == len(hidden.shape) and labels.shape[-1] == 1:
        labels = ops.squeeze(labels, -1)
    if len(labels.shape) != len(hidden.shape) - 1:
        received = f"labels of shape {tuple(labels.shape)} for hidden states of shape {tuple(hidden.shape)}"
        raise ValueError(expected("one class index for each token", received))
    return labels


def _flat(values, hidden, mask):
    """Return values `[..., any]` as `[tokens, any]`, with zeros where the mask leaves a token out."""
    positions = len(hidden.shape) - 1
    if mask is not None:
        # Multiplied away would be NaN: a padded token may hold anything.
        values = ops.where(ops.cast(expand_like(mask, values), "bool"), values, ops.zeros_like(values))
    return ops.reshape(values, (-1, *values.shape[positions:]))
