"""Operations on feature maps: resizing to a common size, scaling to unit length, and flattening to matrices."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from keras import ops

from keras_distill._core.messages import expected
from keras_distill.answers.answer import Tensor


def norm(x: Tensor, axis: Any, keepdims: bool = False) -> Tensor:
    """Compute the Euclidean norm along some axes. Its gradient at zero is zero.

    Args:
        x: Float array, finite.
        axis: Axis or tuple of axes.
        keepdims: Whether to keep these axes, with length one. Defaults to `False`.

    Returns:
        Float array.

    Example:

    >>> import numpy as np
    >>> float(norm(np.array([3e-30, 4e-30], "float32"), axis=-1)) * 1e30
    5.0...
    """
    # Measured in units of the largest number, so that no square overflows or underflows.
    largest = ops.stop_gradient(ops.max(ops.abs(x), axis=axis, keepdims=True))
    nonzero = ops.not_equal(largest, 0)
    scale = ops.where(nonzero, largest, ops.ones_like(largest))
    squares = ops.sum(ops.square(x / scale), axis=axis, keepdims=True)
    length = scale * ops.sqrt(ops.where(nonzero, squares, ops.ones_like(squares)))
    length = ops.where(nonzero, length, ops.zeros_like(length))
    return length if keepdims else ops.squeeze(length, axis=axis)


def unit(x: Tensor, axis: Any, epsilon: float = 1e-12) -> Tensor:
    """Scale to unit Euclidean length: `x / max(||x||, epsilon)`. Zero stays zero and passes no gradient.

    Args:
        x: Float array, finite.
        axis: Axis or tuple of axes along which the length is computed.
        epsilon: Smallest length to divide by. Defaults to 1e-12.

    Returns:
        Float array of the shape of `x`.

    Example:

    >>> import numpy as np
    >>> unit(np.array([[3.0, 4.0], [0.0, 0.0]], "float32"), axis=-1).numpy().round(3).tolist()
    [[0.6..., 0.8...], [0.0, 0.0]]
    """
    length = norm(x, axis, keepdims=True)
    # Otherwise the gradient at zero, which has no direction, would be 1 / epsilon times the upstream gradient.
    return ops.where(ops.not_equal(length, 0), x / ops.maximum(length, epsilon), ops.zeros_like(x))


def flatten_maps(x: Tensor) -> Tensor:
    """Reshape feature maps `[batch, height, width, channels]` to `[batch, height * width, channels]`."""
    batch, height, width, channels = ops.shape(x)
    return ops.reshape(x, (batch, height * width, channels))


def pool_to_match(teacher: Tensor, student: Tensor) -> tuple[Tensor, Tensor]:
    """Average-pool the larger of two feature maps to the size of the smaller one, along each axis.

    The pooling is adaptive: cell `i` of `h` covers the rows `floor(i H / h)` to `ceil((i + 1) H / h) - 1`.

    Args:
        teacher: Float array `[batch, height, width, channels]`.
        student: Float array `[batch, height, width, channels]` of any height, width and number of channels.

    Returns:
        `(teacher, student)` with the same height and width.

    Raises:
        ValueError: If a height or width is unknown.

    Example:

    >>> import numpy as np
    >>> ramp = np.arange(4.0).reshape(1, 4, 1, 1)
    >>> teacher, student = pool_to_match(ramp, np.zeros((1, 2, 1, 1)))
    >>> teacher.numpy().ravel().tolist()
    [0.5, 2.5]
    """
    size = smaller_size(teacher, student)
    return average_pool(teacher, size), average_pool(student, size)


def smaller_size(*maps: Tensor) -> tuple[int, int]:
    """Return the smallest height and the smallest width of feature maps; raise a `ValueError` if one is unknown."""
    sizes = [tuple(each.shape[1:3]) for each in maps]
    if None in sum(sizes, ()):
        received = " and ".join(str(tuple(each.shape)) for each in maps)
        raise ValueError(
            expected("feature maps of known height and width", received, "Give the model's `Input` a fixed size.")
        )
    return tuple(map(min, zip(*sizes, strict=True)))


def average_pool(x: Tensor, size: Sequence[int]) -> Tensor:
    """Average-pool feature maps adaptively to `size`, a height and a width."""
    for axis, (equation, small) in enumerate(zip(("hi,biwc->bhwc", "wi,bhic->bhwc"), size, strict=True), start=1):
        if x.shape[axis] != small:
            covered = np.array([np.isin(np.arange(x.shape[axis]), cell) for cell in _cells(x.shape[axis], small)])
            weights = covered / covered.sum(axis=1, keepdims=True)
            x = ops.einsum(equation, ops.cast(weights, x.dtype), x)
    return x


def max_pool(x: Tensor, size: Sequence[int]) -> Tensor:
    """Max-pool feature maps adaptively to `size`. Of equal maxima, the first one receives the gradient."""
    batch, channels = ops.shape(x)[0], x.shape[-1]
    if tuple(x.shape[1:3]) == tuple(size):
        return x
    rows, columns = (_pad_cells(_cells(large, small)) for large, small in zip(x.shape[1:3], size, strict=True))
    windows = ops.take(ops.take(x, rows, axis=1), columns, axis=3)  # [batch, h, rows, w, columns, channels]
    windows = ops.transpose(windows, (0, 1, 3, 5, 2, 4))
    windows = ops.reshape(windows, (batch, *size, channels, rows.shape[1] * columns.shape[1]))
    first = ops.argmax(windows, axis=-1, keepdims=True)
    return ops.squeeze(ops.take_along_axis(windows, first, axis=-1), axis=-1)


def _cells(large, small):
    """Return the indices of the `large` rows that each of the `small` cells covers."""
    return [np.arange(i * large // small, -(-(i + 1) * large // small)) for i in range(small)]


def _pad_cells(cells):
    """Pad shorter cells by repeating their last index, which changes no maximum."""
    longest = max(map(len, cells))
    return np.stack([np.pad(cell, (0, longest - len(cell)), mode="edge") for cell in cells])
