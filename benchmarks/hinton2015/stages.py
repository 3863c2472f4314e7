"""Train everything for one seed, and keep each net as soon as it is trained, so that an interrupted run resumes."""

import dataclasses
import json
import pathlib
import time

import keras
import numpy as np

import keras_distill as kd
from benchmarks.hinton2015 import training
from benchmarks.hinton2015.offsets import best_offset, errors
from benchmarks.teachers.cost import one_thread
from keras_distill._core.messages import expected

TEACHER = "teacher"


class Stages:
    """Train the nets of one seed, or take those that are kept.

    Args:
        data: A `kd.data.Data`; its test split is not looked at.
        settings: A `settings.Settings`.
        folder: Folder of this seed, a `pathlib.Path`.
        seed: Seed of everything.
    """

    def __init__(self, data, settings, folder, seed):
        self._data, self._settings, self._folder, self._seed = data, settings, folder, seed
        self._digits = data.train
        if settings.everything:
            self._digits = [np.concatenate(parts) for parts in zip(data.train, data.validation, strict=True)]

    def run(self):
        """Train what is not kept; tell each as it comes."""
        folder = self._folder
        folder.mkdir(parents=True, exist_ok=True)
        self._stage(TEACHER, lambda: training.teacher_of(*self._digits, self._settings.teacher, self._seed))
        store = self._targets()
        for name, student in self._settings.students().items():
            self._stage(name, lambda student=student: self._student(student, store), student.corrected)

    def _targets(self):
        path = self._folder / "targets"
        if (path / "manifest.json").exists():
            return kd.targets.open(path)
        return training.targets_of(kept_model(self._folder, TEACHER), self._digits[0], path)

    def _student(self, student, store):
        x, y = self._data.train if student.corrected else self._digits
        return training.student_of(student, x, y, self._seed, store)

    def _stage(self, name, train, corrected=()):
        record = self._folder / f"{file_name(name)}.json"
        if record.exists():
            return
        start = time.perf_counter()
        model = train()
        facts = {"seconds": time.perf_counter() - start}
        if corrected:
            logits, y = training.logits_of(model, self._data.validation[0]), self._data.validation[1]
            offset = best_offset(logits, y, corrected)
            found = {"errors": errors(logits, y), "corrected": errors(logits, y, corrected, offset)}
            facts |= {"offset": offset, "validation": found}
        model.save(record.with_suffix(".keras"))
        record.write_text(json.dumps(facts))  # Last: it says that the net is whole.
        print(f"seed {self._seed}  {name:20}{facts}", flush=True)


def claim(work, settings):
    """Note the settings in a work folder, or make sure that what it keeps was trained with the same.

    Raises:
        ValueError: If it was trained with others.
    """
    path = pathlib.Path(work) / "settings.json"
    text = json.dumps(dataclasses.asdict(settings), indent=1)
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    elif path.read_text() != text:
        raise ValueError(expected(f"the settings of {path}", "others", "Give each set of settings a work folder."))


def file_name(name):
    """Return the name of a net's files."""
    return name.replace(", ", "_").replace(" ", "_")


def kept_model(folder, name):
    """Load a net that is kept."""
    return keras.saving.load_model(folder / f"{file_name(name)}.keras")


def kept_record(folder, name):
    """Return the record of a training that is kept beside its net, or `None` before there is one."""
    path = folder / f"{file_name(name)}.json"
    return json.loads(path.read_text()) if path.exists() else None


def run_seed(data_dir, settings, work, seed):
    """Load the data in a process of its own, and train everything of one seed."""
    one_thread()
    data = kd.data.load("mnist", data_dir).first(settings.samples)
    Stages(data, settings, folder_of(work, seed), seed).run()


def folder_of(work, seed):
    """Return the folder of a seed."""
    return pathlib.Path(work) / f"seed-{seed}"
