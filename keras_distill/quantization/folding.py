"""Folding batch normalization into the weights of the layer before it, as in the deployed file."""

from typing import Any

import keras

ops: Any = keras.ops  # Keras infers `None` among the types of its operations.


def fold(bias: Any, normalization: Any) -> tuple[Any, Any]:
    """Fold a normalization by its moving statistics into the layer before it.

    Args:
        bias: The layer's bias `[channels]`, or `None`.
        normalization: Built `keras.layers.BatchNormalization` over the last axis.

    Returns:
        Factor of the kernel's output channels, and the bias: two tensors `[channels]`.

    Example:

    >>> import keras
    >>> import numpy as np
    >>> normalization = keras.layers.BatchNormalization(epsilon=0.0)
    >>> normalization.build((None, 1))
    >>> normalization.set_weights(np.array([[3.0], [1.0], [2.0], [4.0]]))  # gamma, beta, mean, variance
    >>> [each.numpy().tolist() for each in fold(None, normalization)]
    [[1.5], [-2.0]]
    """
    return _fold(bias, normalization, normalization.moving_mean, normalization.moving_variance)


def fold_by_batch(outputs: Any, bias: Any, normalization: Any) -> tuple[Any, Any, Any]:
    """Fold a normalization by the statistics of a training batch, and update the moving statistics.

    The kernel is rounded as in the deployed file, scaled by the moving statistics. The outputs are then rescaled to the
    statistics of the batch, which keeps training stable.

    Args:
        outputs: Outputs of the layer with its float kernel and without bias, channels last.
        bias: The layer's bias `[channels]`, or `None`.
        normalization: Built `keras.layers.BatchNormalization` over the last axis.

    Returns:
        Factor of the kernel by the moving statistics, factor of the outputs, and bias by the batch's statistics: three
        tensors `[channels]`.

    Reference:
        Krishnamoorthi, "Quantizing deep convolutional networks for efficient inference: A whitepaper", 2018,
        arXiv:1806.08342.
    """
    mean, variance = ops.moments(outputs, axes=tuple(range(len(outputs.shape) - 1)))
    batch_mean = mean if bias is None else mean + bias
    keep = normalization.momentum
    for moving, batch in ((normalization.moving_mean, batch_mean), (normalization.moving_variance, variance)):
        moving.assign(keep * moving + (1.0 - keep) * ops.stop_gradient(batch))
    scale, _ = fold(bias, normalization)
    _, bias = _fold(bias, normalization, batch_mean, variance)
    # Not the ratio of the two scales, since gamma may be zero.
    ratio = ops.sqrt((normalization.moving_variance + normalization.epsilon) / (variance + normalization.epsilon))
    return scale, ratio, bias


def _fold(bias: Any, normalization: Any, mean: Any, variance: Any) -> tuple[Any, Any]:
    scale = ops.rsqrt(variance + normalization.epsilon)
    scale = scale * normalization.gamma if normalization.scale else scale
    shift = -mean if bias is None else bias - mean
    return scale, shift * scale + normalization.beta if normalization.center else shift * scale
