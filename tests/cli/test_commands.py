"""Commands: their help, errors of users in one line, exit codes 0, 1 and 2."""

import json
import subprocess
import sys

import keras
import numpy as np
import pytest
from click.testing import CliRunner

from keras_distill import recipes
from keras_distill._version import __version__
from keras_distill.cli import main
from keras_distill.distiller.model import Distiller
from keras_distill.losses import LogitsDistillation
from tests.run_results import FILE, make_results

RNG = np.random.default_rng(0)
X, Y = RNG.random((64, 8, 8, 1), dtype="float32"), RNG.integers(0, 10, 64).astype("int32")


def invoke(*arguments):
    return CliRunner().invoke(main, list(map(str, arguments)))


def refused(*arguments):
    """Invoke a command with bad input; return its output as one line."""
    result = invoke(*arguments)
    assert result.exit_code == 2, result.output
    assert "Traceback" not in result.output
    return " ".join(result.output.split())


@pytest.fixture
def model(tmp_path):
    path = tmp_path / "student.keras"
    keras.Sequential([keras.Input((8, 8, 1)), keras.layers.Flatten(), keras.layers.Dense(10)]).save(path)
    return path


@pytest.fixture
def arrays(tmp_path):
    path = tmp_path / "data.npz"
    np.savez(path, x=X, y=Y)
    return path


def test_help_lists_the_commands_and_the_exit_codes():
    for flag in ("-h", "--help"):
        result = invoke(flag)
        assert result.exit_code == 0
        for word in ("demo", "run", "export", "Exit codes"):
            assert word in result.output


@pytest.mark.parametrize("command", ["demo", "run", "report", "export", "benchmark", "label", "losses", "profile"])
def test_the_help_of_every_command_has_an_example(command):
    result = invoke(command, "--help")
    assert result.exit_code == 0
    assert f"keras-distill {command}" in " ".join(result.output.split()).split("Example")[-1]


@pytest.mark.parametrize("command", ["demo", "run", "report", "label", "export", "profile"])
def test_the_output_folder_is_directory_in_the_help(command):
    text = invoke(command, "--help").output
    assert "--directory" in text and "--out " not in text


@pytest.mark.parametrize("option", ["--directory", "--out"])
def test_the_old_name_of_the_output_folder_works(option, tmp_path):
    (tmp_path / "letter.txt").write_text("mine")
    assert "of an earlier run" in refused("run", "digits", "--quick", option, tmp_path)
    assert "--directory" in refused("label", "digits") and "--out" not in refused("label", "digits")


def test_losses():
    text = invoke("losses").output
    assert all(word in text for word in ("dkd", "labels", "ReviewKD", "arXiv:2104.09044", "mdistiller"))
    assert "DKD(temperature=4.0, alpha=1.0, beta=8.0, name=None)" in invoke("losses", "dkd").output
    assert "LogitStandardization" in invoke("losses", "logit_std_ttm").output
    assert "Did you mean 'dkd'?" in refused("losses", "dkdd")


def test_version():
    assert invoke("--version").output.strip() == f"keras-distill, version {__version__}"


def test_as_a_module():
    command = [sys.executable, "-m", "keras_distill", "rnu"]
    result = subprocess.run(command, check=False, capture_output=True, text=True, timeout=900)
    assert result.returncode == 2
    assert "Did you mean 'run'?" in result.stderr
    assert "Traceback" not in result.stderr


