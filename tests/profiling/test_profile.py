"""The time of each part of a training step."""

import io
import json
import sys
import time

import keras
import numpy as np
import pytest
import tensorflow as tf
from rich.console import Console

import keras_distill as kd
from keras_distill.profiling import Profile, profile
from keras_distill.profiling.profile import _subtract_prefixes


def dense(width, name=None):
    layers = [keras.Input((16,)), keras.layers.Dense(width, "relu"), keras.layers.BatchNormalization()]
    return keras.Sequential([*layers, keras.layers.Dropout(0.1), keras.layers.Dense(4)], name=name)


@pytest.fixture(scope="module")
def distiller():
    keras.utils.set_random_seed(0)
    distiller = kd.Distiller(dense(2048), dense(4), kd.losses.LogitsDistillation())
    distiller.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
    return distiller


def data(count=4):
    x = np.random.default_rng(0).normal(size=(count * 64, 16)).astype("float32")
    return tf.data.Dataset.from_tensor_slices((x, np.arange(count * 64) % 4)).batch(64)


def state(distiller):
    return [np.array(each) for each in (*distiller.variables, *distiller.optimizer.variables)]


@pytest.fixture(scope="module")
def profiled(distiller, tmp_path_factory):
    distiller.fit(data(), verbose=0)
    before = state(distiller)
    found = profile(distiller, data(), steps=5, trace=tmp_path_factory.mktemp("trace"))
    return before, found


@pytest.mark.slow
def test_parts_and_residual_are_the_whole(profiled):
    _, found = profiled
    assert list(found.parts) == [
        "input",
        "teacher",
        "student, forward",
        "losses",
        "student, backward",
        "optimizer, metrics",
    ]
    assert all(each >= 0.0 for each in found.parts.values()) and found.whole > 0.0
    np.testing.assert_allclose(sum(found.parts.values()) + found.residual, found.whole)


class Clock(keras.layers.Layer):
    """A clock that nothing but its own call moves, by 50 ms."""

    now = 0.0

    def call(self, inputs):
        return tf.ensure_shape(tf.numpy_function(self._later, [inputs], tf.float32, stateful=True), inputs.shape)

    def _later(self, inputs):
        self.now += 0.05
        return inputs

    def perf_counter(self):
        return self.now


@pytest.mark.parametrize("slow", ["teacher", "student, forward"])
@pytest.mark.slow
def test_the_part_that_takes_the_time_has_it(slow, monkeypatch):
    clock = Clock()
    monkeypatch.setattr(sys.modules["keras_distill.profiling.profile"], "time", clock)
    timed = keras.Sequential([keras.Input((16,)), clock, *dense(4).layers])
    pair = (timed, dense(4)) if slow == "teacher" else (dense(4), timed)
    distiller = kd.Distiller(*pair, "kd")
    distiller.compile("adam", steps_per_execution=4, jit_compile=False)
    found = profile(distiller, data(), steps=8)
    np.testing.assert_allclose(found.whole, 50.0)
    np.testing.assert_allclose([found.parts.pop(slow), *found.parts.values()], [50.0, 0, 0, 0, 0, 0], atol=1e-9)


def test_nothing_is_left_changed(distiller, profiled):
    before, _ = profiled
    metrics = {id(variable) for metric in distiller.metrics for variable in metric.variables}
    variables = [*distiller.variables, *distiller.optimizer.variables]
    for variable, old, new in zip(variables, before, state(distiller), strict=True):
        assert id(variable) in metrics or np.array_equal(old, new)
    assert int(distiller.optimizer.iterations) == 4


def test_the_trace_is_tensorboards(profiled):
    _, found = profiled
    assert list(found.trace.rglob("*.xplane.pb"))


def test_table_and_dict_say_the_same(profiled):
    _, found = profiled
    console = Console(width=80, record=True, file=io.StringIO())
    console.print(found)
    text = console.export_text()
    assert "teacher" in text and f"{found.whole:.2f}" in text and "100.0 %" in text
    assert json.loads(json.dumps(found.to_dict()))["parts"] == found.parts


@pytest.mark.slow
def test_a_slow_input_shows(distiller):
    slow = data().map(lambda x, y: (tf.numpy_function(_pause, [x], tf.float32, stateful=True), y))
    slow = slow.map(lambda x, y: (tf.ensure_shape(x, (None, 16)), y))
    found = profile(distiller, slow, steps=3)
    assert found.parts["input"] > 0.5 * sum(found.parts.values())


def _pause(x):
    time.sleep(0.05)
    return x


def test_differences_of_medians():
    times = {"a": [0.001, 0.002, 0.009], "b": [0.005, 0.005, 0.005], "c": [0.004, 0.004, 0.004]}
    np.testing.assert_allclose(list(_subtract_prefixes(times).values()), [2.0, 3.0, 0.0])


def test_residual_may_be_below_zero():
    assert Profile({"input": 1.0, "teacher": 2.0}, 2.5, 32, 3).residual == -0.5


@pytest.mark.parametrize(
    "given, message",
    [
        ({"steps": 0}, "steps to be a whole number >= 1"),
        ({"dataset": np.ones((2, 16))}, "from_tensor_slices"),
        ({"distiller": dense(4)}, "compiled Distiller"),
    ],
)
def test_bad_input(distiller, given, message):
    with pytest.raises(ValueError, match=message):
        profile(**{"distiller": distiller, "dataset": data(1), **given})
