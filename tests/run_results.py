"""Results of a run, written by hand for tests of tables, plots and figures."""

from keras_distill.recipes.results import Results

COST = {"parameters": 1200, "bytes": 2048, "latency_us": 12.4}
FILE = {
    "format": "tflite",
    "status": "passed",
    "accuracy": 0.9,
    "agreement": 1.0,
    "max_difference": 1e-4,
    "bytes": 1024,
    "latency_us": 3.0,
}


def training(accuracy, **more):
    """Return the record of a training with this accuracy on the test split."""
    history = {"val_accuracy": [0.5, accuracy], "temperature": [4.0, 2.0]}
    figures = {"best_epoch": 1, "seconds": 2.0, "validation_accuracy": accuracy, "agreement": accuracy}
    return {"history": history, "test_accuracy": accuracy, **figures, **more}


def make_results(alone=(0.90, 0.92), distilled=(0.94, 0.96), files=(FILE,), teacher=None, **changes):
    """Return `Results` with these accuracies by seed, these files, changes of the teacher, and changes of the rest."""
    students = {
        way: [training(accuracy, seed=seed) for seed, accuracy in enumerate(accuracies)]
        for way, accuracies in (("alone", alone), ("distilled", distilled))
    }
    record = {
        "recipe": "mine",
        "summary": "animals; a small student.",
        "quick": False,
        "settings": {"batch_size": 16},
        "seeds": list(range(len(alone))),
        "samples": {"train": 100, "validation": 20, "test": 300, "transfer_set": 50},
        "class_names": ["a", "b", "c"],
        "command": ["keras-distill", "run", "my_recipe.py"],
        "date": "2026-11-22T15:48:01+00:00",
        "versions": {"keras": "3.15.1"},
        "machine": {"cores": 4},
        "teacher": {**training(0.99), **COST, "parameters": 45000, **(teacher or {})},
        **students,
        "exported_seed": len(alone) - 1,
        "student": COST,
        "export": {"path": "student", "missing_targets": [], "artifacts": list(files)},
        "seconds": 12.5,
    }
    return Results.from_json(record | changes, "results.json")
