"""Reading the folder of a run for a report, with a check of everything in it."""

import dataclasses
import os
import pathlib
import zipfile
import zlib

import numpy as np

from keras_distill._core.messages import expected
from keras_distill.recipes.folder import PREDICTIONS, RESULTS, read_results
from keras_distill.recipes.records import damaged
from keras_distill.recipes.results import WAYS, Results

# What `numpy.load` raises for a file that is cut short, overwritten, or not an archive.
_DAMAGE = (OSError, ValueError, EOFError, KeyError, MemoryError, zipfile.BadZipFile, zlib.error)


@dataclasses.dataclass(frozen=True)
class Run:
    """Hold the content of a run's folder.

    Attributes:
        folder: The folder, a `pathlib.Path`.
        results: The results in its `results.json`.
        predictions: Dict of the arrays of its `predictions.npz`; `None` in the folder of a run older than that file.
    """

    folder: pathlib.Path
    results: Results
    predictions: dict[str, np.ndarray] | None

    @property
    def outputs(self) -> dict[str, np.ndarray]:
        """Logits of each model's trainings on the test split, `[trainings, samples, classes]`; empty if unknown."""
        return {} if self.predictions is None else _stack_outputs(self.predictions)


def read(folder: str | os.PathLike) -> Run:
    """Read the folder of a finished run.

    Args:
        folder: Path of the folder.

    Returns:
        A `Run`.

    Raises:
        FileNotFoundError: If it is not the folder of a run.
        ValueError: If the run has not finished, or its files are damaged or belong to different runs.
    """
    folder = pathlib.Path(folder).expanduser().resolve()
    results = Results.from_json(read_results(folder), folder / RESULTS)
    path = folder / PREDICTIONS
    if not path.exists():
        return Run(folder, results, None)
    predictions = _read_arrays(path)
    _check_predictions(predictions, results, path)
    return Run(folder, results, predictions)


def _stack_outputs(arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    return {way: arrays[way][None] if way == "teacher" else arrays[way] for way in WAYS}


def _read_arrays(path: pathlib.Path) -> dict[str, np.ndarray]:
    """Return the arrays of a file; pickles are refused, since they could run code."""
    try:
        with np.load(path, allow_pickle=False) as held:
            return {name: held[name] for name in held.files}
    except _DAMAGE as error:
        raise ValueError(damaged(path, "whole arrays without pickles", error)) from error


def _check_predictions(arrays: dict[str, np.ndarray], results: Results, path: pathlib.Path) -> None:
    seeds, samples, classes = len(results.seeds), results.samples.test, len(results.class_names)
    shapes = {
        "y": (samples,),
        "teacher": (samples, classes),
        "alone": (seeds, samples, classes),
        "distilled": (seeds, samples, classes),
    }
    for name, shape in shapes.items():
        received = arrays[name].shape if name in arrays else "no such array"
        if received != shape:
            raise ValueError(damaged(path, f"{name} of shape {shape}", received))
        kind = np.integer if name == "y" else np.floating
        if not np.issubdtype(arrays[name].dtype, kind):
            raise ValueError(damaged(path, f"{name} of {kind.__name__} numbers", arrays[name].dtype))
    _check_range(arrays["y"], classes, f"labels y of {path}")
    farthest, x = (arrays.get(name, np.array(None)) for name in ("farthest", "x"))
    are_positions = farthest.ndim == 1 and np.issubdtype(farthest.dtype, np.integer)
    if not are_positions or x.shape[:1] != farthest.shape or not np.issubdtype(x.dtype, np.number):
        received = f"{farthest.dtype} {farthest.shape} and {x.dtype} {x.shape}"
        raise ValueError(damaged(path, "positions `farthest`, and as many inputs x", received))
    _check_range(farthest, samples, f"positions `farthest` of {path}")
    _check_accuracies(arrays, results, path)


def _check_range(values: np.ndarray, end: int, what: str) -> None:
    if len(values) and (values.min() < 0 or values.max() >= end):
        received = f"from {values.min()} to {values.max()}"
        raise ValueError(expected(f"{what} from 0 to {end - 1}", received, "The file is damaged: run it again."))


def _check_accuracies(arrays: dict[str, np.ndarray], results: Results, path: pathlib.Path) -> None:
    """Raise a `ValueError` if predictions do not have the accuracies in `results.json`, so belong to another run."""
    for way, logits in _stack_outputs(arrays).items():
        accuracies = np.mean(np.argmax(logits, axis=-1) == arrays["y"], axis=-1)
        recorded = [training.test_accuracy for training in results.trainings(way)]
        if not np.allclose(accuracies, recorded, rtol=0.0, atol=1e-6):
            received = f"{', '.join(f'{accuracy:.4f}' for accuracy in accuracies)} for {way}"
            wanted = ", ".join(f"{accuracy:.4f}" for accuracy in recorded)
            raise ValueError(damaged(path, f"outputs with the accuracies of {RESULTS}, {wanted}", received))
