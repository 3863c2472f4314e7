"""What the losses of pairs of samples share: embeddings made comparable, and all their inner products."""

import keras
from keras import ops

from keras_distill.losses.divergences import wide_dtype, working_dtype

_EPSILON = {"float32": 2.0**-23, "float64": 2.0**-52}


def prepare_pair(teacher_embed, student_embed, mask=None):
    """Bring both to the precision that pairs are compared in, the teacher as a constant, masked rows as zeros.

    That is float64 wherever the backend has it: differences of inner products lose half of the digits, and the rows
    of one batch are few.

    Args:
        teacher_embed: Float array `[batch, teacher_width]`.
        student_embed: Float array `[batch, student_width]`.
        mask: Bool array `[batch]`, which samples count. Defaults to `None`, all.

    Returns:
        `(teacher, student, counted, dtype)`: the arrays, 1 for each sample that counts and 0 for the others
        `[batch]`, and the dtype that the loss is returned in.
    """
    teacher, student = ops.convert_to_tensor(teacher_embed), ops.convert_to_tensor(student_embed)
    dtype = working_dtype(teacher, student)
    wide = wide_dtype(dtype)
    teacher, student = ops.stop_gradient(ops.cast(teacher, wide)), ops.cast(student, wide)
    if mask is None:
        return teacher, student, ops.ones(ops.shape(student)[:1], dtype=wide), dtype
    mask = ops.cast(mask, "bool")
    # Chosen, not multiplied away: a masked row may hold anything, NaN included.
    teacher, student = (ops.where(mask[:, None], each, ops.zeros_like(each)) for each in (teacher, student))
    return teacher, student, ops.cast(mask, wide), dtype


def count(counted):
    """Return how many samples count, at least 1 so that it can be divided by."""
    return ops.maximum(ops.sum(counted), 1.0)


def centre(embed, counted):
    """Move the mean of the samples that count to the origin, and the other samples there too."""
    mean = ops.sum(embed, axis=0, keepdims=True) / count(counted)
    return (embed - mean) * counted[:, None]


def gram(embed):
    """Return the inner products `[batch, batch]` of all rows with all rows."""
    return ops.matmul(embed, ops.transpose(embed))


def squared_distances(products):
    """Return the squared distances that follow from inner products; what is but their rounding is 0.

    Args:
        products: Float array `[batch, batch]`, the inner products of the rows with each other.

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
