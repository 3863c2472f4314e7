"""Running a recipe: train teacher and students, read the test split once, export the best student."""

import dataclasses
import datetime
import importlib.metadata
import os
import pathlib
import platform
import sys
import tempfile
import time
from collections.abc import Iterable, Sequence
from typing import Any

import keras
import numpy as np

from keras_distill._core.checked import checked
from keras_distill._core.checks import check_choice, check_items, check_whole_number
from keras_distill._core.deprecation import renamed_arguments
from keras_distill._core.messages import expected
from keras_distill.data import Data
from keras_distill.distribution import is_chief
from keras_distill.export import FORMATS, export
from keras_distill.recipes import measuring, plots, tables
from keras_distill.recipes.folder import EXAMPLES, PREDICTIONS, RunFolder
from keras_distill.recipes.progress import Progress
from keras_distill.recipes.recipe import Recipe
from keras_distill.recipes.registry import load
from keras_distill.recipes.results import WAYS, Export, Results, Samples, StudentTraining, TeacherTraining
from keras_distill.recipes.training import Trained, Trainer

_VERSIONS = ("keras_distill", "keras", "tensorflow", "numpy", "ai-edge-litert")


@dataclasses.dataclass(frozen=True)
class RunResult:
    """Hold what a run found.

    Attributes:
        folder: The run's folder, a `pathlib.Path`.
        record: The results, a `keras_distill.recipes.Results`.
        plots: Paths of the plots, a tuple; empty where matplotlib is missing.
    """

    folder: pathlib.Path
    record: Results
    plots: tuple[pathlib.Path, ...] = ()

    @property
    def results(self) -> dict[str, Any]:
        """The results as JSON types, as in `results.json`, a dict."""
        return self.record.to_json()

    @property
    def passed(self) -> bool:
        """Whether every requested file passed its verification."""
        return self.record.export.passed

    def __rich__(self) -> Any:
        from rich.console import Group

        return Group(*tables.build_tables(self.record))


@renamed_arguments(out="directory")
@checked(seeds=Any, formats=Any)
def run(
    recipe: Recipe | str | os.PathLike,
    directory: str | os.PathLike,
    seeds: Iterable[int] = (0, 1, 2),
    quick: bool = False,
    data_dir: str | os.PathLike | None = None,
    download: bool = False,
    formats: Sequence[str] = ("saved_model", "tflite", "tflite_int8"),
    progress: Progress | None = None,
    strategy: Any = None,
) -> RunResult | None:
    """Run a recipe and write everything that it finds to a folder.

    The teacher is trained once. Then, for every seed, the student is trained alone and distilled: from the same
    initial weights, on the same batches in the same order, for the same number of epochs. Epochs are chosen on the
    validation split; the test split is read once, at the end. The distilled student of the seed with the best
    validation accuracy is exported, and every file is verified.

    Args:
        recipe: A `Recipe`, the name of one, or the path of a file that defines one.
        directory: Folder to write: new, empty, or of an earlier run, which is then replaced.
        seeds: Distinct seeds; the teacher uses the first. Defaults to `(0, 1, 2)`.
        quick: Whether to run the recipe's quick form. Defaults to `False`.
        data_dir: Folder of data sets prepared by TensorFlow Datasets. Defaults to `None`, its own folder.
        download: Whether to download missing data. Defaults to `False`.
        formats: Names of the formats to export. Defaults to `("saved_model", "tflite", "tflite_int8")`.
        progress: A `Progress` that receives every stage and training. Defaults to `None`.
        strategy: A `tf.distribute.Strategy` to train under, see `keras_distill.distribution.strategy`. Of several
            workers, only the chief measures, exports and writes. Defaults to `None`, a single device.

    Returns:
        A `RunResult`; print it with rich for its tables. `None` on a worker other than the chief.

    Raises:
        ValueError: If recipe or format is unknown, or the seeds are not distinct whole numbers.
        ImportError: If a runtime that verifies a format is missing.
        FileExistsError: If `directory` holds anything other than a run.
        FileNotFoundError: If data is missing and may not be downloaded.
    """
    recipe = recipe if isinstance(recipe, Recipe) else load(recipe)
    recipe = recipe.quickened() if quick else recipe
    seeds = _check_seeds(seeds)
    _check_formats(formats)
    progress = progress or Progress()
    folder = RunFolder(directory) if strategy is None or is_chief(strategy) else None
    start = time.perf_counter()
    progress.stage("Data", f"Load the data of the recipe {recipe.name!r}: {recipe.summary}")
    data = recipe.data(data_dir, download).first(recipe.samples)
    if folder is None:
        with tempfile.TemporaryDirectory() as elsewhere:
            _train(recipe, data, seeds, pathlib.Path(elsewhere), progress, strategy)
        return None
    folder.begin()
    trained = _train(recipe, data, seeds, folder, progress, strategy)
    record = _measure(_facts(recipe, data, seeds, quick), trained, data, folder, formats, progress)
    record = dataclasses.replace(record, seconds=time.perf_counter() - start)
    folder.write_results(record.to_json())
    drawn = _draw(folder, record, progress)
    folder.publish()
    return RunResult(folder.path, record, tuple(folder.path / "plots" / name for name in drawn))


