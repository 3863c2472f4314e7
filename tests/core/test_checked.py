"""The decorator that checks arguments: what it lets pass, what it refuses, and that it stays out of traced code."""

import inspect
import os
import pathlib
from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np
import pytest

from keras_distill._core.checked import checked
from keras_distill._core.checks import check_number
from keras_distill.losses import functional


@checked(
    rows="[..., classes]",
    labels="int [...]",
    maps="[batch, *, *, channels]",
    weight=(0.0, 1.0),
    count=(1, 5),
    form=("paper", "mean"),
)
def take(
    rows: Any = None,
    labels: Any = None,
    maps: Any = None,
    weight: float = 0.5,
    count: int | None = None,
    form: str = "paper",
    flag: bool = False,
    path: str | os.PathLike | None = None,
    names: str | Sequence[str] = (),
    schedule: Callable[..., Any] | float = 1.0,
    model: keras.Model | None = None,
):
    return "taken"


@pytest.mark.parametrize(
    "arguments",
    [
        {"rows": np.ones((4, 3)), "labels": np.arange(4)},
        {"rows": [[1.0, 2.0]], "labels": [1]},
        {"rows": keras.KerasTensor((None, 3)), "labels": keras.KerasTensor((7,), "int32")},
        {"rows": np.ones((2, 5, 3)), "labels": keras.KerasTensor((None, 5), "int64")},
        {"rows": keras.Variable([1.0, 2.0]), "labels": np.int64(1)},
        {"maps": keras.KerasTensor((None, None, None, 3))},
        {"weight": 1, "count": np.int32(5), "form": "mean", "flag": np.True_},
        {"weight": np.float32(0.5)},
        {"weight": keras.KerasTensor(())},
        {"path": pathlib.Path("a"), "names": "one", "schedule": abs},
        {"path": "gs://bucket/" + 50 * "long/", "names": ["a", "b"], "schedule": np.float64(2.0)},
    ],
)
def test_valid_arguments_pass(arguments):
    assert take(**arguments) == "taken"


@pytest.mark.parametrize(
    "arguments, message",
    [
        (
            {"rows": np.ones((4, 3)), "labels": np.arange(5)},
            r"rows [..., classes], labels [...]. Received: rows of shape",
        ),
        ({"rows": np.float32(1)}, "rows [..., classes]. Received: rows of shape ()."),
        ({"labels": [0.5]}, "labels to be integers. Received: labels of type float64."),
        ({"rows": "x"}, "rows to be an array of numbers. Received: rows of type str"),
        ({"rows": [[1.0], [1.0, 2.0]]}, "rows to be an array of numbers. Received: rows=[["),
        ({"maps": np.ones((4, 3))}, "maps [batch, *, *, channels]. Received: maps of shape (4, 3)."),
        ({"weight": 1.5}, "weight to be a number from 0 to 1. Received: weight=1.5."),
        ({"weight": None}, "weight to be a number from 0 to 1. Received: weight=None."),
        ({"count": 6}, "count to be a whole number from 1 to 5. Received: count=6."),
        ({"form": "papr"}, "form to be one of mean, paper. Received: 'papr'. Did you mean 'paper'?"),
        ({"flag": "no"}, "flag to be True or False. Received: flag='no'."),
        ({"path": b"x"}, "path to be the path of a file or folder or None. Received: path=b'x'."),
        ({"names": [3]}, "names to be a string that is not empty or a list of strings. Received: names=[3]."),
        ({"schedule": "x"}, "schedule to be a function or a number. Received: schedule='x'."),
        ({"model": 3}, "model to be a keras.Model or None. Received: model=3."),
    ],
)
def test_bad_arguments_are_refused(arguments, message):
    with pytest.raises(ValueError) as error:
        take(**arguments)
    assert str(error.value).startswith(f"Expected {message}")


def test_a_missing_and_an_unknown_argument_are_pythons():
    with pytest.raises(TypeError, match="missing 1 required positional argument: 'student_logits'"):
        functional.kd(np.ones((1, 3)))
    with pytest.raises(TypeError, match="unexpected keyword argument 'temprature'"):
        functional.kd(np.ones((1, 3)), np.ones((1, 3)), temprature=2.0)


def test_the_signature_is_that_of_the_function():
    assert list(inspect.signature(functional.kd).parameters) == ["teacher_logits", "student_logits", "temperature"]
    assert inspect.getfullargspec(take).args[:2] == ["rows", "labels"]


@pytest.mark.tensorflow_only
def test_traced_code_has_no_operation_of_the_checks():
    import tensorflow as tf

    spec = tf.TensorSpec([None, 3])
    traced, plain = (
        tf.function(function).get_concrete_function(spec, spec, tf.TensorSpec([]))
        for function in (functional.kd, functional.kd.__wrapped__)
    )
    assert [each.type for each in traced.graph.get_operations()] == [each.type for each in plain.graph.get_operations()]


@pytest.mark.parametrize("value", [1e39, 10**400, float("nan"), "1", b"1", np.ones(1), True, None])
def test_what_is_no_number_in_float32(value):
    with pytest.raises(ValueError, match="^Expected x to be a finite number. Received: x="):
        check_number("x", value, -float("inf"), float("inf"))
