"""Fake quantization: floats that take the values which integers of a few bits can stand for.

TensorFlow's own operations do it, since the TFLite converter reads the ranges off them. Both move a range so that zero
is one of its values, round to the nearest value, and clip.
"""

from keras import ops

# A channel of zeros would have a scale of zero, and one of next to none a bias beyond 32 bits: a share of the largest
# weight of all, and an absolute number.
_LEAST_SHARE, _LEAST_WEIGHT = 1e-4, 1e-6
# Rounding must not put the largest weight, by which the range is made, outside it: its gradient would be zero.
_ROUNDING = 1.0 + 1e-6


def fake_quantize(x, minimum, maximum, bits=8):
    """Round activations to the values of unsigned integers over a range.

    The range is split into `2 ** bits - 1` steps and moved by less than one step so that zero is a value. The gradient
    is straight-through: that of the output within the moved range, zero outside it; `minimum` and `maximum` get the
    gradient of what was clipped to them.

    Args:
        x: Float32 tensor of any shape.
        minimum: Float scalar, at most 0.
        maximum: Float scalar, at least 0, above `minimum`.
        bits: Bits of the integers, from 2 to 16. Defaults to 8.

    Returns:
        Float32 tensor of the shape of `x`.

    Example:

    >>> fake_quantize([-1.0, 0.4, 0.6, 9.0], 0.0, 3.0, bits=2).numpy().tolist()
    [0.0, 0.0, 1.0, 3.0]

    Reference:
        Jacob, Kligys, Chen, Zhu, Tang, Howard, Adam, Kalenichenko, "Quantization and Training of Neural Networks for
        Efficient Integer-Arithmetic-Only Inference", 2018, arXiv:1712.05877.
    """
    import tensorflow as tf

    return tf.quantization.fake_quant_with_min_max_vars(x, minimum, maximum, num_bits=bits)


def fake_quantize_kernel(kernel, bits=8, per_channel=True):
    """Round weights to the values of signed integers, as many below zero as above.

    The range is that of the largest absolute weight, of each output channel or of all; no weight is clipped, so the
    gradient of every one is that of its rounded value.

    Args:
        kernel: Float32 tensor, output channels last.
        bits: Bits of the integers, from 2 to 8. Defaults to 8.
        per_channel: Whether each output channel has a range of its own. Defaults to `True`.

    Returns:
        Float32 tensor of the shape of `kernel`.

    Example:

    >>> fake_quantize_kernel([[7.0, 3.5], [-1.4, 0.3]], bits=4).numpy().round(2).tolist()
    [[7.0, 3.5], [-1.0, 0.5]]

    Reference:
        Krishnamoorthi, "Quantizing deep convolutional networks for efficient inference: A whitepaper", 2018,
        arXiv:1806.08342.
    """
    import tensorflow as tf

    sizes = ops.abs(ops.stop_gradient(ops.convert_to_tensor(kernel)))
    largest = ops.max(sizes)
    if per_channel:
        channels = ops.max(sizes, axis=tuple(range(len(sizes.shape) - 1)))
        largest = ops.maximum(channels, largest * _LEAST_SHARE)
    largest = ops.maximum(largest, _LEAST_WEIGHT) * _ROUNDING
    quantize = tf.quantization.fake_quant_with_min_max_vars
    if per_channel:
        quantize = tf.quantization.fake_quant_with_min_max_vars_per_channel
    return quantize(kernel, -largest, largest, num_bits=bits, narrow_range=True)
