"""Checks of arguments: one for each kind of argument, so that the same mistake reads the same everywhere."""

import math
import operator
from collections.abc import Collection
from typing import Any

import keras

from keras_distill._core.messages import expected, unknown_name


def check_number(name: str, value: Any, low: float, high: float, open_low: bool = False) -> float:
    """Return a finite float from `low` to `high`; raise a `ValueError` otherwise.

    Args:
        name: Name of the argument, for the message.
        value: What was given.
        low: Smallest number allowed, or `-math.inf` (with `high` infinite, too).
        high: Largest number allowed, or `math.inf`.
        open_low: Whether `low` itself is not allowed. Defaults to `False`.

    Example:

    >>> check_number("steps", 0, 0.0, math.inf, open_low=True)
    Traceback (most recent call last):
    ValueError: Expected steps to be a finite number > 0. Received: steps=0.
    """
    number = _as_float(value)
    if not low <= number <= high or math.isinf(number) or (open_low and number == low):
        bounds = f"a number from {low:g} to {high:g}"
        if math.isinf(high):
            bounds = "a finite number" if math.isinf(low) else f"a finite number {'>' if open_low else '>='} {low:g}"
        raise ValueError(expected(f"{name} to be {bounds}", f"{name}={value!r}"))
    return number


def check_whole_number(name: str, value: Any, low: int = 1, high: int | None = None) -> int:
    """Return an int from `low` to `high`; raise a `ValueError` otherwise.

    Args:
        name: Name of the argument, for the message.
        value: What was given: an integer of Python or NumPy, no float and no bool.
        low: Smallest number allowed. Defaults to 1.
        high: Largest number allowed. Defaults to `None`, no limit.

    Example:

    >>> check_whole_number("steps", 0)
    Traceback (most recent call last):
    ValueError: Expected steps to be a whole number >= 1. Received: steps=0.
    """
    number = None if isinstance(value, bool) else _as_index(value)
    if number is None or number < low or (high is not None and number > high):
        bounds = f">= {low}" if high is None else f"from {low} to {high}"
        raise ValueError(expected(f"{name} to be a whole number {bounds}", f"{name}={value!r}"))
    return number


def check_choice(name: str, value: Any, choices: Collection[str]) -> str:
    """Return a value that is one of `choices`; raise a `ValueError` that names the nearest one otherwise."""
    if not isinstance(value, str) or value not in choices:
        raise ValueError(unknown_name(name, value, choices))
    return value


def check_model(name: str, model: Any, fix: str | None = None) -> keras.Model:
    """Return a Keras model; raise a `ValueError` for anything else, as Keras's own `Distiller` does.

    Args:
        name: What the model is for, such as `"student"`.
        model: What was given.
        fix: What to do instead, for the message. Defaults to `None`.
    """
    if not isinstance(model, keras.Model):
        received = f"{name}={model!r} of type {type(model).__name__}"
        raise ValueError(expected(f"{name} to be a keras.Model", received, fix))
    return model


def _as_float(value: Any) -> float:
    try:
        return math.nan if isinstance(value, (bool, str)) else float(value)
    except (TypeError, OverflowError):
        return math.nan


def _as_index(value: Any) -> int | None:
    try:
        return operator.index(value)
    except TypeError:
        return None
