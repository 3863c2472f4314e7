"""What losses of several stages share: the weight of each stage, and maps of one size or shape at each."""

import math

from keras_distill._core.checks import check_number
from keras_distill._core.messages import expected
from keras_distill._core.tensors import same_shape
from keras_distill.losses.feature_maps.maps import pool_to_match


def check_stage_weights(weights):
    """Return the weights of the stages as floats, or `None`; raise a `ValueError` unless each is >= 0."""
    if weights is None:
        return None
    weights = weights if isinstance(weights, (list, tuple)) else [weights]
    return [check_number("stage_weights", weight, 0.0, math.inf) for weight in weights]


def weighted_stages(values, weights=None):
    """Add up the values of the stages, shallow to deep.

    Args:
        values: List of one float array `[batch]` for each stage.
        weights: One number for each stage. Defaults to `None`: each stage counts twice as much as the one before it,
            the last one 1.

    Returns:
        Float array `[batch]`.

    Raises:
        ValueError: If there are not as many weights as stages.

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


def one_size(teacher, student):
    """Average-pool the larger of two feature maps, unless they are of one size, which may then be unknown."""
    same = tuple(teacher.shape[1:3]) == tuple(student.shape[1:3])
    return (teacher, student) if same else pool_to_match(teacher, student)


def check_one_shape(teacher, student, fix=None):
    """Raise a `ValueError` unless two feature maps agree in every length that is known."""
    if not same_shape(teacher.shape, student.shape):
        received = f"teacher features {tuple(teacher.shape)}, student features {tuple(student.shape)}"
        raise ValueError(expected("features of one shape", received, fix or "Pair layers of the same spatial size."))
