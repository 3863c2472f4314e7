"""Batch normalization as part of the weights before it, which is all that is left of it in a deployed file."""

from keras import ops


def folded(bias, normalization):
    """Fold a normalization by its moving statistics into the layer before it.

    Args:
        bias: The layer's bias `[channels]`, or `None`.
        normalization: Built `keras.layers.BatchNormalization` over the last axis.

    Returns:
        What to multiply the kernel's output channels with, and the bias: two tensors `[channels]`.

    Example:

    >>> import keras
    >>> import numpy as np
    >>> normalization = keras.layers.BatchNormalization(epsilon=0.0)
    >>> normalization.build((None, 1))
    >>> normalization.set_weights(np.array([[3.0], [1.0], [2.0], [4.0]]))  # gamma, beta, mean, variance
    >>> [each.numpy().tolist() for each in folded(None, normalization)]
    [[1.5], [-2.0]]
    """
    return _folded(bias, normalization, normalization.moving_mean, normalization.moving_variance)


def folded_for_batch(outputs, bias, normalization):
    """Fold a normalization by the statistics of a batch of training, and move the moving ones.

    The kernel is to be rounded as it will be deployed, scaled by the moving statistics; the outputs are then brought
    to the scale of the batch, so that training keeps the steadiness that the batch's statistics give.

    Args:
        outputs: What the layer computes with its float kernel, without bias, channels last.
        bias: The layer's bias `[channels]`, or `None`.
        normalization: Built `keras.layers.BatchNormalization` over the last axis.

    Returns:
        The scale of the kernel by the moving statistics, what to multiply the outputs with then, and the bias by the
        batch's statistics: three tensors `[channels]`.

    Reference:
        Krishnamoorthi, "Quantizing deep convolutional networks for efficient inference: A whitepaper", 2018,
        arXiv:1806.08342.
    """
    mean, variance = ops.moments(outputs, axes=tuple(range(len(outputs.shape) - 1)))
    whole_mean = mean if bias is None else mean + bias
    keep = normalization.momentum
    for moving, batch in ((normalization.moving_mean, whole_mean), (normalization.moving_variance, variance)):
        moving.assign(keep * moving + (1.0 - keep) * ops.stop_gradient(batch))
    by_moving, _ = folded(bias, normalization)
    _, bias = _folded(bias, normalization, whole_mean, variance)
    # Not of the two scales: gamma may be zero.
    ratio = ops.sqrt((normalization.moving_variance + normalization.epsilon) / (variance + normalization.epsilon))
    return by_moving, ratio, bias


def _folded(bias, normalization, mean, variance):
    scale = ops.rsqrt(variance + normalization.epsilon)
    scale = scale * normalization.gamma if normalization.scale else scale
    shift = -mean if bias is None else bias - mean
    return scale, shift * scale + normalization.beta if normalization.center else shift * scale
