"""Checks of the hyper-parameters of losses, at construction."""

import math

from keras_distill._messages import expected


def check_number(name, value, low, high, open_low=False):
    """Return a float from `low` to `high` (below, where `high` is infinite); raise a `ValueError` otherwise.

    Args:
        name: Name of the argument, for the message.
        value: What was given.
        low: Smallest number allowed.
        high: Largest number allowed, or `math.inf`.
        open_low: Whether `low` itself is not allowed. Defaults to `False`.
    """
    is_number = not isinstance(value, (bool, str)) and hasattr(value, "__float__")
    number = float(value) if is_number else math.nan
    if not low <= number <= high or math.isinf(number) or (open_low and number == low):
        sign = ">" if open_low else ">="
        bounds = f"a finite number {sign} {low:g}" if math.isinf(high) else f"a number from {low:g} to {high:g}"
        raise ValueError(expected(f"{name} to be {bounds}", f"{name}={value!r}"))
    return number
