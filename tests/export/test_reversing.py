"""Backward layers: in int8, REVERSE_V2 keeps the numbers; on microcontrollers, sequences come from unrolled layers."""

import keras
import numpy as np
import pytest

from tests.export.in_process import Files, correlate

X = np.random.default_rng(0).normal(size=(60, 5, 4)).astype("float32")


def offset(x):
    """A layer whose values lie elsewhere than those it is concatenated with."""
    return 3.0 + keras.layers.Dense(6, "sigmoid")(x)


BODIES = {
    "lstm": lambda x: keras.layers.Bidirectional(keras.layers.LSTM(6, return_sequences=True))(x),
    "flip": lambda x: keras.layers.Concatenate()([keras.ops.flip(keras.ops.tanh(x), 1), offset(x)]),
}


@pytest.mark.parametrize("name", BODIES)
def test_files_of_backward_layers_are_right(name, tmp_path):
    keras.utils.set_random_seed(2)
    inputs = keras.Input((5, 4), name="sound")
    body = BODIES[name](inputs)
    files = Files(keras.Model(inputs, body), X, tmp_path)
    wanted = files.expected()
    assert "REVERSE_V2" in files.operators("tflite_int8_float_io")
    if name == "lstm":
        # A loop that collects a sequence gives other numbers there.
        np.testing.assert_allclose(files.run("c_array", "micro"), wanted, atol=1e-5)
    runtimes = ("default", "reference") if name == "flip" else ("default",)
    for runtime in runtimes:
        found = files.run("tflite_int8_float_io", runtime)
        assert np.abs(found - wanted).mean() < 0.01 * np.ptp(wanted), runtime
        assert correlate(found, wanted) > 0.999, runtime
