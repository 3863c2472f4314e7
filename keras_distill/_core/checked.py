"""A decorator that checks the arguments of a public function: kinds by its annotations, arrays by their shapes."""

import collections.abc
import functools
import inspect
import math
import os
import types
import typing
from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeVar

import keras
import numpy as np

from keras_distill._core.arrays import Axes, check_axes
from keras_distill._core.checks import (
    check_choice,
    check_model,
    check_number,
    check_temperature,
    check_whole_number,
    is_flag,
    is_number,
    is_path,
    is_text,
    is_whole_number,
)
from keras_distill._core.messages import expected

Function = TypeVar("Function", bound=Callable[..., Any])
Kind = tuple[Callable[[Any], bool], str]
"""Whether a value is of the kind, and what the kind is called."""

POSITIVE = (2.0**-126, math.inf)
"""The range of a number that float32 tells from zero."""

SECONDS = (2.0**-126, 1e9)
"""The range of a time to wait for, which Python's timers take."""

_KINDS: dict[Any, Kind] = {
    bool: (is_flag, "True or False"),
    int: (lambda value: _is_tensor(value) or is_whole_number(value), "a whole number"),
    float: (lambda value: _is_tensor(value) or is_number(value), "a number"),
    str: (is_text, "a string that is not empty"),
    os.PathLike: (is_path, "the path of a file or folder"),
    collections.abc.Callable: (callable, "a function"),
    collections.abc.Mapping: (lambda value: isinstance(value, Mapping), "a dict"),
    dict: (lambda value: isinstance(value, dict), "a dict"),
    tuple: (lambda value: isinstance(value, (tuple, list)), "a tuple"),
    keras.Model: (lambda value: isinstance(value, keras.Model), "a keras.Model"),
}
_ITERABLES = (collections.abc.Sequence, collections.abc.Iterable, list, tuple)


def checked(**rules: Any) -> Callable[[Function], Function]:
    """Check the arguments of each call before it runs; a `ValueError` names the argument.

    An annotation such as `bool`, `int | None`, `str | os.PathLike`, `Sequence[str]` or `Callable` says what its
    argument may be; an unknown one, such as `Any`, allows anything.

    Args:
        **rules: What else an argument of this name must be. An array has axes in the notation of the docstrings, such
            as `"[batch, ...]"` or `"[classes] or None"`, where a name stands for the same length in all arrays. A
            number lies between two, a pair. A string is one of a collection. Anything else has another annotation, or
            a function of the name and the value raises.

    Returns:
        A decorator.

    Example:

    >>> @checked(values="[..., classes]", others="[..., classes]", weight=(0.0, 1.0))
    ... def average(values, others, weight=0.5, total: bool = False):
    ...     return weight * values + (1 - weight) * others
    >>> average(np.ones((2, 3)), np.zeros((2, 4)))
    Traceback (most recent call last):
    ValueError: Expected values [..., classes], others [..., classes]. Received: values of shape (2, 3), others of shape
    (2, 4).
    >>> average(np.ones(3), np.ones(3), total="no")
    Traceback (most recent call last):
    ValueError: Expected total to be True or False. Received: total='no'.
    """

    def decorate(function: Function) -> Function:
        if isinstance(function, type):  # A dataclass, whose `__init__` nobody wrote.
            function.__init__ = checked(**rules)(function.__init__)  # type: ignore[misc]
            return function
        signature = inspect.signature(function)
        checks = {
            name: each for name, parameter in signature.parameters.items() if (each := _check_of(parameter, rules))
        }
        axes = {name: Axes(rule.removesuffix(" or None")) for name, rule in rules.items() if isinstance(rule, str)}
        optional = [
            name for name in axes if signature.parameters[name].default is None or rules[name].endswith(" or None")
        ]

        @functools.wraps(function)
        def call(*args: Any, **kwargs: Any) -> Any:
            try:
                given = signature.bind(*args, **kwargs).arguments
            except TypeError:
                return function(*args, **kwargs)  # Python's own message for a missing or an unknown argument.
            for name, check in checks.items():
                if name in given:
                    check(name, given[name])
            check_axes({name: given[name] for name in axes if name in given}, axes, optional)
            return function(*args, **kwargs)

        call.__signature__ = signature  # type: ignore[attr-defined]  # For Keras, which asks for it without unwrapping.
        call.autograph_info__ = {}  # type: ignore[attr-defined]  # TensorFlow need not translate the checks.
        return typing.cast(Function, call)

    return decorate