def _check_seeds(seeds: Iterable[int]) -> list[int]:
    seeds = check_items("seeds", seeds, "a list of whole numbers")
    checked = [check_whole_number("each seed", seed, low=0) for seed in seeds]
    if not checked or len(set(checked)) != len(checked):
        raise ValueError(expected("one or more distinct seeds", f"seeds={checked!r}"))
    return checked


def _check_formats(formats: Sequence[str]) -> None:
    """Refuse before the training what the export would refuse after it."""
    for name in check_items("formats", formats, "a list of names of formats"):
        FORMATS[check_choice("format", name, FORMATS)].require()
    if not formats:
        raise ValueError(expected(f"one or more formats of {', '.join(FORMATS)}", f"formats={formats!r}"))


def _train(
    recipe: Recipe, data: Data, seeds: list[int], folder: Any, progress: Progress, strategy: Any
) -> dict[str, list[Trained]]:
    """Return the trained models of each of `WAYS`: the teacher in a list of one, students by seed."""
    trainer = Trainer(recipe, data, folder / "logs", progress, strategy)
    progress.stage(
        "Teacher",
        "A large network learns from the hard labels. The best of its epochs on the validation split is kept.",
    )
    teacher = trainer.teacher(seeds[0])
    _save(teacher.model, recipe.teacher(), folder / "teacher.keras")
    progress.stage(
        "Students",
        "A small network is trained twice from the same initial weights, on the same batches in the same order: alone, "
        "on the hard labels; then distilled, on the teacher's soft targets, which also tell how alike the classes are. "
        f"Both see {_count_transfer_samples(recipe, data):,} of the {len(data.train[1]):,} images that the teacher has "
        "seen.",
    )
    trained: dict[str, list[Trained]] = {"teacher": [teacher], "alone": [], "distilled": []}
    for seed in seeds:
        trained["alone"].append(trainer.alone(seed))
        trained["distilled"].append(trainer.distilled(seed, teacher.model))
    return trained


def _save(model: keras.Model, fresh: keras.Model, path: pathlib.Path) -> None:
    """Write a model through a `fresh` one, without the state of its optimizer, which would triple the file."""
    fresh.set_weights(model.get_weights())
    fresh.save(path)


def _facts(recipe: Recipe, data: Data, seeds: list[int], quick: bool) -> dict[str, Any]:
    """Return the fields of `Results` that a reader needs to repeat the run."""
    sizes = {split: len(getattr(data, split)[1]) for split in ("train", "validation", "test")}
    return {
        "recipe": recipe.name,
        "summary": recipe.summary,
        "quick": quick,
        "settings": recipe.settings(),
        "seeds": seeds,
        "samples": Samples(**sizes, transfer_set=_count_transfer_samples(recipe, data)),
        "class_names": list(data.class_names),
        "command": [pathlib.Path(sys.argv[0]).name, *sys.argv[1:]],
        "date": datetime.datetime.now().astimezone().isoformat(timespec="seconds"),
        "versions": {name: _find_version(name) for name in _VERSIONS},
        "machine": _describe_machine(),
    }


