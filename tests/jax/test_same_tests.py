"""The tests of the package that hold on every backend pass on JAX, and other backends are refused."""

import os
import pathlib
import re
import subprocess
import sys

import pytest

pytest.importorskip("jax")
ROOT = pathlib.Path(__file__).parents[2]
pytestmark = [pytest.mark.slow, pytest.mark.tensorflow_only]

TESTS = (
    "tests/jax/test_dark_knowledge.py",
    "tests/jax/test_training.py",
    "tests/callbacks/test_temperature_scheduler.py",
    "tests/losses/test_every_loss.py",
    "tests/test_schedules.py",
)
LEAST = 615


def run(command, **environment):
    environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", **environment}
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=900)


def test_they_pass_on_jax(tmp_path):
    result = run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *TESTS],
        KERAS_BACKEND="jax",
        JAX_PLATFORMS="cpu",
        # Two devices of one processor, code that is made fast rather than fast, and each piece of it once.
        XLA_FLAGS="--xla_force_host_platform_device_count=2 --xla_backend_optimization_level=0",
        JAX_COMPILATION_CACHE_DIR=str(tmp_path),
        JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS="0",
    )
    assert result.returncode == 0, result.stdout[-6000:]
    assert int(re.search(r"(\d+) passed", result.stdout)[1]) >= LEAST


def test_other_backends_are_refused():
    script = "import keras, keras_distill as kd; kd.Distiller(None, None, 'kd')"
    result = run([sys.executable, "-c", script], KERAS_BACKEND="numpy")
    message = "ValueError: Expected the TensorFlow or the JAX backend. Received: KERAS_BACKEND=numpy."
    assert result.stderr.strip().splitlines()[-1] == message
