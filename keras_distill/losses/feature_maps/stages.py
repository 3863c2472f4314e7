"""What losses of several stages share: the weights of the stages, and checks of their sizes and shapes."""

import math
from typing import Any

from keras_distill._core.checks import check_items, check_number
from keras_distill._core.messages import expected
from keras_distill._core.tensors import same_shape
from keras_distill.answers.answer import Tensor
from keras_distill.losses.feature_maps.maps import pool_to_match


def check_stage_weights(weights: Any) -> list[float] | None:
    """Return the weights of the stages as floats, or `None`; raise a `ValueError` if one is negative."""
    if weights is None:
        return None
    weights = check_items("stage_weights", weights, "a list of numbers, one for each stage")
    return [check_number("stage_weights", weight, 0.0, math.inf) for weight in weights]


def weighted_stages(values: Tensor, weights: Any = None) -> Tensor:
    """Add the weighted values of the stages, from shallow to deep.

    Args:
        values: List of one float array `[batch]` for each stage.
        weights: One number for each stage. Defaults to `None`: the last stage has weight 1, and each other stage half
            the weight of the next.

    Returns:
        Float array `[batch]`.

    Raises:
        ValueError: If the numbers of weights and stages differ.

    Example:

    >>> import numpy as np
    >>> ones = np.ones(2)
    >>> weighted_stages([ones, ones, ones]).tolist()
    [1.75, 1.75]
    """
    count = len(values)
    weights = [2.0 ** (index - count + 1) for index in range(count)] if weights is None else weights
    if len(weights) != count:
        raise ValueError(expected(f"{count} stage_weights, one for each layer", f"stage_weights={weights}"))
    return sum(weight * value for weight, value in zip(weights, values, strict=True))


def pool_to_one_size(teacher: Tensor, student: Tensor) -> tuple[Tensor, Tensor]:
    """Average-pool the larger of two feature maps, unless they have the same size, which may then be unknown."""
    same = tuple(teacher.shape[1:3]) == tuple(student.shape[1:3])
    return (teacher, student) if same else pool_to_match(teacher, student)


def check_same_channels(teacher: Tensor, student: Tensor) -> None:
    """Raise a `ValueError` unless two feature maps have the same number of channels."""
    if teacher.shape[-1] != student.shape[-1]:
        received = f"teacher features of shape {tuple(teacher.shape)}, student features of {tuple(student.shape)}"
        fix = "Train in `keras_distill.Distiller`: it creates the adapter."
        raise ValueError(expected("as many channels of the student as of the teacher", received, fix))


def check_same_shape(teacher: Tensor, student: Tensor, fix: str | None = None) -> None:
    """Raise a `ValueError` unless two feature maps agree in every known length."""
    if not same_shape(teacher.shape, student.shape):
        received = f"teacher features {tuple(teacher.shape)}, student features {tuple(student.shape)}"
        raise ValueError(
            expected("features of the same shape", received, fix or "Pair layers of the same spatial size.")
        )
