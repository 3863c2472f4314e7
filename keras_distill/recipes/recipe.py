"""What a recipe is: everything a run needs to know, in one frozen thing."""

import dataclasses
from collections.abc import Callable, Mapping

from keras_distill._core.messages import expected

_FUNCTIONS = ("data", "teacher", "student", "temperature", "views")
_COUNTS = ("teacher_epochs", "student_epochs", "batch_size")


@dataclasses.dataclass(frozen=True)
class Recipe:
    """Say which data, which teacher, which student and how the one teaches the other.

    Attributes:
        name: Short name; the run's folder is called so.
        summary: One line that says what it shows.
        data: Function `(data_dir, download)` that returns a `keras_distill.data.Data`.
        teacher: Function of no arguments that builds the teacher, with logits as its output.
        student: Function of no arguments that builds the student, with logits as its output.
        temperature: Function of the number of epochs that returns a schedule: epoch -> temperature.
        teacher_epochs: Epochs the teacher is trained.
        student_epochs: Epochs a student is trained, alone and distilled.
        student_loss_weight: Weight, from 0 to 1, of the hard labels beside the soft targets. Defaults to 0.1.
        batch_size: Samples per batch. Defaults to 128.
        learning_rate: First learning rate of Adam; it falls to 0 along half a cosine. Defaults to 0.002.
        shift: Largest random move of an image, in pixels, in every training. Defaults to 0.
        flip: Whether half of the images are mirrored, in every training. Defaults to `False`.
        samples: Training samples the teacher learns from. Defaults to `None`, all of them.
        transfer_samples: How many of these are the transfer set, which the students learn from, alone and distilled.
            Defaults to `None`, all of them.
        views: Function `(x, y, batch_size, seed)` that returns a `tf.data.Dataset` of batches `(x, y)` with labels as
            rows of shares `[batch, classes]`: what the students learn from, alone and distilled, in place of the
            images as they are, moved and mirrored. Defaults to `None`.
        quick: Attributes that replace these where a run has to be quick.

    Raises:
        TypeError: If a function is none.
        ValueError: If a number is not what it should be.
    """

    name: str
    summary: str
    data: Callable
    teacher: Callable
    student: Callable
    temperature: Callable
    teacher_epochs: int
    student_epochs: int
    student_loss_weight: float = 0.1
    batch_size: int = 128
    learning_rate: float = 2e-3
    shift: int = 0
    flip: bool = False
    samples: int | None = None
    transfer_samples: int | None = None
    views: Callable | None = None
    quick: Mapping = dataclasses.field(default_factory=dict)

    def __post_init__(self):
        for field in _FUNCTIONS:
            if not callable(getattr(self, field)) and not (field == "views" and self.views is None):
                raise TypeError(expected(f"{field} of a recipe to be a function", repr(getattr(self, field))))
        for field in _COUNTS:
            value = getattr(self, field)
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise ValueError(expected(f"{field} of a recipe to be a positive whole number", repr(value)))
        if not 0.0 <= self.student_loss_weight <= 1.0:
            raise ValueError(expected("student_loss_weight of a recipe from 0 to 1", repr(self.student_loss_weight)))

    def quickened(self):
        """Return the quick form: seconds or minutes instead of the whole time, and weaker figures."""
        return dataclasses.replace(self, **self.quick)

    def settings(self):
        """Return the attributes that are plain values, for the record of a run."""
        fields = (field.name for field in dataclasses.fields(self) if field.name not in (*_FUNCTIONS, "quick"))
        return {name: getattr(self, name) for name in fields}
