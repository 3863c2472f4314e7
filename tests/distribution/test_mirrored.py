"""Two replicas of one machine train as one device does."""

import json
import subprocess
import sys

import pytest

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def results(environment, script, tmp_path_factory):
    path = tmp_path_factory.mktemp("mirrored") / "results.json"
    command = [sys.executable, script("mirrored.py"), str(path)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done.stderr
    return json.loads(path.read_text())


@pytest.mark.parametrize(
    "check",
    ["arrays_of_uneven_batches", "last_sample_left_out", "stored_targets", "contrastive_memory", "one_batch", "recipe"],
)
def test_weights_and_logs_are_those_of_one_device(check, results):
    assert results[check]["weights"] < 1e-6
    assert results[check]["logs"] < 1e-6


def test_what_leaves_a_replica_without_samples_is_left_out_with_a_message(results):
    (said,) = results["last_sample_left_out"]["said"]
    assert said.startswith("A batch of 1 samples was left out because it is too small for 2 replicas.")


@pytest.mark.parametrize(
    "name, message",
    [
        ("batch", "ValueError: Expected batches of at least 2 samples, one for each replica. Received: 1."),
        (
            "jit",
            "ValueError: Expected jit_compile=False under a strategy with several replicas. Received: jit_compile=T",
        ),
        ("scope", "ValueError: Expected everything in the scope of MirroredStrategy. Received: the model, created in"),
        (
            "devices",
            "RuntimeError: Expected TensorFlow before its first use. Received: TensorFlow, already initialized",
        ),
        ("labels", "ValueError: Expected labels from 0 to 2. Received: 7 to 9."),
    ],
)
def test_errors(name, message, results):
    assert results["errors"][name].startswith(message)
