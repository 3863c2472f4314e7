"""Schedules made of others: one after another, again and again, added and multiplied."""

import math

from keras_distill._core.messages import expected
from keras_distill.schedules.checks import number, positive_steps
from keras_distill.schedules.driven import takes_logs
from keras_distill.schedules.ways import constant, linear


def piecewise(boundaries, values):
    """Make a schedule out of pieces, each a value or a schedule that counts from the start of its piece.

    Args:
        boundaries: Increasing positions at which the next piece begins.
        values: One number or schedule more than there are boundaries.

    Returns:
        A function position -> value.

    Raises:
        ValueError: If the boundaries do not increase, or their number does not fit.

    Example:

    >>> schedule = piecewise([2], [8.0, linear(4.0, 1.0, steps=3)])
    >>> [schedule(epoch) for epoch in range(6)]
    [8.0, 8.0, 4.0, 3.0, 2.0, 1.0]
    """
    boundaries = list(boundaries)
    pieces = [_schedule(value) for value in values]
    for boundary in boundaries:
        number("boundary", boundary)
    if boundaries != sorted(set(boundaries)) or len(pieces) != len(boundaries) + 1:
        received = f"{boundaries} and {len(pieces)} values"
        raise ValueError(expected("increasing boundaries and one value more than boundaries", received))

    def value_at(position):
        index = sum(position >= boundary for boundary in boundaries)
        return pieces[index](position - boundaries[index - 1] if index else position)

    return value_at


def warmup(schedule, start, steps):
    """Put a straight way from `start` to the first value of a schedule before that schedule.

    Args:
        schedule: The schedule (or the value) to reach; it counts from the end of the warm-up.
        start: First value.
        steps: Positive number of positions (epochs or training steps) the warm-up takes.

    Returns:
        A function position -> value.

    Raises:
        ValueError: If `start` is not finite, or `steps` is not positive.

    Example:

    >>> from keras_distill.schedules import exponential
    >>> schedule = warmup(exponential(8.0, 1.0, steps=3), start=2.0, steps=2)
    >>> [schedule(epoch) for epoch in range(6)]
    [2.0, 5.0, 8.0, 4.0, 2.0, 1.0]
    """
    schedule = _schedule(schedule)
    return piecewise([positive_steps(steps)], [linear(start, schedule(0), steps), schedule])


def restarts(schedule, period, factor=1.0):
    """Start a schedule again and again.

    Args:
        schedule: The schedule, made for the first period.
        period: Positive number of positions (epochs or training steps) of the first period.
        factor: How many times longer each period is than the one before it, 1.0 or more; the schedule is stretched
            with it. Defaults to 1.0.

    Returns:
        A function position -> value.

    Raises:
        ValueError: If `period` is not positive, or `factor` is below 1.

    Example:

    >>> schedule = restarts(linear(8.0, 4.0, steps=2), period=2, factor=2.0)
    >>> [schedule(epoch) for epoch in range(8)]
    [8.0, 6.0, 8.0, 7.0, 6.0, 5.0, 8.0, 7.5]

    Reference:
        Loshchilov, Hutter, "SGDR: Stochastic Gradient Descent with Warm Restarts", 2016, arXiv:1608.03983.
    """
    schedule, period, factor = _schedule(schedule), number("period", period, above=0.0), number("factor", factor)
    if factor < 1.0:
        raise ValueError(expected("`factor` to be 1 or more", f"factor={factor!r}"))

    def value_at(position):
        if factor == 1.0:
            return schedule(position % period if position > 0 else position)
        length, stretch = period, 1.0
        while position >= length:
            position, length, stretch = position - length, length * factor, stretch * factor
        return schedule(position / stretch)

    return value_at


def add(*schedules):
    """Make the sum of schedules.

    Args:
        *schedules: Schedules or numbers.

    Returns:
        A function position -> value.

    Example:

    >>> [add(linear(0.0, 2.0, steps=2), 1.0)(epoch) for epoch in range(3)]
    [1.0, 2.0, 3.0]
    """
    schedules = [_schedule(each) for each in schedules]
    return lambda position: math.fsum(float(each(position)) for each in schedules)


def multiply(*schedules):
    """Make the product of schedules: one that decays while it restarts, say.

    Args:
        *schedules: Schedules or numbers.

    Returns:
        A function position -> value.

    Example:

    >>> from keras_distill.schedules import exponential
    >>> schedule = multiply(restarts(linear(8.0, 4.0, steps=2), period=2), exponential(1.0, 0.25, steps=4))
    >>> [round(schedule(epoch), 2) for epoch in range(4)]
    [8.0, 4.24, 4.0, 2.12]
    """
    schedules = [_schedule(each) for each in schedules]
    return lambda position: math.prod(float(each(position)) for each in schedules)


def _schedule(value):
    """Return a schedule of the position alone, of itself or of a number."""
    if not callable(value):
        return constant(value)
    if takes_logs(value):
        fix = "Write a function of position and logs that combines them."
        raise ValueError(expected("schedules of the position alone to make one of", "one that takes logs", fix))
    return value
