"""Checks of the numbers that schedules are made of."""

import math

from keras_distill._core.messages import expected


def number(name, value, above=-math.inf):
    """Return a finite float above a bound; raise a `ValueError` otherwise."""
    try:
        given = math.nan if isinstance(value, (bool, str)) else float(value)
    except (TypeError, OverflowError):
        given = math.nan
    if not above < given < math.inf:
        bound = "" if above == -math.inf else f" above {above:g}"
        raise ValueError(expected(f"`{name}` to be a finite number{bound}", f"{name}={value!r}"))
    return given


def positive_steps(steps):
    """Return a positive number of positions; raise a `ValueError` otherwise."""
    return number("steps", steps, above=0.0)
