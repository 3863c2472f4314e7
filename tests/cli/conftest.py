"""Commands run in the test process here: their process-wide settings must not reach other tests."""

import pytest
import tensorflow as tf


@pytest.fixture(autouse=True)
def determinism(monkeypatch):
    """Record that a command enabled determinism, which TensorFlow cannot disable again."""
    calls = []
    monkeypatch.setattr(tf.config.experimental, "enable_op_determinism", lambda: calls.append(True))
    monkeypatch.setattr(tf.config.threading, "set_intra_op_parallelism_threads", calls.append)
    return calls
