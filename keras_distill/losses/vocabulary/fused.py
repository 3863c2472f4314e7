"""Hard labels and soft targets of a large vocabulary, computed with the last layer and without storing its logits."""

import math
from typing import Any, NamedTuple

from keras import ops

from keras_distill._core.backend import check_tensorflow
from keras_distill._core.checked import checked
from keras_distill._core.messages import expected
from keras_distill._core.tensors import expand_like
from keras_distill.answers.answer import Tensor
from keras_distill.losses import divergences
from keras_distill.losses.vocabulary.chunks import map_chunks
from keras_distill.losses.vocabulary.soft_targets import prepare_targets
from keras_distill.losses.weights import combine_masks, weighted_mean

CHUNK_BYTES = 2**24
"""Default size of the logits of a chunk: small enough for the cache, and large enough to be efficient."""


class FusedLoss(NamedTuple):
    """The loss, a scalar with gradients; its hard and soft terms for each token; and their weights in the means."""

    loss: Tensor
    hard: Tensor
    soft: Tensor
    hard_weight: Tensor
    soft_weight: Tensor


@checked(
    hidden="[..., width]",
    kernel="[width, classes]",
    bias="[classes] or None",
    labels="int [...] or None",
    mask="[*...]",
    sample_weight="[*...]",
    student_loss_weight=(0.0, 1.0),
    chunk=(1, math.inf),
)
def fused_distillation(
    hidden: Tensor,
    kernel: Tensor,
    bias: Tensor,
    labels: Tensor,
    targets: Tensor,
    temperature: Tensor = 1.0,
    student_loss_weight: Any = 0.5,
    chunk: int | None = None,
    mask: Tensor = None,
    sample_weight: Any = None,
    gradients: bool = True,
) -> FusedLoss:
    """Compute the hard and the soft loss of a language model without storing its logits.

    The logits `hidden @ kernel + bias` are computed for one chunk of tokens at a time, together with their share of the
    gradients of `hidden`, `kernel` and `bias`. Each logit is computed once, and the memory does not grow with the
    number of tokens. With w for `student_loss_weight`, the loss is `w mean(hard) + (1 - w) mean(soft)`. The hard term
    is the cross-entropy of the labels, and the soft term is `T² KL(p, q)` of teacher and student at the temperature T.
    The means are Keras's, over the tokens that the mask keeps and, for the hard term, that have a label.

    Args:
        hidden: Float tensor `[..., width]`, the input of the student's last layer.
        kernel: Float tensor `[width, classes]`.
        bias: Float tensor `[classes]`, or `None`.
        labels: Integer tensor `[...]`, class indices, negative for tokens without a label; or `None` for soft targets
            only.
        targets: The teacher's answer: a `keras_distill.targets.TopK`; a tuple `(hidden, kernel, bias)` of the teacher's
            last layer, which is then applied in chunks too; or logits `[..., classes]`.
        temperature: Positive number or scalar tensor T. Constant. Defaults to 1.0.
        student_loss_weight: Number or scalar tensor w from 0.0 to 1.0; 0 without labels. Constant. Defaults to 0.5.
        chunk: Largest number of tokens whose logits are stored at a time. Defaults to `None`, as many as fit into
            16 MiB.
        mask: Bool tensor `[...]`: which tokens count. The others have no effect, whatever they contain. Defaults to
            `None`, all.
        sample_weight: Float tensor that broadcasts to `[...]` from the left. Defaults to `None`.
        gradients: Whether gradients are needed. An evaluation without them is cheaper. Defaults to `True`.

    Returns:
        `FusedLoss(loss, hard, soft, hard_weight, soft_weight)`: a scalar, and tensors `[...]` with the losses of each
        token in nats (0 for tokens that are masked or have no label) and with their weights in the means. All are
        float32, or float64 if the hidden states are. Only the scalar has gradients, since one pass can form the
        gradient of a single sum.

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
    rows, slopes = prepare_targets(targets, temperature, (*hidden.shape[:-1], classes))
    rows["hidden"] = ops.stop_gradient(hidden)
    hard_weight, soft_weight = None, _weights(hidden, dtype, mask, sample_weight)
    if labels is None:
        share = ops.zeros_like(share)
        hard_weight = ops.zeros_like(soft_weight)
    else:
        rows["labels"] = _check_labels(labels, hidden)
        hard_weight = _weights(hidden, dtype, combine_masks(mask, rows["labels"] >= 0), sample_weight)
        rows["hard_weight"] = share * hard_weight
    rows["soft_weight"] = (1.0 - share) * soft_weight
    rows = {name: _flatten_tokens(each, hidden, mask) for name, each in rows.items()}
    size = chunk or max(CHUNK_BYTES // (classes * (8 if dtype == "float64" else 4)), 1)
    loss, hard, soft = _differentiable([hidden, kernel, bias], rows, slopes, size, dtype, gradients)
    hard, soft = (
        ops.where(weight == 0.0, 0.0, ops.reshape(each, ops.shape(weight)))
        for each, weight in ((hard, hard_weight), (soft, soft_weight))
    )
    return FusedLoss(loss, hard, soft, hard_weight, soft_weight)


def _differentiable(inputs, rows, slopes, size, dtype, gradients):
    """Return the loss, whose gradients are computed with it, and the hard and soft losses of each token."""
    import tensorflow as tf

    inputs = [tf.convert_to_tensor(each) for each in inputs if each is not None]

    @tf.custom_gradient
    def compute(hidden: Any, *weights: Any) -> Any:
        head = [tf.cast(each, dtype) for each in weights]
        (hard, soft, *hidden_slopes), head_slopes = _run(head, rows, slopes, size, gradients)
        loss = tf.reduce_sum(rows["soft_weight"] * soft)
        if "labels" in rows:
            loss += tf.reduce_sum(rows["hard_weight"] * hard)

        def gradient(upstream: Any, *_: Any) -> Any:
            if not gradients:
                raise ValueError(expected("gradients=True to compute gradients", "gradients=False"))
            slopes = [tf.reshape(hidden_slopes[0], tf.shape(hidden)), *head_slopes]
            return [tf.cast(upstream * each, to.dtype) for each, to in zip(slopes, inputs, strict=True)]

        return (loss, hard, soft), gradient

    loss, *values = compute(*inputs)
    return loss, *map(tf.stop_gradient, values)


def _run(head, rows, slopes, size, gradients):
    """Return the losses and slopes of each token, and the slopes of the last layer."""
    import tensorflow as tf

    dtype, width = head[0].dtype, rows["hidden"].shape[-1]

    def step(rows: Any) -> Any:
        hidden = tf.cast(rows["hidden"], dtype)
        logits = tf.matmul(hidden, head[0])
        logits = tf.nn.bias_add(logits, head[1]) if len(head) > 1 else logits
        labels = tf.maximum(rows["labels"], 0) if "labels" in rows else None
        hard, soft, slope = slopes(logits, labels, (rows.get("hard_weight"), rows["soft_weight"]), rows)
        values = [tf.cast(each, dtype) for each in (tf.zeros_like(soft) if hard is None else hard, soft)]
        if not gradients:
            return values, []
        head_slopes = [tf.matmul(hidden, slope, transpose_a=True), tf.reduce_sum(slope, axis=0)]
        return [*values, tf.matmul(slope, head[0], transpose_b=True)], head_slopes[: len(head)]

    values = [tf.TensorSpec((), dtype), tf.TensorSpec((), dtype), tf.TensorSpec((width,), dtype)]
    sums = [tf.zeros_like(each) for each in head]
    return map_chunks(step, rows, size, values if gradients else values[:2], sums if gradients else [])


def _weights(hidden, dtype, mask, sample_weight):
    """Return the weight `[...]` of each token's loss in Keras's mean, which is linear in the losses."""
    import tensorflow as tf

    values = tf.zeros(tf.shape(hidden)[:-1], dtype)
    with tf.GradientTape() as tape:
        tape.watch(values)
        mean = weighted_mean(values, sample_weight, mask)
    return tape.gradient(mean, values)


def _check_labels(labels, hidden):
    """Return labels as integers `[...]`, one for each of the hidden states `[..., width]`."""
    labels = ops.cast(labels, "int32")
    if len(labels.shape) == len(hidden.shape) and labels.shape[-1] == 1:
        labels = ops.squeeze(labels, -1)
    if len(labels.shape) != len(hidden.shape) - 1:
        received = f"labels of shape {tuple(labels.shape)} for hidden states of shape {tuple(hidden.shape)}"
        raise ValueError(expected("one class index for each token", received))
    return labels


def _flatten_tokens(values, hidden, mask):
    """Reshape values `[..., any]` to `[tokens, any]`, with zeros where the mask leaves a token out."""
    positions = len(hidden.shape) - 1
    if mask is not None:
        # Replaced, since a padded token may hold anything, NaN included.
        values = ops.where(ops.cast(expand_like(mask, values), "bool"), values, ops.zeros_like(values))
    return ops.reshape(values, (-1, *values.shape[positions:]))
