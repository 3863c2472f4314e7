"""What the losses of pairs of samples share: preparing embeddings, and computing their inner products."""

import keras
from keras import ops

from keras_distill.answers.answer import Tensor
from keras_distill.losses.divergences import wide_dtype, working_dtype

_EPSILON = {"float32": 2.0**-23, "float64": 2.0**-52}


def prepare_pair(
    teacher_embed: Tensor, student_embed: Tensor, mask: Tensor = None
) -> tuple[Tensor, Tensor, Tensor, str]:
    """Cast teacher and student to the precision for comparing pairs, the teacher as a constant, masked rows as zeros.

    This is float64 if the backend has it: differences of inner products lose half of the digits, and a batch has few
    rows.

    Args:
        teacher_embed: Float array `[batch, teacher_width]`.
        student_embed: Float array `[batch, student_width]`.
        mask: Bool array `[batch]`: which samples count. Defaults to `None`, all.

    Returns:
        `(teacher, student, counted, dtype)`: both arrays, a float array `[batch]` with 1 for samples that count and 0
        for the others, and the dtype of the result.
    """
    teacher, student = ops.convert_to_tensor(teacher_embed), ops.convert_to_tensor(student_embed)
    dtype = working_dtype(teacher, student)
    wide = wide_dtype(dtype)
    teacher, student = ops.stop_gradient(ops.cast(teacher, wide)), ops.cast(student, wide)
    if mask is None:
        return teacher, student, ops.ones(ops.shape(student)[:1], dtype=wide), dtype
    mask = ops.cast(mask, "bool")
    # Replaced, since a masked row may hold anything, NaN included.
    teacher, student = (ops.where(mask[:, None], each, ops.zeros_like(each)) for each in (teacher, student))
    return teacher, student, ops.cast(mask, wide), dtype


def count_samples(counted: Tensor) -> Tensor:
    """Return the number of samples that count, at least 1 to divide by it."""
    return ops.maximum(ops.sum(counted), 1.0)


def center(embed: Tensor, counted: Tensor) -> Tensor:
    """Subtract the mean of the samples that count from these, and replace the other samples by zeros."""
    mean = ops.sum(embed, axis=0, keepdims=True) / count_samples(counted)
    return (embed - mean) * counted[:, None]


def gram(embed: Tensor) -> Tensor:
    """Return the inner products `[batch, batch]` of all pairs of rows."""
    return ops.matmul(embed, ops.transpose(embed))


def squared_distances(products: Tensor) -> Tensor:
    """Compute squared distances from inner products. Distances within their rounding error become 0.

    Args:
        products: Float array `[batch, batch]`, the inner products of all pairs of rows.

    Returns:
        Float array `[batch, batch]`, never negative, 0 on the diagonal and for equal rows.

    Example:

    >>> import numpy as np
    >>> rows = np.array([[0.0, 0.0], [3.0, 4.0], [3.0, 4.0]])
    >>> squared_distances(gram(rows)).numpy().tolist()
    [[0.0, 25.0, 25.0], [25.0, 0.0, 0.0], [25.0, 0.0, 0.0]]
    """
    lengths = ops.diagonal(products)
    lengths = lengths[:, None] + lengths[None, :]
    squares = lengths - 2.0 * products
    rounding = 16.0 * _EPSILON[keras.backend.standardize_dtype(products.dtype)]
    return ops.where(squares > rounding * lengths, squares, ops.zeros_like(squares))
