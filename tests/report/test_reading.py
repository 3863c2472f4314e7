"""Reading a run's folder: an undamaged folder is read; any other is refused with the reason, and nothing is written."""

import json

import numpy as np
import pytest

import keras_distill as kd
from keras_distill.report import reading


def changed(path, change):
    results = json.loads((path / "results.json").read_text())
    change(results)
    (path / "results.json").write_text(json.dumps(results))


def rewritten(path, change):
    with np.load(path / "predictions.npz") as held:
        arrays = dict(held)
    change(arrays)
    np.savez(path / "predictions.npz", **arrays)


def cut(path, name):
    content = (path / name).read_bytes()
    (path / name).write_bytes(content[: len(content) // 2])


RESULTS = {
    "cut short": (lambda path: cut(path, "results.json"), "where it is damaged"),
    "no text": (lambda path: (path / "results.json").write_bytes(b"\xff\xfe\x00"), "where it is damaged"),
    "nested": (lambda path: (path / "results.json").write_text("[" * 100_000), "where it is damaged"),
    "foreign": (lambda path: (path / "results.json").write_text("{}"), "of another origin"),
    "begun": (
        lambda path: (path / "results.json").write_text('{"producer": "keras_distill run"}'),
        "a run that is still running or was interrupted",
    ),
    "no teacher": (lambda path: changed(path, lambda held: held.pop("teacher")), "to hold teacher, an object"),
    "a text for a number": (
        lambda path: changed(path, lambda held: held["student"].update(bytes="many")),
        "to hold bytes, a whole number. Received: 'many'",
    ),
    "a flag for a number": (
        lambda path: changed(path, lambda held: held["alone"][0].update(seconds=True)),
        "to hold seconds, a number. Received: True",
    ),
    "a seed without training": (
        lambda path: changed(path, lambda held: held["alone"].pop()),
        "a training of alone for each seed. Received: 1",
    ),
    "a strange seed": (
        lambda path: changed(path, lambda held: held.update(exported_seed=7)),
        "exported_seed among the seeds. Received: 7",
    ),
    "no curve": (
        lambda path: changed(path, lambda held: held["distilled"][1]["history"].pop("temperature")),
        "numbers by epoch as temperature of distilled",
    ),
    "curves of two lengths": (
        lambda path: changed(path, lambda held: held["alone"][1]["history"]["val_accuracy"].pop()),
        "numbers by epoch as val_accuracy of alone",
    ),
    "no words": (lambda path: changed(path, lambda held: held.update(command=[1])), "words as command"),
    "a file's figure": (
        lambda path: changed(path, lambda held: held["export"]["artifacts"][0].update(bytes="1 kB")),
        "to hold bytes, a number or null",
    ),
}
PREDICTIONS = {
    "cut short": (lambda path: cut(path, "predictions.npz"), "whole arrays without pickles"),
    "no archive": (lambda path: (path / "predictions.npz").write_text("text"), "whole arrays without pickles"),
    "pickles": (
        lambda path: rewritten(path, lambda held: held.update(y=np.array([{}], dtype=object))),
        "whole arrays without pickles",
    ),
    "no teacher": (lambda path: rewritten(path, lambda held: held.pop("teacher")), "teacher of shape (40, 3)"),
    "a seed less": (
        lambda path: rewritten(path, lambda held: held.update(alone=held["alone"][:1])),
        "alone of shape (2, 40, 3). Received: (1, 40, 3)",
    ),
    "labels of no class": (
        lambda path: rewritten(path, lambda held: held.update(y=held["y"] + 1)),
        "from 0 to 2. Received: from 1 to 3",
    ),
    "labels in floats": (
        lambda path: rewritten(path, lambda held: held.update(y=held["y"] + 0.5)),
        "y of integer numbers. Received: float64",
    ),
    "positions outside": (
        lambda path: rewritten(path, lambda held: held.update(farthest=np.array([3, 40]))),
        "from 0 to 39. Received: from 3 to 40",
    ),
    "an input less": (
        lambda path: rewritten(path, lambda held: held.update(x=held["x"][:1])),
        "positions `farthest`, and as many inputs x",
    ),
    "inputs that are text": (
        lambda path: rewritten(path, lambda held: held.update(x=np.array(["a", "b"]))),
        "positions `farthest`, and as many inputs x",
    ),
    "another run's": (
        lambda path: rewritten(path, lambda held: held.update(distilled=-held["distilled"])),
        "outputs with the accuracies of results.json",
    ),
}


@pytest.mark.parametrize("damage, message", [*RESULTS.values(), *PREDICTIONS.values()], ids=[*RESULTS, *PREDICTIONS])
def test_damage_is_reported_and_nothing_is_written(run_folder, damage, message):
    path = run_folder()
    damage(path)
    before = sorted(entry.name for entry in path.iterdir())
    with pytest.raises(ValueError, match="^Expected ") as caught:
        kd.report.write(path)
    assert message in str(caught.value) and "Received: " in str(caught.value)
    assert sorted(entry.name for entry in path.iterdir()) == before


def test_an_unfinished_run_is_refused(run_folder):
    path = run_folder()
    partial = path.rename(path.with_name("run.partial"))
    with pytest.raises(ValueError, match="a run that is still running or was interrupted"):
        reading.read(partial)
    with pytest.raises(FileNotFoundError, match="run.partial beside it is still running or was interrupted"):
        reading.read(path)


def test_a_run_is_read_as_it_was_written(run_folder):
    run = reading.read(run_folder())
    assert run.results.recipe == "mine" and run.results.exported == 1
    assert {name: array.shape for name, array in run.predictions.items()} == {
        "y": (40,), "teacher": (40, 3), "alone": (2, 40, 3), "distilled": (2, 40, 3),
        "farthest": (2,), "x": (2, 6, 5, 1),
    }  # fmt: skip
