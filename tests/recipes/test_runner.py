"""A run from end to end: fair, repeatable, and complete on disk."""

import json

import keras
import numpy as np
import pytest
import tensorflow as tf
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from keras_distill import data, recipes
from keras_distill.recipes.progress import Progress
from keras_distill.recipes.training import Trainer


def test_the_folder_holds_everything(quick_run):
    assert {entry.name for entry in quick_run.folder.iterdir()} == {
        "examples.npz", "logs", "plots", "predictions.npz", "results.json", "student", "student.keras", "teacher.keras",
    }  # fmt: skip
    held = json.loads((quick_run.folder / "results.json").read_text())
    assert held == {"producer": "keras_distill run", **quick_run.results}
    assert recipes.Results.from_json(held, "results.json") == quick_run.record


def test_both_students_of_a_seed_start_alike_and_seeds_differ(quick_run):
    alone, distilled = quick_run.results["alone"], quick_run.results["distilled"]
    assert [one["seed"] for one in alone] == [one["seed"] for one in distilled] == [0, 1]
    assert [one["initial_weights"] for one in alone] == [one["initial_weights"] for one in distilled]
    assert alone[0]["initial_weights"] != alone[1]["initial_weights"]


def test_trainings_begin_from_the_recorded_weights_and_see_the_same_batches(monkeypatch, quick_run, tmp_path):
    recipe, digits, seen = recipes.load("digits").quickened(), data.digits(), []

    class Stop(Exception):
        pass

    def fit(self, batches, *rest, **options):
        student = getattr(self, "student", self)
        seen.append((student.get_weights(), [batches[index][1].tolist() for index in range(len(batches))]))
        raise Stop

    monkeypatch.setattr(keras.Model, "fit", fit)
    trainer = Trainer(recipe, digits, tmp_path, Progress())
    for train in (lambda: trainer.alone(3), lambda: trainer.distilled(3, recipe.teacher())):
        with pytest.raises(Stop):
            train()
    (weights, batches), (other_weights, other_batches) = seen
    assert all(np.array_equal(one, other) for one, other in zip(weights, other_weights, strict=True))
    assert batches == other_batches


def test_figures_are_those_of_the_saved_models(quick_run):
    digits = data.digits()
    for name, record in (
        ("teacher", quick_run.results["teacher"]),
        (
            "student",
            next(one for one in quick_run.results["distilled"] if one["seed"] == quick_run.results["exported_seed"]),
        ),
    ):
        model = keras.saving.load_model(quick_run.folder / f"{name}.keras")
        for split in ("validation", "test"):
            x, y = getattr(digits, split)
            accuracy = np.mean(model.predict(x, verbose=0).argmax(axis=-1) == y)
            assert record[f"{split}_accuracy"] == pytest.approx(accuracy)


def test_accuracies_are_sane(quick_run):
    results = quick_run.results
    assert results["teacher"]["test_accuracy"] > 0.7
    for way in ("alone", "distilled"):
        for one in results[way]:
            assert 0.15 < one["test_accuracy"] <= 1.0
            assert 0.0 < one["agreement"] <= 1.0
            best = max(one["history"]["val_accuracy"])
            assert one["validation_accuracy"] == pytest.approx(best)
            assert one["history"]["val_accuracy"][one["best_epoch"]] == pytest.approx(best)


def test_every_file_passed(quick_run):
    assert quick_run.passed
    assert [row["format"] for row in quick_run.results["export"]["artifacts"]] == [
        "saved_model",
        "tflite",
        "tflite_int8",
    ]
    for row in quick_run.results["export"]["artifacts"]:
        assert row["samples"] == 300
        assert row["path"].startswith("student/")
        assert (quick_run.folder / row["path"]).exists()


def test_plots_are_images(quick_run):
    assert {plot.name for plot in quick_run.plots} == {
        "summary.png", "learning_curves.png", "temperature.png", "soft_targets.png",
    }  # fmt: skip
    for plot in quick_run.plots:
        assert plot.read_bytes().startswith(b"\x89PNG\r\n")
        assert plot.stat().st_size > 5_000


