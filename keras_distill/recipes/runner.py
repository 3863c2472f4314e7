"""Running a recipe: teacher, student alone, student distilled, the test split once, the files."""

import dataclasses
import datetime
import importlib.metadata
import os
import pathlib
import platform
import sys
import tempfile
import time

import keras
import numpy as np

from keras_distill._core.messages import expected, unknown_name
from keras_distill.distribution.strategies import is_chief
from keras_distill.export.exporter import export
from keras_distill.export.formats import FORMATS
from keras_distill.recipes import measuring, plots, tables
from keras_distill.recipes.folder import EXAMPLES, PREDICTIONS, RunFolder
from keras_distill.recipes.progress import Progress
from keras_distill.recipes.registry import load
from keras_distill.recipes.training import Trainer

_VERSIONS = ("keras_distill", "keras", "tensorflow", "numpy", "ai-edge-litert")


@dataclasses.dataclass(frozen=True)
class RunResult:
    """Hold what a run found.

    Attributes:
        folder: The run's folder, a `pathlib.Path`.
        results: What its `results.json` holds, a dict.
        plots: Paths of the plots, a tuple; empty where matplotlib is missing.
    """

    folder: pathlib.Path
    results: dict
    plots: tuple = ()

    @property
    def passed(self):
        """Whether every file asked for passed its verification."""
        return self.results["export"]["passed"]

    def __rich__(self):
        from rich.console import Group

        return Group(*tables.tables(self.results))


def run(
    recipe,
    out,
    seeds=(0, 1, 2),
    quick=False,
    data_dir=None,
    download=False,
    formats=("saved_model", "tflite", "tflite_int8"),
    progress=None,
    strategy=None,
):
    """Run a recipe and write everything it found to a folder.

    The teacher is trained once. Then, for every seed, the student is trained alone and distilled: from the same
    initial weights, on the same batches in the same order, for the same epochs. Epochs are chosen on the validation
    split; the test split is read at the end, once. The distilled student of the seed with the best validation
    accuracy is exported and every file verified.

    Args:
        recipe: A `Recipe`, the name of one, or the path of a file that defines one.
        out: Folder to write: new, empty, or of an earlier run, which is then replaced.
        seeds: Distinct seeds; the teacher takes the first. Defaults to `(0, 1, 2)`.
        quick: Whether to run the recipe's quick form. Defaults to `False`.
        data_dir: Folder of data sets prepared by TensorFlow Datasets. Defaults to `None`, its own.
        download: Whether data that is not there may be downloaded. Defaults to `False`.
        formats: Names of the formats to export. Defaults to `("saved_model", "tflite", "tflite_int8")`.
        progress: A `Progress` that watches. Defaults to `None`.
        strategy: A `tf.distribute.Strategy` to train under, see `keras_distill.distribution.strategy`. Of several
            workers the chief alone measures, exports and writes. Defaults to `None`, a single device.

    Returns:
        A `RunResult`; print it with rich for its tables. `None` on a worker other than the chief.

    Raises:
        ValueError: If recipe or format is unknown, or the seeds are not distinct whole numbers.
        ImportError: If a runtime that checks a format is missing.
        FileExistsError: If `out` holds something else than a run.
        FileNotFoundError: If data is not there and may not be downloaded.
    """
    recipe = _chosen(recipe, quick)
    seeds = _checked(seeds)
    _check_formats(formats)
    progress = progress or Progress()
    chief = strategy is None or is_chief(strategy)
    folder = RunFolder(out) if chief else None
    start = time.perf_counter()
    progress.stage("Data", f"Loading it, for the recipe {recipe.name!r}: {recipe.summary}")
    data = recipe.data(data_dir, download).first(recipe.samples)
    if not chief:
        with tempfile.TemporaryDirectory() as elsewhere:
            _train(recipe, data, seeds, pathlib.Path(elsewhere), progress, strategy)
        return None
    folder.begin()
    trained = _train(recipe, data, seeds, folder, progress, strategy)
    results = _facts(recipe, data, seeds, quick)
    _measure(results, trained, data, folder, formats, progress)
    results["seconds"] = time.perf_counter() - start
    folder.write_results(results)
    plots = _draw(folder, results, progress)
    folder.publish()
    return RunResult(folder.path, results, tuple(folder.path / "plots" / plot for plot in plots))


def _chosen(recipe, quick):
    recipe = recipe if hasattr(recipe, "quickened") else load(recipe)
    return recipe.quickened() if quick else recipe


def _checked(seeds):
    seeds = tuple(seeds)
    whole = all(isinstance(seed, int) and not isinstance(seed, bool) and seed >= 0 for seed in seeds)
    if not seeds or not whole or len(set(seeds)) != len(seeds):
        raise ValueError(expected("one or more distinct whole numbers as seeds", f"seeds={seeds!r}"))
    return seeds


