"""Reading a run's folder for a page: all of it, or what is wrong with it."""

import dataclasses
import numbers
import pathlib
import zipfile
import zlib

import numpy as np

from keras_distill._core.messages import expected
from keras_distill.recipes.folder import PREDICTIONS, RESULTS, read_results

_FIGURE, _OBJECT_OR_NONE = (numbers.Real, type(None)), (dict, type(None))
_RESULTS = {
    "recipe": str,
    "summary": str,
    "quick": bool,
    "settings": dict,
    "seeds": list,
    "samples": dict,
    "class_names": list,
    "command": list,
    "date": str,
    "versions": dict,
    "exported_seed": int,
    "teacher": dict,
    "student": dict,
    "alone": list,
    "distilled": list,
    "export": dict,
    "machine": _OBJECT_OR_NONE,
}
_SAMPLES = dict.fromkeys(("train", "validation", "test", "transfer_set"), int)
_COST = {"parameters": int, "bytes": int, "latency_us": numbers.Real}
_TRAINING = {
    "history": dict,
    "best_epoch": int,
    "seconds": numbers.Real,
    "validation_accuracy": numbers.Real,
    "test_accuracy": numbers.Real,
    "agreement": numbers.Real,
}
_FILE = {
    "format": str,
    "status": str,
    **dict.fromkeys(("bytes", "accuracy", "agreement", "max_difference", "latency_us"), _FIGURE),
}
_KINDS = {
    str: "a text",
    bool: "true or false",
    dict: "an object",
    list: "a list",
    int: "a whole number",
    numbers.Real: "a number",
    _FIGURE: "a number or null",
    _OBJECT_OR_NONE: "an object or null",
}
# What `numpy.load` raises of a file that is cut short, overwritten or no archive at all.
_DAMAGE = (OSError, ValueError, EOFError, KeyError, MemoryError, zipfile.BadZipFile, zlib.error)


@dataclasses.dataclass(frozen=True)
class Run:
    """Hold what a run's folder says.

    Attributes:
        folder: The folder, a `pathlib.Path`.
        results: What its `results.json` holds, a dict.
        predictions: The arrays of its `predictions.npz`, a dict; `None` in the folder of a run older than that file.
    """

    folder: pathlib.Path
    results: dict
    predictions: dict | None

    @property
    def exported(self):
        """Position, among the seeds, of the distilled student that was exported."""
        return self.results["seeds"].index(self.results["exported_seed"])


def read(folder):
    """Read the folder of a finished run.

    Args:
        folder: str or path.

    Returns:
        A `Run`.

    Raises:
        FileNotFoundError: If it is no run's folder.
        ValueError: If the run has not finished, or its files are damaged or not of one run.
    """
    folder = pathlib.Path(folder).expanduser().resolve()
    results = read_results(folder)
    _check_results(results, folder / RESULTS)
    path = folder / PREDICTIONS
    if not path.exists():
        return Run(folder, results, None)
    predictions = _arrays(path)
    _check_predictions(predictions, results, path)
    return Run(folder, results, predictions)


def _check_results(results, path):
    _check_entries(results, _RESULTS, path)
    _check_entries(results["samples"], _SAMPLES, f"samples of {path}")
    _check_entries(results["export"], {"artifacts": list}, f"export of {path}")
    for way in ("teacher", "student"):
        _check_entries(results[way], _COST, f"{way} of {path}")
    for row in results["export"]["artifacts"]:
        _check_entries(row, _FILE, f"an artifact of {path}")
    for way in ("alone", "distilled"):
        if not results["seeds"] or len(results[way]) != len(results["seeds"]):
            raise ValueError(_damaged(path, f"a training of {way} for each seed", f"{len(results[way])} of them"))
    if results["exported_seed"] not in results["seeds"]:
        raise ValueError(_damaged(path, "exported_seed among the seeds", results["exported_seed"]))
    for name in ("command", "class_names"):
        if not all(isinstance(word, str) for word in results[name]):
            raise ValueError(_damaged(path, f"words as {name}", results[name]))
    for way in ("teacher", "alone", "distilled"):
        trainings = [results[way]] if way == "teacher" else results[way]
        for training in trainings:
            _check_entries(training, _TRAINING, f"{way} of {path}")
        _check_curves(trainings, way, path)


