"""Commands run inside the test process here: what they set for a whole process must not reach other tests."""

import pytest
import tensorflow as tf


@pytest.fixture(autouse=True)
def determinism(monkeypatch):
    """Record that a command asked for determinism, a switch that TensorFlow does not turn back."""
    asked = []
    monkeypatch.setattr(tf.config.experimental, "enable_op_determinism", lambda: asked.append(True))
    monkeypatch.setattr(tf.config.threading, "set_intra_op_parallelism_threads", asked.append)
    return asked
