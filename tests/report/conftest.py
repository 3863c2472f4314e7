"""Folders of runs written by hand: damage, unusual names and diverged trainings, without the cost of a real run."""

import json

import numpy as np
import pytest

COST = {"parameters": 1200, "bytes": 2048, "latency_us": 12.4}
NOTHING = dict.fromkeys(("bytes", "accuracy", "agreement", "max_difference", "latency_us", "path"))


def _training(logits, labels, teacher, **more):
    return {
        "history": {"val_accuracy": [0.5, 0.7], "temperature": [4.0, 2.0]},
        "best_epoch": 1,
        "seconds": 2.0,
        "validation_accuracy": 0.7,
        "test_accuracy": float(np.mean(logits.argmax(axis=-1) == labels)),
        "agreement": float(np.mean(logits.argmax(axis=-1) == teacher.argmax(axis=-1))),
        **more,
    }


def _file(name, **figures):
    known = {"bytes": 1024, "accuracy": 0.5, "agreement": 1.0, "max_difference": 1e-4, "latency_us": 3.2}
    return {"format": name, "status": "passed", **known, "samples": 40, "path": f"student/{name}", **figures}


def _predictions(names, shape, samples, seeds):
    generator = np.random.default_rng(3)
    labels = generator.integers(0, len(names), samples)
    right = 2.0 * np.eye(len(names), dtype="float32")[labels]
    noise = generator.normal(size=(1 + 2 * len(seeds), samples, len(names))).astype("float32")
    teacher, *students = right + noise
    pictures = {"farthest": np.array([3, 1]), "x": generator.random((2, *shape), "float32")}
    return {
        "y": labels,
        "teacher": teacher,
        "alone": np.stack(students[: len(seeds)]),
        "distilled": np.stack(students[len(seeds) :]),
        **pictures,
    }


def _results(names, arrays, seeds):
    labels, teacher = arrays["y"], arrays["teacher"]
    students = {
        way: [_training(logits, labels, teacher, seed=seed) for seed, logits in zip(seeds, arrays[way], strict=True)]
        for way in ("alone", "distilled")
    }
    return {
        "producer": "keras_distill run",
        "recipe": "mine",
        "summary": "animals; a small student.",
        "quick": False,
        "settings": {"name": "mine", "summary": "animals", "batch_size": 16, "flip": True, "samples": None},
        "seeds": list(seeds),
        "samples": {"train": 100, "validation": 20, "test": len(labels), "transfer_set": 50},
        "class_names": list(names),
        "command": ["keras-distill", "run", "my recipe.py"],
        "date": "2026-11-22T15:48:01+00:00",
        "versions": {"keras": "3.15.1", "ai-edge-litert": None},
        "machine": {"python": "3.11.7", "cores": 4},
        "teacher": _training(teacher, labels, teacher, **{**COST, "parameters": 45000, "bytes": 90000}),
        "student": COST,
        **students,
        "exported_seed": seeds[-1],
        "export": {
            "passed": False,
            "artifacts": [
                _file("tflite"),
                _file("tflite_int8", bytes=600, max_difference=float("nan")),
                _file("onnx", status="failed: no such <operator>", **NOTHING),
            ],
        },
    }


@pytest.fixture(scope="session")
def write_run():
    """Write the folder of a run; return its path.

    Arguments: the folder; the `names` of the classes; the `shape` of one input; the number of test `samples`; `seeds`;
    `spoil`, which changes the predictions before their accuracy is recorded; and `changes` of the results.
    """

    def write(folder, names=("cat", "dog", "hare"), shape=(6, 5, 1), samples=40, seeds=(0, 4), spoil=None, **changes):
        arrays = _predictions(names, shape, samples, seeds)
        if spoil is not None:
            spoil(arrays)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "results.json").write_text(json.dumps(_results(names, arrays, seeds) | changes), encoding="utf-8")
        np.savez(folder / "predictions.npz", **arrays)
        return folder

    return write


@pytest.fixture
def run_folder(tmp_path, write_run):
    """Write the folder of a run into a folder of the test; takes the arguments of `write_run`."""
    return lambda **options: write_run(tmp_path / "run", **options)
