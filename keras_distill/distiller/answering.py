"""Where the teacher's answers come from: a model that runs, or a store whose answers the batches carry."""

from typing import Any

import keras

from keras_distill.distiller import stored
from keras_distill.features.taps import FINAL_OUTPUT
from keras_distill.targets.teacher import StoredTeacher
from keras_distill.teachers.running import RunningTeacher


class LiveAnswers:
    """Answers of a teacher that runs on every batch.

    Attributes:
        shapes: Dict of the layers that are asked for to their static shapes.
    """

    def __init__(self, teacher: keras.Model):
        self._teacher = teacher
        self._running = RunningTeacher(teacher)
        self.shapes: dict[str, Any] = {}

    def validate(self, loss: Any, student: keras.Model) -> None:
        """Raise a `ValueError` unless a loss can compare the teacher with a student."""
        loss.validate_model_compatibility(self._teacher, student)

    def ask_for(self, layers: list[str]) -> None:
        """Let every answer hold these layers too, by their keys."""
        self._running = RunningTeacher(self._teacher, layers)
        self.shapes = self.extractor.shapes if self.extractor else {}

    @property
    def extractor(self) -> Any:
        """The `FeatureExtractor` of the teacher, or `None` if no loss compares its layers."""
        return self._running.extractor

    def answer(self, x: Any, extras: dict | None) -> dict[str, Any]:
        """Return a dict of `"final_output"` and, by key, the layers."""
        return self._running.answer(x)


class StoredAnswers:
    """Answers of a teacher that was asked before: `store.join` has put them into the batches.

    Attributes:
        shapes: Dict of the stored layers to their static shapes.
    """

    def __init__(self, teacher: StoredTeacher):
        self._teacher = teacher
        self.shapes: dict[str, Any] = {FINAL_OUTPUT: tuple(teacher.outputs[0].shape), **teacher.features}

    def validate(self, loss: Any, student: keras.Model) -> None:
        """Raise a `ValueError` unless a loss finds what it compares in the store and in a student."""
        stored.validate(loss, self._teacher, student)

    extractor = None

    def ask_for(self, layers: list[str]) -> None:
        """Do nothing: what was stored is in every batch."""

    def answer(self, x: Any, extras: dict | None) -> dict[str, Any]:
        """Return a dict of `"final_output"` and, by key, the layers."""
        return {FINAL_OUTPUT: self._teacher.answer(x, extras), **self._teacher.layers_of(extras)}


def answers_of(teacher: keras.Model) -> LiveAnswers | StoredAnswers:
    """Return where the answers of a teacher come from."""
    return StoredAnswers(teacher) if isinstance(teacher, StoredTeacher) else LiveAnswers(teacher)
