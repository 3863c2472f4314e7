"""Two workers on this machine train as one device does, stop when one is killed, and go on where they were."""

import io
import json
import sys

import pytest

from keras_distill.distribution import launch

pytestmark = pytest.mark.slow
KILLED = 1


@pytest.fixture(scope="module")
def folder(environment, script, tmp_path_factory):
    """The folder of two runs: one in which a worker is killed, and one that goes on from there."""
    folder = tmp_path_factory.mktemp("workers")
    with pytest.MonkeyPatch.context() as patch:
        for name, value in environment.items():
            patch.setenv(name, value)
        for number, arguments in enumerate(([str(KILLED)], [])):
            out = io.StringIO()
            code = launch([sys.executable, script("workers.py"), str(folder), *arguments], workers=2, out=out)
            (folder / f"run{number}.json").write_text(json.dumps({"code": code, "out": out.getvalue()}))
    return folder


def read(folder, name):
    return json.loads((folder / f"{name}.json").read_text())


@pytest.mark.parametrize("worker", [0, 1])
def test_weights_and_logs_are_those_of_one_device(worker, folder):
    differences = read(folder, f"arrays{worker}")
    assert differences["weights"] < 1e-6
    assert differences["logs"] < 1e-6


def test_the_other_worker_says_who_is_gone(folder):
    # It came to say so: the launcher ends those that do not stop by themselves.
    assert read(folder, "stopped0")["said"].startswith(
        "Expected all 2 workers to go on. Received: worker 1 at 127.0.0.1:"
    )
    assert read(folder, "run0")["code"] == 128 + 9


@pytest.mark.parametrize("worker", [0, 1])
def test_a_restart_ends_where_an_uninterrupted_run_does(worker, folder):
    stored = read(folder, f"stored{worker}")
    assert read(folder, "run1")["code"] == 0, read(folder, "run1")["out"]
    assert stored["weights"] < 1e-6
    assert len(stored["loss"]) == 2  # Two of the four epochs were over.
    assert stored["loss"] == pytest.approx(stored["loss_alone"][2:], abs=1e-6)


def test_each_worker_reads_its_own_half_of_the_store(folder):
    assert [read(folder, f"stored{worker}")["read"] for worker in (0, 1)] == [[48], [48]]


def test_only_the_chief_writes(folder):
    assert sorted(path.name for path in (folder / "worker0").iterdir()) == [
        f"{epoch}.weights.h5" for epoch in (1, 2, 3, 4)
    ]
    assert not (folder / "worker1").exists()
