"""A teacher that runs: its answer, and the layers that losses compare, from one forward pass."""

from collections.abc import Sequence
from typing import Any

import keras

from keras_distill._core.models import run
from keras_distill.features.taps import FINAL_OUTPUT, FeatureExtractor
from keras_distill.teachers.base import Teacher


class RunningTeacher:
    """Answer a batch by running a model on it, in inference mode.

    Args:
        model: A `keras.Model`.
        layers: Keys of the layers to return as well, see `keras_distill.features.tap`. Defaults to none.
    """

    def __init__(self, model: keras.Model, layers: Sequence[str] = ()):
        self.model = model
        self.extractor = FeatureExtractor(model, layers, role="teacher") if layers else None

    def answer(self, x: Any, extras: dict | None = None) -> dict[str, Any]:
        """Answer a batch.

        Args:
            x: A batch of inputs.
            extras: Dict of what else the batch carries; not looked at. Defaults to `None`.

        Returns:
            A dict of `"final_output"` and, by key, the layers. The final output is what the model returns, a tensor or
            a nest; for a teacher of several models an `Answer`.
        """
        if self.extractor is None:
            return {FINAL_OUTPUT: self._answer(x)}
        if not isinstance(self.model, Teacher):
            return self.extractor(x, training=False)
        answers = []

        def logits(inputs: Any) -> Any:
            answers.append(self._answer(inputs))
            return keras.tree.map_structure(lambda answer: answer.logits, answers[-1])

        outputs = self.extractor(x, training=False, forward=logits)
        return {**outputs, FINAL_OUTPUT: answers[-1]}

    def _answer(self, x):
        return self.model.answer(x) if isinstance(self.model, Teacher) else run(self.model, x, training=False)