def test_broken_files_are_one_line_and_2(tmp_path, model, arrays):
    content = arrays.read_bytes()
    changed = bytearray(content)
    changed[len(content) // 2] ^= 255
    for name, broken in (("cut", content[: len(content) // 2]), ("empty", b""), ("changed", bytes(changed))):
        (tmp_path / f"{name}.npz").write_bytes(broken)
        command = ("label", model, "--data", tmp_path / f"{name}.npz", "--directory", tmp_path / "store")
        assert f"{name}.npz to be a whole NumPy file" in refused(*command)
    (tmp_path / "labels.txt").write_bytes("caf\xe9\nwren".encode("latin-1"))
    command = ("export", model, "--evaluation-data", arrays, "--labels", tmp_path / "labels.txt")
    assert "labels.txt to be text in UTF-8" in refused(*command)
    unsafe = keras.Sequential([keras.Input((8, 8, 1)), keras.layers.Lambda(lambda x: 2 * x), keras.layers.Flatten()])
    unsafe.save(tmp_path / "unsafe.keras")
    command = ("label", tmp_path / "unsafe.keras", "--data", arrays, "--directory", tmp_path / "store")
    assert "unsafe.keras to be a model that loads in safe mode" in refused(*command)
    assert "the path of a recipe file" in refused("label", tmp_path / "none.py", "--directory", tmp_path / "store")
    command = ("label", model, "--data", arrays, "--directory", arrays / "below")
    assert "the path of a folder that can be made" in refused(*command)


def test_users_errors_are_one_line_and_2(tmp_path, model, arrays):
    assert "Did you mean 'digits'?" in refused("run", "digit", "--directory", tmp_path / "run")
    assert "--download" in refused("run", "mnist", "--data-dir", tmp_path / "none", "--directory", tmp_path / "run")
    assert "the path of a recipe file" in refused("run", tmp_path / "none.py")
    assert "existing .keras file" in refused("export", tmp_path / "none.keras")
    assert "existing .npz file" in refused("export", model, "--evaluation-data", tmp_path / "none.npz")
    assert "evaluation_data" in refused("export", model)
    assert "calibration_data" in refused("export", model, "--formats", "tflite_int8", "--evaluation-data", arrays)
    assert "Did you mean 'tflite'?" in refused("export", model, "--formats", "tflit", "--evaluation-data", arrays)
    assert "--seeds" in refused("run", "digits", "--seeds", 0)
    assert {entry.name for entry in tmp_path.iterdir()} == {"student.keras", "data.npz"}


def test_a_foreign_folder_is_refused(tmp_path):
    (tmp_path / "letter.txt").write_text("mine")
    assert "of an earlier run" in refused("run", "digits", "--quick", "--directory", tmp_path)
    assert [entry.name for entry in tmp_path.iterdir()] == ["letter.txt"]


def test_pickles_and_nameless_arrays_are_refused(tmp_path, model):
    pickled, nameless, broken = (tmp_path / f"{name}.npz" for name in ("pickled", "nameless", "broken"))
    np.savez(pickled, x=np.array([{"a": 1}], dtype=object))
    np.savez(nameless, X)
    broken.write_text("no zip")
    assert "without pickles" in refused("export", model, "--evaluation-data", pickled)
    assert "an array named x. Received: arr_0" in refused("export", model, "--evaluation-data", nameless)
    assert "without pickles" in refused("export", model, "--evaluation-data", broken)


def test_models_that_hold_code_are_refused(tmp_path, arrays):
    path = tmp_path / "code.keras"
    layers = [keras.Input((8, 8, 1)), keras.layers.Lambda(lambda x: x * 2.0), keras.layers.Flatten()]
    keras.Sequential([*layers, keras.layers.Dense(10)]).save(path)
    assert "loads in safe mode" in refused("export", path, "--evaluation-data", arrays)


@pytest.mark.slow
def test_export_writes_verified_files(tmp_path, model, arrays):
    out = tmp_path / "exported"
    result = invoke("export", model, "--formats", "saved_model,tflite", "--evaluation-data", arrays, "--directory", out)
    assert result.exit_code == 0, result.output
    assert result.output.count("✓ passed") == 2
    assert {"saved_model", "student.tflite"} <= {entry.name for entry in out.iterdir()}


@pytest.mark.slow
def test_export_takes_the_student_of_a_distiller(tmp_path, arrays):
    layers = [keras.Input((8, 8, 1)), keras.layers.Flatten()]
    teacher = keras.Sequential([*layers, keras.layers.Dense(10)])
    student = keras.Sequential([*layers, keras.layers.Dense(10, name="small")], name="small_one")
    Distiller(teacher, student, LogitsDistillation()).save(tmp_path / "distiller.keras")
    result = invoke("export", tmp_path / "distiller.keras", "--formats", "saved_model", "--evaluation-data", arrays)
    assert result.exit_code == 0, result.output
    assert json.loads((tmp_path / "distiller" / "export.json").read_text())["student"]["name"] == "small_one"


@pytest.mark.slow
def test_a_quick_demo_explains_runs_and_writes(tmp_path, determinism):
    out = tmp_path / "demo"
    result = invoke("demo", "--quick", "--seeds", 1, "--directory", out)
    assert result.exit_code == 0, result.output
    for words in ("Knowledge distillation", "student distilled", "tflite_int8", "tensorboard --logdir", "Next:"):
        assert words in result.output
    results = json.loads((out / "results.json").read_text())
    assert results["quick"] is True
    assert determinism == [True, 2]  # Or the figures would not come back when it is run again.
    assert results["recipe"] == "digits"
    assert results["export"]["passed"] is True


def test_a_file_that_does_not_pass_is_1(tmp_path, monkeypatch):
    def run(recipe, directory, **options):
        assert recipe.teacher_epochs == recipe.student_epochs == 1
        assert directory == "runs/digits"
        failed = {**FILE, "status": "failed: no such operator"}
        return recipes.RunResult(tmp_path, make_results(alone=(0.5,), distilled=(0.6,), files=[failed]))

    monkeypatch.setattr("keras_distill.recipes.run", run)
    result = invoke("run", "digits", "--epochs", 1)
    assert result.exit_code == 1
    assert "a gain of 10.00 points" in result.output and "failed: no such operator" in result.output
