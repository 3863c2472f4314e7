"""Running the scripts of these tests in processes of their own, where TensorFlow has not begun."""

import os
import pathlib

import pytest

HERE = pathlib.Path(__file__).parent
collect_ignore = ["mirrored.py", "problem.py", "workers.py"]  # Scripts, which train when they are imported.


@pytest.fixture(scope="session")
def environment():
    """The environment of such a process: the checkout is found, and threads are few."""
    path = os.pathsep.join([str(HERE.parents[1]), *filter(None, [os.environ.get("PYTHONPATH")])])
    threads = {name: "1" for name in ("OMP_NUM_THREADS", "TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS")}
    return {**os.environ, **threads, "PYTHONPATH": path, "TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": ""}


@pytest.fixture(scope="session")
def script():
    """Return the path of a script of this folder."""
    return lambda name: str(HERE / name)
