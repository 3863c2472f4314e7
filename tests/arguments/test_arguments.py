"""Bad arguments of every public function and class: each is refused by an error of ours that names what was expected."""

import inspect
import os
import traceback
import types
import typing
from collections.abc import Callable, Mapping

import keras
import numpy as np
import pytest

import keras_distill as kd
from tests.arguments import valid
from tests.arguments.exceptions import ACCEPTED, COSTLY, LEFT_OUT, OBSCURE

NAN = float("nan")


class Thing:
    """What no argument may be."""

    def __repr__(self):
        return "<Thing>"


THING = Thing()
BAD = {
    bool: ["no", 3, None, THING],
    int: ["3", 1.5, NAN, None, [], THING, True],
    float: ["x", NAN, None, [], b"1", np.ones(2), THING, 10**400, True],
    str: [3, b"x", [], None, "", THING],
    os.PathLike: [3, b"x", [], None, "", "a\0b", "x" * 5000, THING],
    Callable: [3, "x", None, THING],
    keras.Model: [3, "x", None, THING, keras.Model],
    "items": [3, None, THING, [THING]],
    "mapping": [3, "x", [3], THING],
    "temperature": ["x", 0, -1.0, NAN, 10**400, 1e39, 1e-46, b"1", THING, True],
    "array": ["x", THING, None, np.array(["a"] * 4), np.ones((4, 3), complex), [[1.0], [1.0, 2.0]]],
    "anything": [THING],
}
ARRAYS = ("logits", "features", "embed", "outputs", "factor", "scores", "weak", "strong")
"""Last words of the names of array arguments, whose annotation is `Any`."""


_DIVERGENCES = ("kl_divergence", "logit_matching", "mixture_divergence", "soft_cross_entropy", "distributions")


def public():
    """Return what users may call, by its name below `keras_distill`."""
    found = {"Distiller": kd.Distiller}
    rooms = {name: getattr(kd, name) for name in kd.__all__ if isinstance(getattr(kd, name), types.ModuleType)}
    rooms |= {f"losses.{name}": getattr(kd.losses, name) for name in ("functional", "divergences")}
    for room, module in rooms.items():
        names = getattr(module, "__all__", [name for name in vars(module) if name in _DIVERGENCES])
        for name in names:
            each = getattr(module, name)
            if callable(each) and getattr(each, "__module__", "").startswith("keras_distill"):
                found[f"{room}.{name}"] = each
    return {name: each for name, each in found.items() if name not in LEFT_OUT}


PUBLIC = public()


def options_of(annotation):
    if typing.get_origin(annotation) in (typing.Union, types.UnionType):
        return [each for option in typing.get_args(annotation) for each in options_of(option)]
    return [typing.get_origin(annotation) or annotation]


def kind_of(parameter):
    """Return the key of `BAD` for a parameter."""
    options = [option for option in options_of(parameter.annotation) if option is not type(None)]
    if parameter.name == "temperature":
        return "temperature"
    if parameter.name.rsplit("_")[-1] in ARRAYS and parameter.annotation is typing.Any:
        return "array"
    for kind in (os.PathLike, keras.Model, bool):
        if kind in options:
            return kind
    if len(options) > 1 or options[0] not in BAD:
        first = options[0]
        is_items = isinstance(first, type) and issubclass(first, typing.Iterable) and first is not str
        return "mapping" if first in (dict, Mapping) else "items" if is_items else "anything"
    return options[0]


def bad_values(parameter):
    """Return the values that a parameter must refuse."""
    kind = kind_of(parameter)
    if parameter.annotation in (typing.Any, inspect.Parameter.empty) and kind == "anything":
        return BAD["anything"]
    optional = type(None) in options_of(parameter.annotation) or parameter.default is None
    return [value for value in BAD[kind] if not (optional and value is None)]


def parameters_of(function):
    """Return the parameters of a function, or of a class's `__init__`: `__new__` may take anything."""
    called = function.__init__ if isinstance(function, type) else function
    return [each for each in inspect.signature(called).parameters.values() if each.name != "self"]


def arguments_of(name, function):
    """Return the valid arguments of a function: those that it requires, and those that its row adds."""
    special, chosen = valid.OF.get(name, {}), {}
    for parameter in parameters_of(function):
        required = parameter.default is parameter.empty and parameter.kind.name not in ("VAR_POSITIONAL", "VAR_KEYWORD")
        if parameter.name in special or required:
            chosen[parameter.name] = (special.get(parameter.name) or valid.BY_NAME[parameter.name])()
    return chosen


def answer(function, arguments):
    """Return how a call answers: `"accepted"`, `"refused"` by an error of ours, or the obscure error."""
    try:
        function(**arguments)
    except (ValueError, TypeError, ImportError, OSError) as error:
        file = traceback.extract_tb(error.__traceback__)[-1].filename
        clear = "Expected " in str(error) and "Received: " in str(error)
        return "refused" if clear else f"{type(error).__name__}: {str(error)[:100]} ({file[-40:]})"
    except Exception as error:
        return f"{type(error).__name__}: {str(error)[:100]}"
    return "accepted"


def cases(name, function):
    for parameter in parameters_of(function):
        if parameter.kind.name not in ("VAR_POSITIONAL", "VAR_KEYWORD", "POSITIONAL_ONLY"):
            for value in bad_values(parameter):
                yield parameter.name, value


def label(value):
    return f"{type(value).__name__} {value!r:.30}"


@pytest.mark.filterwarnings("ignore:.*deprecated")
@pytest.mark.parametrize("name", PUBLIC)
def test_bad_arguments_are_refused(name):
    function = PUBLIC[name]
    if name not in COSTLY:
        assert answer(function, arguments_of(name, function)) == "accepted"
    wrong = {}
    for parameter, value in cases(name, function):
        found = answer(function, {**arguments_of(name, function), parameter: value})
        known = OBSCURE if found not in ("accepted", "refused") else ACCEPTED if found == "accepted" else {}
        if found != "refused" and not (known.get((name, parameter)) or known.get(("*", parameter))):
            wrong[parameter, label(value)] = found
    assert not wrong


def test_the_table_is_large_and_its_exceptions_are_few():
    assert sum(len(list(cases(name, function))) for name, function in PUBLIC.items()) >= 1_700
    assert len(OBSCURE) <= 20
    assert {*valid.OF, *COSTLY, *(name for name, _ in OBSCURE)} <= {*PUBLIC, "*"}