def test_tensorboard_reads_the_temperature(quick_run):
    results = quick_run.results
    events = EventAccumulator(str(quick_run.folder / "logs" / "student_distilled" / "seed_1" / "train")).Reload()
    temperatures = [float(tf.make_ndarray(event.tensor_proto)) for event in events.Tensors("epoch_temperature")]
    assert temperatures == pytest.approx(results["distilled"][1]["history"]["temperature"])
    assert temperatures[0] > temperatures[-1]
    assert {"epoch_loss", "epoch_distillation_loss", "epoch_student_loss"} <= set(events.Tags()["tensors"])


def test_examples_are_right_answers_of_distinct_classes(quick_run):
    with np.load(quick_run.folder / "examples.npz", allow_pickle=False) as examples:
        assert len(set(examples["y"])) == len(examples["y"]) == 4
        assert examples["teacher"].argmax(axis=-1).tolist() == examples["y"].tolist()


def test_predictions_are_those_of_the_saved_models_on_the_test_split(quick_run):
    results, (x, y) = quick_run.results, data.digits().test
    exported = results["seeds"].index(results["exported_seed"])
    with np.load(quick_run.folder / "predictions.npz", allow_pickle=False) as held:
        assert np.array_equal(held["y"], y)
        for name, logits in (("teacher", held["teacher"]), ("student", held["distilled"][exported])):
            model = keras.saving.load_model(quick_run.folder / f"{name}.keras")
            assert logits == pytest.approx(model.predict(x, verbose=0), abs=1e-4)
        for way in ("alone", "distilled"):
            accuracies = np.mean(held[way].argmax(axis=-1) == y, axis=-1)
            assert accuracies == pytest.approx([one["test_accuracy"] for one in results[way]])
        assert np.array_equal(held["x"], x[held["farthest"]]) and len(held["x"]) == 9


@pytest.mark.slow
def test_the_same_seeds_give_the_same_figures(quick_run, tmp_path):
    recipe = recipes.load("digits").quickened()
    trainer = Trainer(recipe, recipe.data().first(recipe.samples), tmp_path, Progress())
    teacher = trainer.teacher(0)
    for trained, first in (
        (teacher, quick_run.results["teacher"]),
        (trainer.alone(0), quick_run.results["alone"][0]),
        (trainer.distilled(0, teacher.model), quick_run.results["distilled"][0]),
    ):
        assert trained.initial_weights == first["initial_weights"]
        assert trained.history["loss"] == pytest.approx(first["history"]["loss"], rel=1e-4)


@pytest.mark.parametrize("seeds", [(), (0, 0), (-1,), (0.5,), (True,)])
def test_seeds_are_distinct_whole_numbers(seeds, tmp_path):
    with pytest.raises(ValueError, match="^Expected (one or more distinct seeds|each seed to be a whole number >= 0)"):
        recipes.run("digits", tmp_path / "run", seeds=seeds)
    assert not any(tmp_path.iterdir())


def test_formats_are_checked_before_anything_is_trained(tmp_path):
    with pytest.raises(ValueError, match="Did you mean 'tflite'"):
        recipes.run("digits", tmp_path / "run", formats=("tflit",))
    with pytest.raises(ValueError, match="one or more formats"):
        recipes.run("digits", tmp_path / "run", formats=())
    assert not any(tmp_path.iterdir())


@pytest.mark.slow
def test_mnist_runs_quickly(tmp_path, shared):
    result = recipes.run(
        "mnist", tmp_path / "mnist", seeds=(0,), quick=True, data_dir=shared / "data" / "tfds", formats=("tflite_int8",)
    )
    assert result.passed
    assert result.results["teacher"]["test_accuracy"] > 0.9
    assert result.results["distilled"][0]["test_accuracy"] > 0.8
