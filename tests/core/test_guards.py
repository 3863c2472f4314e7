"""A failed check in the graph reads like any other error; everything else passes through."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_distill._core import guards

RUNS = {
    "eager": lambda f: f,
    "graph": tf.function,
    "nested": lambda f: tf.function(lambda *arguments: tf.function(f)(*arguments)),
}
EACH_RUN = pytest.mark.parametrize("run", RUNS.values(), ids=RUNS.keys())


def failing(run, function, *arguments):
    with guards.explained():
        run(function)(*(tf.constant(argument) for argument in arguments))


@EACH_RUN
@pytest.mark.parametrize("error", [ValueError, FloatingPointError])
def test_check(run, error):
    def step(x):
        guards.check(tf.reduce_all(x > 0), "positive numbers", [tf.reduce_min(x), tf.reduce_max(x)], error)
        return x

    failing(run, step, [1.5, 2.5])
    with pytest.raises(error, match=r"^Expected positive numbers\. Received: -1(\.0)? to 3(\.0)?\.$") as caught:
        failing(run, step, [-1.0, 3.0])
    assert type(caught.value) is error and caught.value.__suppress_context__


@EACH_RUN
def test_without_values_the_message_is_whole(run):
    with pytest.raises(ValueError, match=r"^Expected one thing\. Received: another\. Do this \[here\] instead\.$"):
        failing(
            run, lambda x: guards.check(x > 0, "Expected one thing. Received: another. Do this [here] instead."), -1
        )


@EACH_RUN
@pytest.mark.parametrize("message", ["a 'quoted' thing", 'a "quoted" thing', "a [bracketed] thing", "both ' and \" of"])
def test_messages_of_any_characters(run, message):
    with pytest.raises(ValueError) as caught:
        failing(run, lambda x: guards.check(x > 0, message, [x]), -1)
    assert str(caught.value).replace("\\", "") == f"Expected {message}. Received: -1."


@EACH_RUN
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_finite(run, value):
    failing(run, lambda x: guards.check_finite("student_loss", x), 1.0)
    message = rf"^Expected a finite student_loss in every training step\. Received: {value}\.$"
    with pytest.raises(FloatingPointError, match=message):
        failing(run, lambda x: guards.check_finite("student_loss", x), np.float32(value))


@EACH_RUN
@pytest.mark.parametrize("dtype", ["int32", "int64", "uint8", "float32"])
def test_labels(run, dtype):
    failing(run, lambda y: guards.check_labels(y, 3), np.array([0, 1, 2], dtype))
    failing(run, lambda y: guards.check_labels(y, 3, ignored=255), np.array([[0], [255]], dtype))
    with pytest.raises(ValueError, match=r"^Expected labels from 0 to 2\. Received: 0 to 3\.$"):
        failing(run, lambda y: guards.check_labels(y, 3), np.array([[0], [3]], dtype))


@pytest.mark.parametrize("eager", [True, False])
def test_in_fit(eager):
    class Model(keras.Model):
        def call(self, x):
            guards.check_finite("input", tf.reduce_sum(x))
            return x

    model = Model()
    model.compile(loss="mse", run_eagerly=eager)
    message = r"^Expected a finite input in every training step\. Received: nan\.$"
    with pytest.raises(FloatingPointError, match=message), guards.explained():
        model.evaluate(np.full((4, 2), np.nan), np.ones((4, 2)), verbose=0)


class Odd(Exception):
    """An error whose `message` is `None`."""

    message = None


@pytest.mark.parametrize(
    "error", [ValueError("one"), KeyError("two"), Odd("three"), KeyboardInterrupt(), StopIteration()]
)
def test_other_errors_pass_through(error):
    with pytest.raises(type(error)) as caught, guards.explained():
        raise error
    assert caught.value is error


def test_other_failures_of_a_graph_pass_through():
    with pytest.raises(tf.errors.InvalidArgumentError, match="not ours"):
        failing(tf.function, lambda x: (tf.debugging.assert_positive(x, "not ours"), x)[1], -1)


def test_compiled_steps_run_without_checks():
    assert float(tf.function(lambda x: (guards.check_finite("x", x), x * 0)[1], jit_compile=True)(1.0)) == 0.0


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_logs_of_an_epoch(value):
    guards.check_finite_logs({"loss": 1.0}, ("loss", "absent"))
    guards.check_finite_logs({"other": value}, ("loss",))
    with pytest.raises(
        FloatingPointError, match=rf"^Expected a finite loss in every training step\. Received: {value}\.$"
    ):
        guards.check_finite_logs({"loss": value}, ("loss",))
