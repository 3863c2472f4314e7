"""Schedules that go one way: from a value to another, and stay there."""

import math

from keras_distill.schedules.checks import number, positive_steps


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
    value = number("value", value)
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
    start, end, steps = number("start", start), number("end", end), positive_steps(steps)
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
    start, end, steps = number("start", start), number("end", end), positive_steps(steps)
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
    start, end, steps = number("start", start, above=0.0), number("end", end, above=0.0), positive_steps(steps)
    return _way(start, end, steps, lambda fraction: start * (end / start) ** fraction)


def _way(start, end, steps, between):
    """Make a schedule of a function of the fraction of the way that is behind, exact at both of its ends."""

    def value_at(position):
        if position <= 0:
            return start
        return end if position >= steps else between(float(position) / steps)

    return value_at
