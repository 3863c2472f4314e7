"""The definition of a recipe: everything that a run needs to know."""

import dataclasses
import math
from collections.abc import Callable, Mapping
from typing import Any

from keras_distill._core.checked import POSITIVE, checked
from keras_distill._core.checks import check_number, check_whole_number
from keras_distill._core.messages import expected

_FUNCTIONS = ("data", "teacher", "student", "temperature", "views")
_COUNTS = ("teacher_epochs", "student_epochs", "batch_size")


@checked(
    **dict.fromkeys((*_FUNCTIONS, *_COUNTS, "student_loss_weight"), Any),
    learning_rate=POSITIVE,
    shift=(0, math.inf),
    samples=(1, math.inf),
    transfer_samples=(1, math.inf),
)
@dataclasses.dataclass(frozen=True)
class Recipe:
    """Define the data, the teacher, the student, and how the student learns from the teacher.

    Attributes:
        name: Short name; also the name of the run's folder.
        summary: One line on what the recipe shows.
        data: Function `(data_dir, download)` that returns a `keras_distill.data.Data`.
        teacher: Function of no arguments that builds the teacher, which outputs logits.
        student: Function of no arguments that builds the student, which outputs logits.
        temperature: Function of the number of epochs that returns a schedule: epoch -> temperature.
        teacher_epochs: Number of epochs that the teacher is trained for.
        student_epochs: Number of epochs that each student is trained for, alone and distilled.
        student_loss_weight: Weight of the hard labels beside the soft targets, from 0 to 1. Defaults to 0.1.
        batch_size: Samples per batch. Defaults to 128.
        learning_rate: Initial learning rate of Adam, which decays to 0 along half a cosine. Defaults to 0.002.
        shift: Largest random shift of an image in pixels, in every training. Defaults to 0.
        flip: Whether to mirror half of the images, in every training. Defaults to `False`.
        samples: Number of training samples that the teacher learns from. Defaults to `None`, all of them.
        transfer_samples: Number of these samples in the transfer set, from which the students learn, alone and
            distilled. Defaults to `None`, all of them.
        views: Function `(x, y, batch_size, seed)` that returns a `tf.data.Dataset` of batches `(x, y)`, with labels as
            probabilities of shape `[batch, classes]`. Students learn from it, alone and distilled, in place of the
            shifted and mirrored images. Defaults to `None`.
        quick: Attributes that the quick form replaces.

    Raises:
        TypeError: If an attribute that should be a function is not callable.
        ValueError: If a number is out of range.
    """

    name: str
    summary: str
    data: Callable[[Any, bool], Any]
    teacher: Callable[[], Any]
    student: Callable[[], Any]
    temperature: Callable[[int], Callable[[int], float]]
    teacher_epochs: int
    student_epochs: int
    student_loss_weight: float = 0.1
    batch_size: int = 128
    learning_rate: float = 2e-3
    shift: int = 0
    flip: bool = False
    samples: int | None = None
    transfer_samples: int | None = None
    views: Callable[..., Any] | None = None
    quick: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    def __post_init__(self) -> None:
        for field in _FUNCTIONS:
            value = getattr(self, field)
            if not callable(value) and not (field == "views" and value is None):
                raise TypeError(expected(f"{field} to be a function", f"{field}={value!r}"))
        for field in _COUNTS:
            check_whole_number(field, getattr(self, field))
        check_number("student_loss_weight", self.student_loss_weight, 0.0, 1.0)

    def quickened(self) -> "Recipe":
        """Return the quick form, which takes seconds or minutes and reaches lower accuracies."""
        return dataclasses.replace(self, **self.quick)

    def settings(self) -> dict[str, Any]:
        """Return the attributes that are plain values, for the record of a run."""
        fields = (field.name for field in dataclasses.fields(self) if field.name not in (*_FUNCTIONS, "quick"))
        return {name: getattr(self, name) for name in fields}
