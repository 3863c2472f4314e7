"""Compare candidates on the validation split: nets that never saw it, one seed, a table of errors.

The name of a candidate states how it differs from `Settings`. No candidate is evaluated on the test split.
"""

import json
import pathlib
import time

import keras_distill as kd
from benchmarks.hinton2015 import stages, training
from benchmarks.hinton2015.offsets import errors
from benchmarks.hinton2015.settings import DIGITS, Schedule, Student
from benchmarks.teachers.cost import one_thread

FILE = "choices.json"


def teachers(settings):
    """Return the teachers that are compared, a dict of name to schedule and arguments; the first one is the chosen."""
    heavy = {"dropout": (0.2, 0.5), "max_norm": 2.0}
    return {
        f"teacher, {_text(settings.teacher)}": (settings.teacher, {}),
        f"teacher, dropout 0.2 and 0.5, norm 2, {_text(Schedule(60))}": (Schedule(60), heavy),
    }


def students(settings):
    """Return the students that are compared, a dict of name to `Student`."""
    temperatures = {4.0: (40,), 8.0: (40, 60), 20.0: (20, 40, 80)}
    schedules = [(temperature, Schedule(count)) for temperature, counts in temperatures.items() for count in counts]
    found = {f"labels, {_text(settings.alone)}": Student(settings.alone)}
    for temperature, schedule in [*schedules, (20.0, Schedule(20, 3e-4)), (20.0, Schedule(20, 1e-3, 100))]:
        found[f"soft targets, T {temperature:g}, {_text(schedule)}"] = Student(schedule, temperature=temperature)
    short = Student(Schedule(20), temperature=20.0, hard_weight=0.1)
    found[f"soft targets and labels, 0.1, T 20, {_text(short.schedule)}"] = short
    for temperature in (8.0, 20.0):
        name = f"no 3, T {temperature:g}, {_text(Schedule(30))}"
        found[name] = Student(Schedule(30), temperature=temperature, digits=tuple({*DIGITS} - {3}))
    return found


def _text(schedule):
    return f"{schedule.epochs} epochs of batches of {schedule.batch_size} at {schedule.learning_rate:g}"


def choose(data_dir, settings, work, named=(), seed=0):
    """Train candidates on the training split, and write their errors on the validation split.

    Args:
        data_dir: Folder of prepared sets.
        settings: A `Settings`.
        work: Folder of what is kept; its `choices.json` gains a line with every net.
        named: Parts of names: candidates that have one of them. Defaults to all.
        seed: Seed of everything.
    """
    one_thread()
    data = kd.data.load("mnist", data_dir).first(settings.samples)
    folder = pathlib.Path(work) / "choices"
    folder.mkdir(parents=True, exist_ok=True)
    trials = _Trials(data, work, named)
    first, *others = teachers(settings).items()
    path = folder / f"{stages.TEACHER}.keras"
    if not path.exists():
        trials.teacher(*first, seed).save(path)
    for name, candidate in filter(trials.wanted, others):
        trials.teacher(name, candidate, seed)
    store = training.targets_of(stages.kept_model(folder, stages.TEACHER), data.train[0], folder / "targets")
    for name, candidate in filter(trials.wanted, students(settings).items()):
        trials.measure(name, lambda each=candidate: training.student_of(each, *data.train, seed, store))


class _Trials:
    """Train what is wanted, and write how it does on the validation split."""

    def __init__(self, data, work, named):
        self._data, self._work, self._named = data, pathlib.Path(work), named

    def wanted(self, item):
        name, _ = item
        return name not in kept(self._work) and (not self._named or any(part in name for part in self._named))

    def teacher(self, name, candidate, seed):
        schedule, arguments = candidate
        return self.measure(name, lambda: training.teacher_of(*self._data.train, schedule, seed, **arguments))

    def measure(self, name, train):
        start = time.perf_counter()
        model = train()
        seconds = time.perf_counter() - start
        x, y = self._data.validation
        row = {"errors": errors(training.logits_of(model, x), y), "of": len(y), "seconds": seconds}
        (self._work / FILE).write_text(json.dumps({**kept(self._work), name: row}, indent=1))
        print(f"{name:70}{row}", flush=True)
        return model


def kept(work):
    """Return what was measured so far, a dict of name to errors and seconds."""
    path = pathlib.Path(work) / FILE
    return json.loads(path.read_text()) if path.exists() else {}