def _check_of(parameter, rules):
    """Return a function of the name and the value of a parameter that raises if it must, or `None`."""
    rule = rules.get(parameter.name)
    if isinstance(rule, str):
        return None
    if isinstance(rule, tuple) and not isinstance(rule[0], str):
        options = _options(parameter.annotation)
        whole = int in options and float not in options
        return functools.partial(_check_range, rule, whole, type(None) in options or parameter.default is None)
    if isinstance(rule, (types.FunctionType, types.BuiltinFunctionType, functools.partial)):
        return rule
    if isinstance(rule, collections.abc.Collection):
        return lambda name, value: check_choice(name, value, rule)
    if rule is None and parameter.name == "temperature":
        return _check_temperature
    return _check_of_annotation(parameter.annotation if rule is None else rule)


def _check_of_annotation(annotation):
    kinds, options = _kinds_of(annotation), _options(annotation)
    if options == [keras.Model]:
        return check_model
    if options == [float]:
        return functools.partial(_check_range, (-math.inf, math.inf), False, False)
    return functools.partial(_check_kinds, kinds) if kinds else None


def _check_range(bounds, whole, optional, name, value):
    if (value is None and optional) or _is_tensor(value):
        return
    low, high = bounds
    if whole:
        check_whole_number(name, value, int(low), None if math.isinf(high) else int(high))
    else:
        check_number(name, value, *((0.0, high, True) if low == POSITIVE[0] else bounds))


def _check_temperature(name, value):
    if value is not None and not _is_tensor(value):
        check_temperature(value)


def _is_tensor(value):
    """Return whether a value is a tensor or a variable, whose values need not be known yet."""
    return hasattr(value, "dtype") and not isinstance(value, (np.ndarray, np.generic))


def _check_kinds(kinds, name, value):
    if not any(is_kind(value) for is_kind, _ in kinds):
        what = " or ".join(dict.fromkeys(description for _, description in kinds))
        raise ValueError(expected(f"{name} to be {what}", f"{name}={value!r:.200}"))


def _kinds_of(annotation):
    """Return the kinds that an annotation allows; none at all if one of them is unknown, so that anything passes."""
    kinds = []
    options = _options(annotation)
    if os.PathLike in options:
        options = [option for option in options if option is not str]
    for option in options:
        kind = _kind_of(option)
        if kind is None:
            return []
        kinds.append(kind)
    return kinds


def _options(annotation) -> list[Any]:
    union = typing.get_origin(annotation) in (typing.Union, types.UnionType)
    return [each for option in typing.get_args(annotation) for each in _options(option)] if union else [annotation]


def _kind_of(option) -> Kind | None:
    origin = typing.get_origin(option) or option
    if option is type(None):
        return (lambda value: value is None), "None"
    if origin in _ITERABLES and typing.get_args(option):
        items = _kinds_of(typing.get_args(option)[0])
        return functools.partial(_are_all, items), f"a list of {_plural(items)}"
    if origin in _KINDS:
        return _KINDS[origin]
    if getattr(origin, "__module__", "").startswith("keras_distill."):
        return (lambda value: isinstance(value, origin)), f"a {origin.__name__}"
    return None


def _are_all(kinds, values):
    if isinstance(values, (str, bytes, Mapping)) or not isinstance(values, (collections.abc.Iterable, np.ndarray)):
        return False
    return not kinds or isinstance(values, Iterator) or all(any(test(each) for test, _ in kinds) for each in values)


def _plural(kinds):
    words = {"True or False": "bools", "a whole number": "whole numbers", "a number": "numbers"}
    words |= {"a string that is not empty": "strings", "a function": "functions", "a keras.Model": "models"}
    return " or ".join(words.get(description, description) for _, description in kinds) or "items"
