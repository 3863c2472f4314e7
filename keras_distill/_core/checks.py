"""Checks of arguments: one for each kind of argument, so that the same mistake reads the same everywhere."""

import math
import operator
import os
from collections.abc import Collection
from typing import Any

import keras

from keras_distill._core.messages import expected, unknown_name

_LARGEST = 3.4028234e38  # Of float32, in which numbers are computed.
_SMALLEST = 2.0**-126  # Logits divided by it, or by its inverse, are still numbers in float32.


def check_number(name: str, value: Any, low: float, high: float, open_low: bool = False) -> float:
    """Return a float from `low` to `high` that is finite in float32; raise a `ValueError` otherwise.

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
    if not low <= number <= high or abs(number) > _LARGEST or (open_low and number == low):
        bounds = f"a number from {low:g} to {high:g}"
        if math.isinf(high):
            bounds = "a finite number" if math.isinf(low) else f"a finite number {'>' if open_low else '>='} {low:g}"
        raise ValueError(expected(f"{name} to be {bounds}", f"{name}={value!r}"))
    return number


def check_temperature(temperature: Any, source: str = "") -> Any:
    """Return a temperature that is a finite number > 0, or a variable that holds one; raise a `ValueError` otherwise.

    Args:
        temperature: What was given.
        source: Words to add to the message. Defaults to `""`.
    """
    if not _SMALLEST <= _as_float(temperature) <= 1.0 / _SMALLEST:
        raise ValueError(expected(f"a finite temperature > 0{source}", f"temperature={temperature!r}"))
    return temperature


def check_temperatures(temperatures: Any) -> tuple[float, ...]:
    """Return a list of temperatures as a tuple of floats; raise a `ValueError` unless each is finite and positive."""
    items = check_items("temperatures", temperatures, "a list of temperatures")
    return tuple(float(check_temperature(each, " in temperatures")) for each in items)


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
    number = None if is_flag(value) else _as_index(value)
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


def check_flag(name: str, value: Any) -> bool:
    """Return a bool; raise a `ValueError` for anything else, since the truth of `"no"` surprises.

    Example:

    >>> check_flag("shuffle", "no")
    Traceback (most recent call last):
    ValueError: Expected shuffle to be True or False. Received: shuffle='no'.
    """
    if not is_flag(value):
        raise ValueError(expected(f"{name} to be True or False", f"{name}={value!r}"))
    return bool(value)


def check_text(name: str, value: Any) -> str:
    """Return a string that is not empty, such as a name; raise a `ValueError` otherwise."""
    if not is_text(value):
        raise ValueError(expected(f"{name} to be a string that is not empty", f"{name}={value!r}"))
    return value


def check_items(name: str, values: Any, what: str) -> list[Any]:
    """Return the items of an iterable that is no string; raise a `ValueError` otherwise.

    Args:
        name: Name of the argument, for the message.
        values: What was given.
        what: What the argument takes, such as `"a list of numbers"`.
    """
    try:
        if isinstance(values, (str, bytes)):
            raise TypeError
        return list(values)
    except TypeError:
        raise ValueError(expected(f"{name} to be {what}", f"{name}={values!r}")) from None


def is_flag(value: Any) -> bool:
    """Return whether a value is a bool of Python or NumPy."""
    return type(value).__name__ in ("bool", "bool_")


def is_text(value: Any) -> bool:
    """Return whether a value is a string that is not empty."""
    return isinstance(value, str) and bool(value)


def is_path(value: Any) -> bool:
    """Return whether a value is a string or `os.PathLike` that can name a file."""
    try:
        path = os.fspath(value)
    except TypeError:
        return False
    parts = path.split("/") if isinstance(path, str) else [""]
    return any(parts) and "\0" not in str(path) and all(len(os.fsencode(part)) < 256 for part in parts)


def is_number(value: Any) -> bool:
    """Return whether a value is a number, not NaN."""
    return not math.isnan(_as_float(value))


def is_whole_number(value: Any) -> bool:
    """Return whether a value is an integer of Python or NumPy, no bool."""
    return not is_flag(value) and _as_index(value) is not None


def _as_float(value: Any) -> float:
    try:
        if isinstance(value, (str, bytes)) or is_flag(value) or getattr(value, "shape", ()) != ():
            return math.nan
        return float(value)
    except (TypeError, ValueError, OverflowError):
        return math.nan


def _as_index(value: Any) -> int | None:
    try:
        return operator.index(value) if getattr(value, "shape", ()) == () else None
    except TypeError:
        return None
