"""Schedules: functions of a position (an epoch or a training step, counted from 0) that return a value.

Any callable of one number is a schedule. These make the usual ones; each holds its last value after its last step.
"""

import math

from keras_distill._messages import expected


def constant(value):
    """Make a schedule that stays where it is.

    Args:
        value: The value.

    Returns:
        A function position -> value.

    Example:

    >>> constant(4.0)(100)
    4.0
    """
    value = _number("value", value)
    return lambda position: value


def linear(start, end, steps):
    """Make a schedule that goes from `start` at position 0 to `end` at position `steps` in a straight line.

    Args:
        start: First value.
        end: Last value.
        steps: Positive number of positions (epochs or training steps) the way takes.

    Returns:
        A function position -> value.

    Raises:
        ValueError: If an argument is not finite, or `steps` is not positive.

    Example:

    >>> [linear(8.0, 2.0, steps=3)(epoch) for epoch in range(5)]
    [8.0, 6.0, 4.0, 2.0, 2.0]
    """
    start, end, steps = _number("start", start), _number("end", end), _steps(steps)
    return _way(start, end, steps, lambda fraction: start + (end - start) * fraction)


def cosine(start, end, steps):
    """Make a schedule that goes from `start` to `end` along half a cosine: slow, fast, slow.

    Args:
        start: First value.
        end: Last value.
        steps: Positive number of positions (epochs or training steps) the way takes.

    Returns:
        A function position -> value.

    Raises:
        ValueError: If an argument is not finite, or `steps` is not positive.

    Example:

    >>> [round(cosine(8.0, 1.0, steps=4)(epoch), 2) for epoch in range(5)]
    [8.0, 6.97, 4.5, 2.03, 1.0]

    Reference:
        Loshchilov, Hutter, "SGDR: Stochastic Gradient Descent with Warm Restarts", 2016, arXiv:1608.03983.
    """
    start, end, steps = _number("start", start), _number("end", end), _steps(steps)
    return _way(start, end, steps, lambda fraction: end + (start - end) * (1.0 + math.cos(math.pi * fraction)) / 2.0)


def exponential(start, end, steps):
    """Make a schedule that goes from `start` to `end` by an equal factor at every position.

    Args:
        start: First value, above 0.
        end: Last value, above 0.
        steps: Positive number of positions (epochs or training steps) the way takes.

    Returns:
        A function position -> value.

    Raises:
        ValueError: If `start` or `end` is not finite and above 0, or `steps` is not positive.

    Example:

    >>> [exponential(8.0, 1.0, steps=3)(epoch) for epoch in range(4)]
    [8.0, 4.0, 2.0, 1.0]
    """
    start, end, steps = _number("start", start, above=0.0), _number("end", end, above=0.0), _steps(steps)
    return _way(start, end, steps, lambda fraction: start * (end / start) ** fraction)


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
    pieces = [value if callable(value) else constant(value) for value in values]
    for boundary in boundaries:
        _number("boundary", boundary)
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

    >>> schedule = warmup(exponential(8.0, 1.0, steps=3), start=2.0, steps=2)
    >>> [schedule(epoch) for epoch in range(6)]
    [2.0, 5.0, 8.0, 4.0, 2.0, 1.0]
    """
    schedule = schedule if callable(schedule) else constant(schedule)
    return piecewise([_steps(steps)], [linear(start, schedule(0), steps), schedule])


def _way(start, end, steps, between):
    """Make a schedule of a function of the fraction of the way that is behind, exact at both of its ends."""

    def value_at(position):
        if position <= 0:
            return start
        return end if position >= steps else between(float(position) / steps)

    return value_at


def _number(name, value, above=-math.inf):
    try:
        number = math.nan if isinstance(value, (bool, str)) else float(value)
    except (TypeError, OverflowError):
        number = math.nan
    if not above < number < math.inf:
        bound = "" if above == -math.inf else f" above {above:g}"
        raise ValueError(expected(f"`{name}` to be a finite number{bound}", f"{name}={value!r}"))
    return number


def _steps(steps):
    return _number("steps", steps, above=0.0)
