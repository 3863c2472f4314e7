"""Schedules composed of others: in sequence, repeated, added and multiplied."""

import math
from collections.abc import Iterable
from typing import Any

from keras_distill._core.checked import checked
from keras_distill._core.checks import check_items, check_number
from keras_distill._core.messages import expected
from keras_distill.schedules.basic import Schedule, constant, linear
from keras_distill.schedules.driven import takes_logs


@checked(boundaries=Any, values=Any)
def piecewise(boundaries: Iterable[float], values: Iterable[Schedule | float]) -> Schedule:
    """Return a schedule that consists of pieces: values, or schedules that count from the start of their piece.

    Args:
        boundaries: Increasing positions at which the next piece begins.
        values: Numbers or schedules, one more than there are boundaries.

    Returns:
        A function from a position to a value.

    Raises:
        ValueError: If the boundaries do not increase, or their number does not match that of the values.

    Example:

    >>> schedule = piecewise([2], [8.0, linear(4.0, 1.0, steps=3)])
    >>> [schedule(epoch) for epoch in range(6)]
    [8.0, 8.0, 4.0, 3.0, 2.0, 1.0]
    """
    boundaries = check_items("boundaries", boundaries, "a list of positions")
    pieces = [_as_schedule(value) for value in check_items("values", values, "a list of numbers or schedules")]
    for boundary in boundaries:
        check_number("boundary", boundary, -math.inf, math.inf)
    if boundaries != sorted(set(boundaries)) or len(pieces) != len(boundaries) + 1:
        received = f"{boundaries} and {len(pieces)} values"
        raise ValueError(expected("increasing boundaries and one value more than boundaries", received))

    def value_at(position: Any) -> Any:
        index = sum(position >= boundary for boundary in boundaries)
        return pieces[index](position - boundaries[index - 1] if index else position)

    return value_at


def warmup(schedule: Schedule | float, start: float, steps: float) -> Schedule:
    """Return a schedule that rises (or falls) in a straight line from `start` and then continues with another one.

    Args:
        schedule: The schedule or the value to reach. A schedule counts from the end of the warm-up.
        start: First value.
        steps: Positive number of positions (epochs or training steps) of the warm-up.

    Returns:
        A function from a position to a value.

    Raises:
        ValueError: If `start` is not finite, or `steps` is not positive.

    Example:

    >>> from keras_distill.schedules import exponential
    >>> schedule = warmup(exponential(8.0, 1.0, steps=3), start=2.0, steps=2)
    >>> [schedule(epoch) for epoch in range(6)]
    [2.0, 5.0, 8.0, 4.0, 2.0, 1.0]
    """
    schedule, steps = _as_schedule(schedule), check_number("steps", steps, 0.0, math.inf, open_low=True)
    return piecewise([steps], [linear(start, schedule(0), steps), schedule])


@checked(period=Any, factor=Any)
def restarts(schedule: Schedule | float, period: float, factor: float = 1.0) -> Schedule:
    """Return a schedule that restarts again and again.

    Args:
        schedule: The schedule of the first period.
        period: Positive number of positions (epochs or training steps) in the first period.
        factor: How many times longer each period is than the one before it, 1.0 or more. The schedule is stretched
            accordingly. Defaults to 1.0.

    Returns:
        A function from a position to a value.

    Raises:
        ValueError: If `period` is not positive, or `factor` is below 1.

    Example:

    >>> schedule = restarts(linear(8.0, 4.0, steps=2), period=2, factor=2.0)
    >>> [schedule(epoch) for epoch in range(8)]
    [8.0, 6.0, 8.0, 7.0, 6.0, 5.0, 8.0, 7.5]

    Reference:
        Loshchilov, Hutter, "SGDR: Stochastic Gradient Descent with Warm Restarts", 2016, arXiv:1608.03983.
    """
    schedule = _as_schedule(schedule)
    period = check_number("period", period, 0.0, math.inf, open_low=True)
    factor = check_number("factor", factor, 1.0, math.inf)

    def value_at(position: Any) -> Any:
        if factor == 1.0:
            return schedule(position % period if position > 0 else position)
        length, stretch = period, 1.0
        while position >= length:
            position, length, stretch = position - length, length * factor, stretch * factor
        return schedule(position / stretch)

    return value_at


def add(*schedules: Schedule | float) -> Schedule:
    """Return the sum of schedules.

    Args:
        *schedules: Schedules or numbers.

    Returns:
        A function from a position to a value.

    Example:

    >>> [add(linear(0.0, 2.0, steps=2), 1.0)(epoch) for epoch in range(3)]
    [1.0, 2.0, 3.0]
    """
    parts = [_as_schedule(each) for each in schedules]
    return lambda position: math.fsum(float(each(position)) for each in parts)


def multiply(*schedules: Schedule | float) -> Schedule:
    """Return the product of schedules, such as one that restarts and one that decays.

    Args:
        *schedules: Schedules or numbers.

    Returns:
        A function from a position to a value.

    Example:

    >>> from keras_distill.schedules import exponential
    >>> schedule = multiply(restarts(linear(8.0, 4.0, steps=2), period=2), exponential(1.0, 0.25, steps=4))
    >>> [round(schedule(epoch), 2) for epoch in range(4)]
    [8.0, 4.24, 4.0, 2.12]
    """
    parts = [_as_schedule(each) for each in schedules]
    return lambda position: math.prod(float(each(position)) for each in parts)


def _as_schedule(value: Schedule | float) -> Schedule:
    """Return a schedule as it is, and a number as a constant schedule."""
    if not callable(value):
        return constant(value)
    if takes_logs(value):
        fix = "Write a function of position and logs that combines them."
        raise ValueError(expected("schedules that depend on the position only", "a schedule that takes logs", fix))
    return value