def _describe_machine() -> dict[str, Any]:
    return {
        "python": platform.python_version(),
        "backend": keras.backend.backend(),
        "system": f"{platform.system()} {platform.machine()}",
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
    }


def _count_transfer_samples(recipe: Recipe, data: Data) -> int:
    return recipe.transfer_samples or len(data.train[1])


def _find_version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def _measure(
    facts: dict[str, Any],
    trained: dict[str, list[Trained]],
    data: Data,
    folder: RunFolder,
    formats: Sequence[str],
    progress: Progress,
) -> Results:
    """Read the test split, once, when all choices are made; export the best student; return the results."""
    progress.stage("Test", "All choices are made. Only now does every model read the test split, once.")
    test, seeds = data.test, facts["seeds"]
    logits = {way: [measuring.compute_outputs(each.model, test) for each in trained[way]] for way in WAYS}
    (teacher_logits,) = logits["teacher"]
    figures = {
        way: [
            measuring.measure_training(each, outputs, teacher_logits, test)
            for each, outputs in zip(trained[way], logits[way], strict=True)
        ]
        for way in WAYS
    }
    chosen = int(np.argmax([student.validation_accuracy for student in trained["distilled"]]))
    _save_arrays(folder, test, logits, chosen)
    student = trained["distilled"][chosen].model
    exported = _export(student, data, folder, formats, progress)
    cost = measuring.measure_cost(keras.saving.load_model(folder / "teacher.keras"), folder / "teacher.keras")
    students = {
        way: [StudentTraining(seed=seed, **each) for seed, each in zip(seeds, figures[way], strict=True)]
        for way in WAYS[1:]
    }
    return Results(
        **facts,
        teacher=TeacherTraining(**figures["teacher"][0], **cost.to_json()),
        alone=students["alone"],
        distilled=students["distilled"],
        exported_seed=seeds[chosen],
        student=measuring.measure_cost(student, folder / "student.keras"),
        export=exported,
    )


def _save_arrays(folder: RunFolder, test: tuple[Any, Any], logits: dict[str, list[np.ndarray]], chosen: int) -> None:
    """Write the examples for the plots, and the predictions for the report."""
    (teacher,), alone, distilled = (logits[way] for way in WAYS)
    examples: dict[str, Any] = measuring.pick_examples(test, teacher, alone[chosen], distilled[chosen])
    predictions: dict[str, Any] = measuring.gather_predictions(test, teacher, alone, distilled, exported=chosen)
    np.savez_compressed(folder / EXAMPLES, **examples)
    np.savez_compressed(folder / PREDICTIONS, **predictions)


def _export(student: keras.Model, data: Data, folder: RunFolder, formats: Sequence[str], progress: Progress) -> Export:
    progress.stage(
        "Export",
        "The distilled student of the seed with the best validation accuracy is exported. Another runtime runs each "
        "file on the test split; a file whose outputs differ from the student's is not kept.",
    )
    student.save(folder / "student.keras")
    report = export(
        student,
        folder / "student",
        formats=formats,
        calibration_data=data.train[0],
        evaluation_data=data.test,
    ).to_dict()
    for row in (report, *report["artifacts"]):
        if row["path"] is not None:  # Within the run's folder, which is moved into place later.
            row["path"] = pathlib.Path(row["path"]).relative_to(folder.partial).as_posix()
    return Export.from_json(report, "the report of the export")


def _draw(folder: RunFolder, record: Results, progress: Progress) -> tuple[str, ...]:
    """Draw the plots; return their names."""
    try:
        return plots.draw_all(record, folder / EXAMPLES, folder / "plots")
    except ImportError as error:
        progress.note(f"No plots: {error}")
        return ()
