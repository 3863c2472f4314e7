"""The results of a run, as the runner writes them to `results.json` and as the report reads them.

Each dataclass mirrors one object of the JSON: a field has the name of its key.
"""

import dataclasses
import numbers
from collections.abc import Sequence
from typing import Any

from keras_distill.recipes.records import Record, damaged

WAYS = ("teacher", "alone", "distilled")
"""The models of a run: the teacher, the student trained alone, the student distilled."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Samples(Record):
    """Number of samples in each split, and in the transfer set."""

    train: int
    validation: int
    test: int
    transfer_set: int


@dataclasses.dataclass(frozen=True, kw_only=True)
class Training(Record):
    """One training, up to its best epoch.

    Attributes:
        initial_weights: SHA-256 of the initial weights; `None` in files of versions that did not record it.
        history: Dict of a log's name to its values by epoch.
        best_epoch: Position of the epoch that was kept, the best one on the validation split.
        validation_accuracy: Accuracy on the validation split at that epoch.
        seconds: Duration of the training.
        test_accuracy: Accuracy on the test split.
        agreement: Share of test samples on which the model's top-1 answer is the teacher's.
    """

    initial_weights: str | None = None
    history: dict[str, list[float]]
    best_epoch: int
    validation_accuracy: float
    seconds: float
    test_accuracy: float
    agreement: float


@dataclasses.dataclass(frozen=True, kw_only=True)
class StudentTraining(Training):
    """The training of a student with one seed."""

    seed: int | None = None


@dataclasses.dataclass(frozen=True, kw_only=True)
class Cost(Record):
    """What a model costs.

    Attributes:
        parameters: Number of parameters.
        bytes: Size of the `.keras` file, without the state of an optimizer.
        latency_us: Median time of one sample as a TensorFlow graph, in microseconds.
    """

    parameters: int
    bytes: int
    latency_us: float


@dataclasses.dataclass(frozen=True, kw_only=True)
class TeacherTraining(Cost, Training):
    """The training of the teacher, and what the teacher costs."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class ExportedFile(Record):
    """What became of one format of the exported student.

    Attributes:
        format: Name of the format.
        status: `"passed"`, or why the file did not pass.
        path: Path of the file within the folder of the run; `None` unless it passed.
        bytes: Size of the file.
        accuracy: Accuracy on the test split.
        agreement: Share of test samples on which its top-1 answer is the student's.
        max_difference: Largest difference from the student's outputs.
        latency_us: Median time of one sample in the runtime of the file, in microseconds.
        samples: Number of samples that it was compared on.
        details: All other figures of `keras_distill.export.Artifact`, a dict.
    """

    format: str
    status: str
    path: str | None = None
    bytes: int | None = None
    accuracy: float | None = None
    agreement: float | None = None
    max_difference: float | None = None
    latency_us: float | None = None
    samples: int | None = None
    details: dict[str, Any] = dataclasses.field(default_factory=dict)

    @property
    def passed(self) -> bool:
        """Whether the file passed its verification."""
        return self.status == "passed"

    def to_json(self) -> dict[str, Any]:
        record = super().to_json()
        details = record.pop("details")
        return {**record, **details}

    @classmethod
    def from_json(cls, record: Any, where: object) -> "ExportedFile":
        names = {field.name for field in dataclasses.fields(cls)} - {"details"}
        others = (
            {name: value for name, value in record.items() if name not in names} if isinstance(record, dict) else {}
        )
        return dataclasses.replace(super().from_json(record, where), details=others)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Export(Record):
    """The export of the best distilled student: its folder within that of the run, and its files."""

    path: str | None = None
    missing_targets: list[str] = dataclasses.field(default_factory=list)
    artifacts: list[ExportedFile]

    @property
    def passed(self) -> bool:
        """Whether every format passed, and every target has a file."""
        return all(file.passed for file in self.artifacts) and not self.missing_targets

    def to_json(self) -> dict[str, Any]:
        return {**super().to_json(), "passed": self.passed}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Results(Record):
    """Everything that a run found.

    Attributes:
        recipe: Name of the recipe.
        summary: The recipe's summary.
        quick: Whether this was the recipe's quick form.
        settings: Dict of the recipe's plain attributes.
        seeds: Seeds of the students, in order.
        samples: Number of samples.
        class_names: Names of the classes, in order.
        command: The command line of the process, word by word.
        date: Date and time of the run in ISO 8601.
        versions: Dict of a package to its version, or `None` where it is not installed.
        machine: Dict of facts on the machine; `None` in files of versions that did not record it.
        teacher: The teacher's training and cost.
        alone: Trainings of the student on hard labels alone, by seed.
        distilled: Trainings of the distilled student, by seed.
        exported_seed: Seed of the distilled student that was exported.
        student: What a student costs.
        export: The exported files.
        seconds: Duration of the run; `None` in files of versions that did not record it.
    """

    recipe: str
    summary: str
    quick: bool
    settings: dict[str, Any]
    seeds: list[int]
    samples: Samples
    class_names: list[str]
    command: list[str]
    date: str
    versions: dict[str, str | None]
    machine: dict[str, Any] | None = None
    teacher: TeacherTraining
    alone: list[StudentTraining]
    distilled: list[StudentTraining]
    exported_seed: int
    student: Cost
    export: Export
    seconds: float | None = None

    @property
    def exported(self) -> int:
        """Position of the exported student among the seeds."""
        return self.seeds.index(self.exported_seed)

    def trainings(self, way: str) -> Sequence[Training]:
        """Return the trainings of one of `WAYS`: one of the teacher, one per seed of a student."""
        return [self.teacher] if way == "teacher" else getattr(self, way)

    def cost(self, way: str) -> Cost:
        """Return what a model of one of `WAYS` costs."""
        return self.teacher if way == "teacher" else self.student

    @classmethod
    def from_json(cls, record: Any, where: object) -> "Results":
        results = super().from_json(record, where)
        for way in WAYS[1:]:
            count = len(results.trainings(way))
            if count != len(results.seeds) or not count:
                raise ValueError(damaged(where, f"a training of {way} for each seed", f"{count} of them"))
        if results.exported_seed not in results.seeds:
            raise ValueError(damaged(where, "exported_seed among the seeds", results.exported_seed))
        for way in WAYS:
            for name in ("val_accuracy", "temperature") if way == "distilled" else ("val_accuracy",):
                _check_curves([training.history.get(name) for training in results.trainings(way)], name, way, where)
        return results


def _check_curves(curves: list[Any], name: str, way: str, where: object) -> None:
    """Raise a `ValueError` unless every training has a curve, and all curves have one length."""
    are_numbers = all(
        isinstance(curve, list) and all(isinstance(each, numbers.Real) for each in curve) for curve in curves
    )
    if not are_numbers or not all(len(curve) == len(curves[0]) > 0 for curve in curves):
        raise ValueError(damaged(where, f"numbers by epoch as {name} of {way}", repr(curves)[:80]))
