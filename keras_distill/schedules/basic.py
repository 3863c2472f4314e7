"""Schedules that move from one value to another and keep it."""

import math
from collections.abc import Callable
from typing import Any

from keras_distill._core.checks import check_number

Schedule = Callable[..., Any]
"""A function of a position that returns a number."""


def constant(value: float) -> Schedule:
    """Return a schedule that always has the same value.

    Args:
        value: The value.

    Returns:
        A function from a position to the value.

    Raises:
        ValueError: If the value is not finite.

    Example:

    >>> constant(4.0)(100)
    4.0
    """
    value = check_number("value", value, -math.inf, math.inf)
    return lambda position: value


def linear(start: float, end: float, steps: float) -> Schedule:
    """Return a schedule that moves in a straight line from `start` at position 0 to `end` at position `steps`.

    Args:
        start: First value.
        end: Last value.
        steps: Positive number of positions (epochs or training steps) between them.

    Returns:
        A function from a position to a value.

    Raises:
        ValueError: If an argument is not finite, or `steps` is not positive.

    Example:

    >>> [linear(8.0, 2.0, steps=3)(epoch) for epoch in range(5)]
    [8.0, 6.0, 4.0, 2.0, 2.0]
    """
    start, end = (check_number(name, value, -math.inf, math.inf) for name, value in (("start", start), ("end", end)))
    return _interpolate(start, end, steps, lambda fraction: start + (end - start) * fraction)


def cosine(start: float, end: float, steps: float) -> Schedule:
    """Return a schedule that follows half a cosine from `start` to `end`: slow, fast, slow.

    Args:
        start: First value.
        end: Last value.
        steps: Positive number of positions (epochs or training steps) between them.

    Returns:
        A function from a position to a value.

    Raises:
        ValueError: If an argument is not finite, or `steps` is not positive.

    Example:

    >>> [round(cosine(8.0, 1.0, steps=4)(epoch), 2) for epoch in range(5)]
    [8.0, 6.97, 4.5, 2.03, 1.0]

    Reference:
        Loshchilov, Hutter, "SGDR: Stochastic Gradient Descent with Warm Restarts", 2016, arXiv:1608.03983.
    """
    start, end = (check_number(name, value, -math.inf, math.inf) for name, value in (("start", start), ("end", end)))
    return _interpolate(
        start, end, steps, lambda fraction: end + (start - end) * (1.0 + math.cos(math.pi * fraction)) / 2.0
    )


def exponential(start: float, end: float, steps: float) -> Schedule:
    """Return a schedule that multiplies its value by the same factor at every position, from `start` to `end`.

    Args:
        start: First value, above 0.
        end: Last value, above 0.
        steps: Positive number of positions (epochs or training steps) between them.

    Returns:
        A function from a position to a value.

    Raises:
        ValueError: If `start` or `end` is not finite and above 0, or `steps` is not positive.

    Example:

    >>> [exponential(8.0, 1.0, steps=3)(epoch) for epoch in range(4)]
    [8.0, 4.0, 2.0, 1.0]
    """
    start = check_number("start", start, 0.0, math.inf, open_low=True)
    end = check_number("end", end, 0.0, math.inf, open_low=True)
    return _interpolate(start, end, steps, lambda fraction: start * (end / start) ** fraction)


def _interpolate(start: float, end: float, steps: float, between: Callable[[float], float]) -> Schedule:
    """Return a schedule that is exact at both ends and a function of the elapsed fraction between them."""
    steps = check_number("steps", steps, 0.0, math.inf, open_low=True)

    def value_at(position: Any) -> Any:
        if position <= 0:
            return start
        return end if position >= steps else between(float(position) / steps)

    return value_at
