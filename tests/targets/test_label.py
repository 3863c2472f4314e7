"""`keras-distill label` with the teacher of a recipe and with a model."""

import keras
import numpy as np
import pytest
from click.testing import CliRunner

from keras_distill import recipes, targets
from keras_distill.cli import label


def invoke(*arguments):
    return CliRunner().invoke(label.command, list(map(str, arguments)))


def refused(*arguments):
    result = invoke(*arguments)
    assert result.exit_code == 2, result.output
    return " ".join(result.output.split())


@pytest.fixture
def model(tmp_path):
    path = tmp_path / "teacher.keras"
    keras.Sequential([keras.Input((8, 8, 1)), keras.layers.Flatten(), keras.layers.Dense(10)]).save(path)
    return path


@pytest.fixture
def arrays(tmp_path):
    path = tmp_path / "train.npz"
    generator = np.random.default_rng(0)
    np.savez(path, x=generator.random((50, 8, 8, 1), dtype="float32"), y=generator.integers(0, 10, 50))
    return path


def test_a_model_on_arrays(model, arrays, tmp_path):
    result = invoke(model, "--data", arrays, "--directory", tmp_path / "targets", "--top-k", 3, "--batch-size", 20)
    assert result.exit_code == 0, result.output
    for words in ("50 examples in 1 shards", "train.npz", "k 3", "targets.open"):
        assert words in result.output
    store = targets.open(tmp_path / "targets")
    x = np.load(arrays)["x"]
    exact = np.asarray(keras.saving.load_model(model)(x)).max(-1)
    np.testing.assert_allclose(store[:]["values"][:, 0], exact, rtol=1e-3)


def test_a_recipe_and_its_transfer_set(tmp_path):
    recipe = recipes.load("digits")
    recipe.teacher().save(tmp_path / "teacher.keras")
    result = invoke("digits", "--teacher-file", tmp_path / "teacher.keras", "--directory", tmp_path / "targets")
    assert result.exit_code == 0, result.output
    store, data = targets.open(tmp_path / "targets"), recipe.data().first(recipe.transfer_samples)
    assert store.class_names == list("0123456789")
    assert len(next(iter(store.join(data.train)))[3]["soft_targets"]["values"]) == 128


def test_a_model_on_tensorflow_datasets(tmp_path, shared):
    path = tmp_path / "teacher.keras"
    keras.Sequential([keras.Input((28, 28, 1)), keras.layers.Flatten(), keras.layers.Dense(10)]).save(path)
    options = ["--tfds", "mnist", "--split", "test[:300]", "--scale", 255, "--data-dir", shared / "data" / "tfds"]
    result = invoke(path, *options, "--directory", tmp_path / "targets", "--dtype", "int8")
    assert result.exit_code == 0, result.output
    told = targets.open(tmp_path / "targets").manifest
    assert told["dataset"]["name"] == "mnist/3.0.1/test[:300]"
    assert told["preprocessing"] == "float32, divided by 255"
    assert told["examples"] == 300


def test_users_errors_are_one_line_and_2(model, arrays, tmp_path):
    out = ("--directory", tmp_path / "targets")
    assert "Did you mean 'digits'?" in refused("digit", *out)
    assert "keras-distill run digits" in refused("digits", "--teacher-file", tmp_path / "none.keras", *out)
    assert "one of --data and --tfds" in refused(model, *out)
    assert "which does not exist" in refused(tmp_path / "none.keras", "--data", arrays, *out)
    assert "existing .npz file" in refused(model, "--data", tmp_path / "none.npz", *out)
    assert "top_k to be a whole number from 1 to 10" in refused(model, "--data", arrays, "--top-k", 11, *out)
    assert not (tmp_path / "targets" / "manifest.json").exists()
