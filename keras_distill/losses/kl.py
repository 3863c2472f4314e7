"""The Kullback-Leibler divergence of rows of logits and its slopes, computed together: exact, and in few passes."""

from collections.abc import Callable
from typing import Any

import keras
from keras import ops
from keras.backend import standardize_dtype

from keras_distill._core.backend import has_accelerator
from keras_distill.answers.answer import Tensor

LONG = 20_000
"""Number of classes from which a CPU is faster on one row at a time than on the batch; see `benchmarks/growth.py`."""

# Below this |log(q / p) / 2| the fraction in `_excess` is the more exact form; above it, the difference is.
_FRACTION_LIMIT = {"float32": 0.25, "float64": 0.01}
_FLOOR = -1e30


@ops.custom_gradient
def divergence(teacher: Tensor, student: Tensor, temperature: Tensor) -> Any:
    """Return `KL(p, q)` of rows of logits at temperatures `[..., 1]`. The teacher's logits are constants."""
    values, gap, slope_in_temperature = map_rows(divergence_and_slopes, teacher, student, temperature)

    def gradient(*arguments: Any, upstream: Any = None) -> Any:
        upstream = arguments[0] if upstream is None else upstream
        slope = ops.expand_dims(upstream, -1) / temperature
        return ops.zeros_like(teacher), slope * gap, slope / temperature * slope_in_temperature

    return values[..., 0], gradient


def divergence_and_slopes(teacher: Tensor, student: Tensor, temperature: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return `KL(p, q)` as `[..., 1]`, its slopes in the tempered student, and `T²` times its slope in `T`."""
    teacher, student = shift_to_largest(teacher), shift_to_largest(student)
    p, teacher_sum = _softmax(teacher / temperature)
    q, student_sum = _softmax(student / temperature)
    half = (student - teacher) * (0.5 / temperature) - 0.5 * ops.log(student_sum / teacher_sum)
    tanh = ops.tanh(half)
    both = p + q
    values = ops.sum(both * _excess(half, tanh), axis=-1, keepdims=True)
    gap = both * tanh
    # The exact sum is 0. Where one class has nearly all of the mass, this correction determines its slope.
    gap = gap - q * ops.sum(gap, axis=-1, keepdims=True)
    slope_in_temperature = ops.sum(p * (2.0 * half + values) * teacher - gap * student, axis=-1, keepdims=True)
    return values, gap, slope_in_temperature


def map_rows(function: Callable, *arrays: Tensor) -> Any:
    """Apply a function of rows to all rows at once or, for long rows on a CPU, to one row after another.

    Each arithmetic step on a batch of long rows waits for the memory; on one row, the result of the step before is
    still in the cache. Accelerators get all rows at once, and so does JAX, whose arrays may span several devices.

    Args:
        function: Function of arrays `[..., n]` to arrays `[..., m]`, or a tuple of them, that treats each row
            separately.
        *arrays: Arrays `[..., n]`, the one with the longest rows first.

    Returns:
        The results of the function for all rows.

    Example:

    >>> import numpy as np
    >>> total, = map_rows(lambda x: (ops.sum(x, axis=-1, keepdims=True),), np.ones((2, 3, 30_000), "float32"))
    >>> total[..., 0].numpy().tolist()
    [[30000.0, 30000.0, 30000.0], [30000.0, 30000.0, 30000.0]]
    """
    length = arrays[0].shape[-1]
    if length is None or length < LONG or keras.backend.backend() != "tensorflow" or has_accelerator():
        return function(*arrays)
    leading = ops.shape(arrays[0])[:-1]
    rows = tuple(ops.reshape(array, (-1, array.shape[-1])) for array in arrays)
    found = ops.map(lambda row: function(*row), rows)
    return keras.tree.map_structure(lambda array: ops.reshape(array, (*leading, array.shape[-1])), found)


def shift_to_largest(logits: Tensor) -> Tensor:
    """Subtract the largest logit of each row, which changes no softmax, and replace -inf by a finite floor.

    At the floor, a class has no probability either, and no NaN arises.
    """
    logits = logits - ops.stop_gradient(ops.max(logits, axis=-1, keepdims=True))
    return ops.maximum(logits, _FLOOR)


def _softmax(logits):
    """Return the softmax of rows of logits whose largest is 0, and the sums `[..., 1]` that it was divided by."""
    exponentials = ops.exp(logits)
    total = ops.sum(exponentials, axis=-1, keepdims=True)
    return exponentials / total, total


def _excess(half, tanh):
    """Return `p (exp(d) - 1 - d) / (p + q)` for `half = d / 2` and its hyperbolic tangent."""
    square = half * half
    small = square < _FRACTION_LIMIT[standardize_dtype(half.dtype)] ** 2
    # For small `half`, `half - tanh` cancels; it is `half³ / (3 + 6 half² / 5)` up to the seventh power.
    return ops.where(small, half * (tanh - square / (3.0 + 1.2 * square)), tanh - half * (1.0 - tanh))
