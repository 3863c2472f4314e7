"""Results survive their way to JSON and back, in the format of `results.json`."""

import json
import pathlib

import pytest

from keras_distill.recipes import Results
from tests.run_results import FILE, make_results

KEYS = {
    "recipe", "summary", "quick", "settings", "seeds", "samples", "class_names", "command", "date", "versions",
    "machine", "teacher", "alone", "distilled", "exported_seed", "student", "export", "seconds",
}  # fmt: skip
TRAINING = {
    "initial_weights", "history", "best_epoch", "validation_accuracy", "seconds", "test_accuracy", "agreement",
}  # fmt: skip
COST = {"parameters", "bytes", "latency_us"}


def test_the_keys_are_those_of_the_format():
    held = make_results().to_json()
    assert set(held) == KEYS
    assert set(held["teacher"]) == TRAINING | COST
    assert set(held["alone"][0]) == set(held["distilled"][0]) == TRAINING | {"seed"}
    assert set(held["student"]) == COST
    assert set(held["export"]) == {"path", "passed", "missing_targets", "artifacts"}


def test_a_round_trip_changes_nothing():
    results = make_results()
    held = json.loads(json.dumps(results.to_json()))
    assert Results.from_json(held, "results.json") == results
    assert Results.from_json(held, "results.json").to_json() == held


def test_a_file_of_version_0_1_is_read_and_written_as_it_is():
    path = pathlib.Path(__file__).parents[1] / "compatibility" / "files" / "run" / "results.json"
    held = json.loads(path.read_text(encoding="utf-8"))
    assert {"producer": held["producer"], **Results.from_json(held, path).to_json()} == held


def test_other_figures_of_a_file_are_kept():
    details = {"operators": {"CONV_2D": 2}, "latency_range_us": [2.0, 4.0]}
    results = make_results(files=[{**FILE, **details}])
    assert results.export.artifacts[0].details == details
    assert results.to_json()["export"]["artifacts"][0]["operators"] == {"CONV_2D": 2}


def test_an_older_file_lacks_what_was_not_recorded_then():
    held = make_results().to_json()
    del held["machine"], held["seconds"], held["teacher"]["initial_weights"], held["export"]["path"]
    results = Results.from_json(held, "results.json")
    assert results.machine is results.seconds is results.teacher.initial_weights is results.export.path is None


@pytest.mark.parametrize(
    ("file", "targets", "passed"),
    [(FILE, [], True), ({**FILE, "status": "failed: no"}, [], False), (FILE, ["web"], False)],
)
def test_an_export_passes_if_all_files_do_and_no_target_is_missing(file, targets, passed):
    export = make_results(export={"artifacts": [file], "missing_targets": targets}).export
    assert export.passed is export.to_json()["passed"] is passed


def test_models_by_name():
    results = make_results()
    assert results.trainings("teacher") == [results.teacher]
    assert results.trainings("distilled") is results.distilled
    assert (results.cost("teacher").parameters, results.cost("alone").parameters) == (45000, 1200)
    assert results.exported == 1


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"seeds": "0"}, "results.json to hold seeds, a list. Received: '0'"),
        ({"samples": {"train": 1}}, "samples of results.json to hold validation, a whole number. Received: None"),
        ({"machine": 4}, "results.json to hold machine, an object or null. Received: 4"),
        ({"export": {"artifacts": [1]}}, "artifacts of export of results.json to hold an object. Received: int"),
    ],
)
def test_a_damaged_value_is_named(change, message):
    with pytest.raises(ValueError, match=f"^Expected {message}"):
        make_results(**change)