def _check_formats(formats):
    """Refuse now what would be refused after all the training."""
    for name in formats:
        if name not in FORMATS:
            raise ValueError(unknown_name("format", name, FORMATS))
        FORMATS[name].require()
    if not formats:
        raise ValueError(expected(f"one or more formats of {', '.join(FORMATS)}", "none"))


def _train(recipe, data, seeds, folder, progress, strategy):
    """Return everything trained: `teacher`, and lists `alone` and `distilled` by seed."""
    trainer = Trainer(recipe, data, folder / "logs", progress, strategy)
    progress.stage(
        "Teacher",
        "A large network learns from the hard labels. Of its epochs, the best on the validation split is kept.",
    )
    teacher = trainer.teacher(seeds[0])
    _save(teacher.model, recipe.teacher(), folder / "teacher.keras")
    progress.stage(
        "Students",
        "A small network is trained twice from the same initial weights, on the same batches in the same order: alone, "
        "on the hard labels; then distilled, on the teacher's soft targets, which also say how alike the classes are. "
        f"Both see {_transfer_set(recipe, data):,} of the {len(data.train[1]):,} images that the teacher has seen.",
    )
    students = {"alone": [], "distilled": []}
    for seed in seeds:
        students["alone"].append(trainer.alone(seed))
        students["distilled"].append(trainer.distilled(seed, teacher.model))
    return {"teacher": teacher, **students}


def _save(model, fresh, path):
    """Write a model without the state of its optimizer, which would triple the file, through a `fresh` one."""
    fresh.set_weights(model.get_weights())
    fresh.save(path)


def _facts(recipe, data, seeds, quick):
    """Return what a reader needs to run it again."""
    return {
        "recipe": recipe.name,
        "summary": recipe.summary,
        "quick": quick,
        "settings": recipe.settings(),
        "seeds": list(seeds),
        "samples": {
            **{split: len(getattr(data, split)[1]) for split in ("train", "validation", "test")},
            "transfer_set": _transfer_set(recipe, data),
        },
        "class_names": list(data.class_names),
        "command": [pathlib.Path(sys.argv[0]).name, *sys.argv[1:]],
        "date": datetime.datetime.now().astimezone().isoformat(timespec="seconds"),
        "versions": {name: _version(name) for name in _VERSIONS},
        "machine": _machine(),
    }


def _machine():
    return {
        "python": platform.python_version(),
        "backend": keras.backend.backend(),
        "system": f"{platform.system()} {platform.machine()}",
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
    }


def _transfer_set(recipe, data):
    return recipe.transfer_samples or len(data.train[1])


def _version(name):
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def _measure(results, trained, data, folder, formats, progress):
    """Read the test split, once, now that nothing is left to choose; add the figures to `results`."""
    progress.stage("Test", "Every choice is made. Only now the test split is read, by every model, once.")
    test, teacher, students = data.test, trained["teacher"], {}
    teacher_logits = measuring.outputs(teacher.model, test)
    results["teacher"] = measuring.record(teacher, teacher_logits, teacher_logits, test)
    for way in ("alone", "distilled"):
        logits = [measuring.outputs(student.model, test) for student in trained[way]]
        results[way] = [
            {"seed": seed, **measuring.record(student, outputs, teacher_logits, test)}
            for seed, student, outputs in zip(results["seeds"], trained[way], logits, strict=True)
        ]
        students[way] = logits
    chosen = int(np.argmax([student.validation_accuracy for student in trained["distilled"]]))
    results["exported_seed"] = results["seeds"][chosen]
    shown = {way: logits[chosen] for way, logits in students.items()}
    np.savez_compressed(folder / EXAMPLES, **measuring.examples(test, teacher=teacher_logits, **shown))
    answers = measuring.predictions(test, teacher=teacher_logits, **students, exported=chosen)
    np.savez_compressed(folder / PREDICTIONS, **answers)
    _export(results, trained["distilled"][chosen].model, data, folder, formats, progress)


def _export(results, student, data, folder, formats, progress):
    progress.stage(
        "Export",
        "The distilled student of the seed with the best validation accuracy is written to files. Another runtime "
        "runs each file on the test split; a file that does not answer as the student does is not kept.",
    )
    student.save(folder / "student.keras")
    report = export(
        student,
        folder / "student",
        formats=formats,
        calibration_data=data.train[0],
        evaluation_data=data.test,
    )
    results["teacher"] |= measuring.cost(keras.saving.load_model(folder / "teacher.keras"), folder / "teacher.keras")
    results["student"] = measuring.cost(student, folder / "student.keras")
    results["export"] = _placed(report.to_dict(), folder)


def _placed(record, folder):
    """Return an export's record with paths within the run's folder, which is still to be moved into place."""
    for row in (record, *record["artifacts"]):
        if row["path"] is not None:
            row["path"] = pathlib.Path(row["path"]).relative_to(folder.partial).as_posix()
    return record


def _draw(folder, results, progress):
    """Draw the plots; return their names."""
    try:
        return plots.draw_all(results, folder / EXAMPLES, folder / "plots")
    except ImportError as error:
        progress.note(f"No plots: {error}")
        return ()
