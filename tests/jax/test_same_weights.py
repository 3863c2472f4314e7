"""What a student becomes on JAX, in one process or in two, is what it becomes on TensorFlow."""

import os
import pathlib
import socket
import subprocess
import sys

import numpy as np
import pytest
from numpy.testing import assert_allclose

import keras_distill as kd
from tests.jax import scenarios

pytest.importorskip("jax")
ROOT = pathlib.Path(__file__).parents[2]
pytestmark = [pytest.mark.slow, pytest.mark.tensorflow_only]


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    """The environment of processes on JAX, which share what they compile, and compile it fast."""
    return {
        **os.environ,
        "KERAS_BACKEND": "jax",
        "JAX_PLATFORMS": "cpu",
        "XLA_FLAGS": "--xla_backend_optimization_level=0",
        "JAX_COMPILATION_CACHE_DIR": str(tmp_path_factory.mktemp("cache")),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
    }


@pytest.fixture(scope="module")
def on_jax(tmp_path_factory, cache):
    """The folder of what all scenarios come to on JAX, in one process."""
    folder = tmp_path_factory.mktemp("jax")
    teacher, batches = scenarios.classifier(16, seed=3), scenarios.dataset(*scenarios.data())
    options = {"top_k": 2, "dtype": "float32", "temperatures": (1.0, 3.0), "features": ["hidden"]}
    kd.targets.write(teacher, batches, folder / scenarios.STORE, **options)
    distiller = kd.Distiller(scenarios.classifier(16, "softmax", seed=3), scenarios.classifier(8), "kd")
    scenarios.trained(distiller, *scenarios.data(), optimizer="adam")
    distiller.save(folder / scenarios.SAVED)
    command = [sys.executable, "-W", "error::UserWarning", "-m", "tests.jax.scenarios", str(folder)]
    subprocess.run(command, cwd=ROOT, env=cache, check=True, timeout=900)
    return folder


@pytest.mark.parametrize("name", scenarios.SCENARIOS)
def test_same_weights(on_jax, name):
    here, there = scenarios.SCENARIOS[name](on_jax), dict(np.load(on_jax / f"{name}.npz"))
    assert here.keys() == there.keys() and len(here) > 4
    for what, values in here.items():
        assert_allclose(there[what], values, rtol=1e-5, atol=1e-5, err_msg=what)


def test_two_processes_come_to_what_one_does(on_jax, cache):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    files = [on_jax / f"process_{number}.npz" for number in range(2)]
    processes = [
        subprocess.Popen(
            [sys.executable, "-m", "tests.jax.process", address, "2", str(number), file], cwd=ROOT, env=cache
        )
        for number, file in enumerate(files)
    ]
    try:
        assert [process.wait(timeout=900) for process in processes] == [0, 0]
    finally:
        for process in processes:
            process.kill()
    for file in files:
        found = dict(np.load(file))
        assert len(found) > 20
        for what, values in found.items():
            name, part = what.split(": ")
            assert_allclose(values, np.load(on_jax / f"{name}.npz")[part], rtol=1e-5, atol=1e-6, err_msg=what)
