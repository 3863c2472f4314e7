"""Fake quantization: rounding floats to the values that integers of a few bits can represent.

TensorFlow's own operations do this, since the TFLite converter reads the ranges from them. Both functions move a range
so that zero is one of its values, round to the nearest value, and clip.
"""

from typing import Any

import keras

ops: Any = keras.ops  # Keras infers `None` among the types of its operations.

# Smallest weight that a range covers, as a share of the largest weight of all and as a number. A channel of zeros would
# have a scale of zero, and a channel of tiny weights a bias beyond 32 bits.
_LEAST_SHARE, _LEAST_WEIGHT = 1e-4, 1e-6
# Rounding must not move the largest weight out of the range that it defines, where its gradient would be zero.
_ROUNDING = 1.0 + 1e-6


def fake_quantize(x: Any, minimum: Any, maximum: Any, bits: int = 8) -> Any:
    """Round activations to the values of unsigned integers over a range.

    The range is split into `2 ** bits - 1` steps and moved by less than one step so that zero is one of its values. The
    gradient is straight-through: it passes within the moved range and is zero outside; `minimum` and `maximum` receive
    the gradient of the values clipped to them.

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


def fake_quantize_kernel(kernel: Any, bits: int = 8, per_channel: bool = True) -> Any:
    """Round weights to the values of signed integers, symmetric around zero.

    The largest absolute weight, of each output channel or of all, defines the range. No weight is clipped, so each
    weight receives the gradient of its rounded value.

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
