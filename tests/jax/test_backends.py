"""Which of Keras's backends train a `Distiller`."""

import os
import subprocess
import sys

import pytest


@pytest.mark.slow
def test_other_backends_are_refused():
    script = (
        "import keras, keras_distill as kd; net = keras.Sequential([keras.Input((2,)), keras.layers.Dense(3)]); "
        "kd.Distiller(net, net, 'kd')"
    )
    environment = {**os.environ, "KERAS_BACKEND": "numpy", "TF_CPP_MIN_LOG_LEVEL": "3"}
    result = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True)
    message = "ValueError: Expected the TensorFlow or the JAX backend. Received: KERAS_BACKEND=numpy."
    assert result.stderr.strip().splitlines()[-1] == message
