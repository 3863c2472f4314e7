"""`keras-distill benchmark`: table, JSON, exit codes."""

import json

import numpy as np
import pytest
import tensorflow as tf
from click.testing import CliRunner

from keras_distill.cli.benchmark import command
from keras_distill.export.quiet import quiet

X = np.random.default_rng(0).normal(size=(12, 4)).astype("float32")


def invoke(*arguments):
    return CliRunner().invoke(command, list(map(str, arguments)))


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """A file, a broken one, and data."""
    folder = tmp_path_factory.mktemp("benchmark")
    function = tf.function(lambda x: tf.nn.relu(x) * 2.0, [tf.TensorSpec((1, 4), name="x")])
    with quiet():
        converter = tf.lite.TFLiteConverter.from_concrete_functions([function.get_concrete_function()], tf.Module())
        content = converter.convert()
    (folder / "good.tflite").write_bytes(content)
    (folder / "broken.tflite").write_bytes(content[:300])
    np.savez(folder / "data.npz", x=X, y=np.maximum(X, 0).argmax(-1))
    np.savez(folder / "labels.npz", y=X)
    return folder


def test_one_file_passes(files):
    result = invoke(files / "good.tflite", "--data", files / "data.npz", "--threads", "1", "--rounds", "1")
    assert result.exit_code == 0, result.output
    assert "good.tflite" in result.output and "✓" in result.output and "100.00 %" in result.output
    assert "x (1, 4) float32 →" in result.output


def test_a_broken_file_is_a_row_and_exit_code_1(files):
    paths = [files / "good.tflite", files / "broken.tflite"]
    result = invoke(*paths, "--threads", "1", "--rounds", "1", "--format", "json")
    assert result.exit_code == 1
    good, broken = json.loads(result.output)["files"]
    assert good["status"] == "passed" and good["latency_us"]["1"] > 0 and good["agreement"] is None
    assert broken["status"].startswith("failed: Expected a whole TFLite file")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["none.tflite"], "an existing TFLite file. Received: none.tflite"),
        (["good.tflite", "--threads", "one"], "--threads to be numbers, separated by commas. Received: 'one'"),
        (["good.tflite", "--data", "none.npz"], "an existing .npz file"),
        (["good.tflite", "--data", "labels.npz"], "to hold an array named x. Received: no samples"),
        (["good.tflite", "--data", "good.tflite"], "an existing .npz file"),
    ],
)
def test_users_errors_are_one_line_and_2(arguments, message, files, monkeypatch):
    monkeypatch.chdir(files)
    result = invoke(*arguments)
    assert result.exit_code == 2 and "Traceback" not in result.output
    assert message in " ".join(result.output.split())
