"""A search finds the better value, logs it for TensorBoard, resumes where it stopped, and checks its arguments."""

import sys

import keras
import numpy as np
import pytest
import tensorflow as tf
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.hparams import plugin_data_pb2

import keras_distill as kd

SPACE = {"learning_rate": [1e-6, 3e-2], "student_loss_weight": 0.2}


def model(width):
    return keras.Sequential([keras.Input((8,)), keras.layers.Dense(width, activation="relu"), keras.layers.Dense(3)])


@pytest.fixture(scope="module")
def data():
    random = np.random.default_rng(0)
    x = random.normal(size=(256, 8)).astype("float32")
    return x, np.argmax(x @ random.normal(size=(8, 3)), axis=1)


@pytest.fixture(scope="module")
def build():
    keras.utils.set_random_seed(0)
    teacher = model(16)
    return lambda: kd.Distiller(teacher, model(8), kd.losses.LogitsDistillation(temperature=4.0))


def search(build, data, folder, **options):
    options = {"space": SPACE, "search": "random", "trials": 2, "epochs": 2, "batch_size": 64, **options}
    return kd.tuning.tune(build, data, data, directory=folder, **options)


@pytest.fixture(scope="module")
def found(build, data, tmp_path_factory):
    folder = tmp_path_factory.mktemp("tune") / "search"
    return folder, search(build, data, folder)


@pytest.mark.slow
def test_the_better_value_is_found(found, data):
    result = found[1]
    assert result.best == {"learning_rate": 0.03, "student_loss_weight": 0.2}
    assert [trial["values"]["learning_rate"] for trial in result.trials] == [0.03, 1e-6]
    assert result.trials[0]["score"] > result.trials[1]["score"] + 0.1
    assert f"val_accuracy={result.trials[0]['score']:.4f} at learning_rate=0.03" in repr(result)


def test_the_best_distiller_has_the_weights_that_were_scored(found, data):
    distiller = found[1].best_distiller()
    accuracy = np.mean(np.argmax(distiller.predict(data[0], verbose=0), axis=1) == data[1])
    assert accuracy == pytest.approx(found[1].trials[0]["score"], abs=1e-6)
    assert (distiller.student_loss_weight, float(distiller.optimizer.learning_rate)) == (0.2, pytest.approx(0.03))


def test_tensorboard_has_the_values_of_every_trial(found):
    folder, result = found
    for trial in result.trials:
        events = EventAccumulator(str(folder / "logs" / trial["id"] / "execution0")).Reload()
        content = events.summary_metadata["_hparams_/session_start_info"].plugin_data.content
        values = plugin_data_pb2.HParamsPluginData.FromString(content).session_start_info.hparams
        assert values["learning_rate"].number_value == trial["values"]["learning_rate"]


def test_a_search_resumes_where_it_stopped(found, build, data):
    folder, result = found
    trained = []
    again = search(build, data, folder, callbacks=[keras.callbacks.LambdaCallback(on_train_begin=trained.append)])
    assert (again.to_dict(), trained) == (result.to_dict(), [])


def test_another_search_is_refused_in_its_folder(found, build, data):
    with pytest.raises(FileExistsError, match="Expected a new folder, or one of this search"):
        search(build, data, found[0], space={"temperature": (1.0, 4.0)})


@pytest.fixture
def eager():
    """Run steps eagerly: so many short trials would spend all their time on tracing."""
    tf.config.run_functions_eagerly(True)
    yield
    tf.config.run_functions_eagerly(False)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:Even though the:UserWarning")
def test_hyperband_continues_with_the_better_trials(build, data, tmp_path, eager):
    space = {"learning_rate": (1e-5, 1e-1), "temperature": (1.0, 4.0)}
    result = search(build, data, tmp_path / "search", space=space, search="hyperband", epochs=3)
    at_the_end = [trial["score"] for trial in result.trials if trial["epochs"] == 3]
    assert 0 < len(at_the_end) < len(result.trials)
    assert result.trials[0]["epochs"] == 3


def test_a_search_without_a_finished_trial_fails(build, data, tmp_path):
    x = np.where(np.arange(8) == 0, 1e30, data[0])  # Its square overflows at any learning rate.
    with pytest.raises(ValueError, match="Expected at least one trial that finished. Received: 1 failed trials"):
        search(build, (x, data[1]), tmp_path / "search", space={"temperature": 1.0}, trials=1)


BAD = {
    "no distiller": (lambda build: {"build": lambda: model(4)}, "build to be a function of no arguments that returns"),
    "unknown search": (lambda build: {"search": "grid"}, "search to be one of bayesian, hyperband, random"),
    "no trials": (lambda build: {"trials": 0}, "trials to be a whole number >= 1"),
    "unknown knob": (lambda build: {"space": {"temprature": 1.0}}, "Did you mean 'temperature'"),
    "empty space": (lambda build: {"space": {}}, "space to be a dict of some of temperature, "),
    "range backwards": (lambda build: {"space": {"temperature": (4.0, 1.0)}}, r"temperature of the space to be \(low"),
    "temperature 0": (lambda build: {"space": {"temperature": [0.0, 1.0]}}, "finite and above 0"),
    "a weight above 1": (lambda build: {"space": {"student_loss_weight": (0.0, 2.0)}}, "finite and from 0 to 1"),
    "NaN": (lambda build: {"space": {"learning_rate": np.nan}}, "finite and above 0"),
}


@pytest.mark.parametrize("bad", BAD)
def test_bad_input(bad, build, data, tmp_path):
    options, message = BAD[bad][0](build), BAD[bad][1]
    with pytest.raises(ValueError, match=f"Expected .*{message}"):
        search(options.pop("build", build), data, tmp_path / "search", **options)
    assert not list(tmp_path.iterdir())


def test_an_error_that_every_trial_would_raise_ends_the_search(build, data, tmp_path):
    with pytest.raises(ValueError, match="Expected labels from 0 to 2"):
        search(build, (data[0], data[1] + 3), tmp_path / "search")


def test_without_keras_tuner(build, data, monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "keras_tuner", None)
    with pytest.raises(ImportError, match="^Expected KerasTuner, which searches.*Install it: pip install .keras-tuner"):
        search(build, data, tmp_path)