def _check_curves(trainings, way, path):
    """Refuse trainings of a model without curves, or with curves of several lengths."""
    for name in ("val_accuracy", "temperature") if way == "distilled" else ("val_accuracy",):
        curves = [training["history"].get(name) for training in trainings]
        whole = all(
            isinstance(curve, list) and all(isinstance(each, numbers.Real) for each in curve) for curve in curves
        )
        if not whole or not all(len(curve) == len(curves[0]) > 0 for curve in curves):
            raise ValueError(_damaged(path, f"numbers by epoch as {name} of {way}", repr(curves)[:80]))


def _check_entries(record, kinds, where):
    if not isinstance(record, dict):
        raise ValueError(_damaged(where, "an object", type(record).__name__))
    for name, kind in kinds.items():
        value = record.get(name)
        if not isinstance(value, kind) or isinstance(value, bool) and kind is not bool:
            raise ValueError(_damaged(where, f"{name}, {_KINDS[kind]}", repr(value)[:80]))


def _damaged(where, what, received):
    return expected(f"{where} to hold {what}", received, "The file is damaged, or of another version: run it again.")


def _arrays(path):
    """Return the arrays of a file; none of them may be a pickle, which could run code."""
    try:
        with np.load(path, allow_pickle=False) as held:
            return {name: held[name] for name in held.files}
    except _DAMAGE as error:
        raise ValueError(_damaged(path, "whole arrays without pickles", error)) from error


def _check_predictions(arrays, results, path):
    seeds, samples, classes = len(results["seeds"]), results["samples"]["test"], len(results["class_names"])
    shapes = {
        "y": (samples,),
        "teacher": (samples, classes),
        "alone": (seeds, samples, classes),
        "distilled": (seeds, samples, classes),
    }
    for name, shape in shapes.items():
        received = arrays[name].shape if name in arrays else "no such array"
        if received != shape:
            raise ValueError(_damaged(path, f"{name} of shape {shape}", received))
        kind = np.integer if name == "y" else np.floating
        if not np.issubdtype(arrays[name].dtype, kind):
            raise ValueError(_damaged(path, f"{name} of {kind.__name__} numbers", arrays[name].dtype))
    _check_range(arrays["y"], classes, f"labels y of {path}")
    farthest, x = (arrays.get(name, np.array(None)) for name in ("farthest", "x"))
    positions = farthest.ndim == 1 and np.issubdtype(farthest.dtype, np.integer)
    if not positions or x.shape[:1] != farthest.shape or not np.issubdtype(x.dtype, np.number):
        received = f"{farthest.dtype} {farthest.shape} and {x.dtype} {x.shape}"
        raise ValueError(_damaged(path, "positions `farthest`, and as many inputs x", received))
    _check_range(farthest, samples, f"positions `farthest` of {path}")
    _check_one_run(arrays, results, path)


def _check_range(numbers_, end, what):
    if len(numbers_) and (numbers_.min() < 0 or numbers_.max() >= end):
        received = f"from {numbers_.min()} to {numbers_.max()}"
        raise ValueError(expected(f"{what} from 0 to {end - 1}", received, "The file is damaged: run it again."))


def _check_one_run(arrays, results, path):
    """Refuse predictions that are not those of which `results.json` gives the accuracy."""
    outputs = {"teacher": arrays["teacher"][None], "alone": arrays["alone"], "distilled": arrays["distilled"]}
    for way, logits in outputs.items():
        trainings = [results[way]] if way == "teacher" else results[way]
        accuracies = np.mean(np.argmax(logits, axis=-1) == arrays["y"], axis=-1)
        recorded = [training["test_accuracy"] for training in trainings]
        if not np.allclose(accuracies, recorded, rtol=0.0, atol=1e-6):
            received = f"{', '.join(f'{accuracy:.4f}' for accuracy in accuracies)} for {way}"
            wanted = ", ".join(f"{accuracy:.4f}" for accuracy in recorded)
            raise ValueError(_damaged(path, f"outputs with the accuracies of {RESULTS}, {wanted}", received))
