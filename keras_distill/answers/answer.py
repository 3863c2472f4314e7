"""What a teacher answers about a batch: one value, whatever the teacher is and whatever temperature the loss has."""

import abc
from collections.abc import Callable
from typing import Any

import keras

from keras_distill._core.checked import checked

Tensor = Any
"""A tensor of Keras's backend, or what converts to one."""


class Answer(abc.ABC):
    """What a teacher answers about a batch.

    Its subclasses are `Logits` (one model), `TemperedLogits` (several models, which together answer differently at each
    temperature) and `TopK` (the largest classes of a stored answer). A loss asks for `answer.at(temperature)` and
    cannot tell whether the teacher ran or was stored.
    """

    @property
    @abc.abstractmethod
    def shape(self) -> tuple[int | None, ...]:
        """Static shape `(batch, ..., classes)` of the logits."""

    @abc.abstractmethod
    def at(self, temperature: Any) -> Any:
        """Return the logits of which `softmax(logits / T)` are the soft targets.

        Args:
            temperature: Positive number or scalar tensor T.

        Returns:
            Float tensor `[batch, ..., classes]`; a `TopK` returns itself, since it lacks the other classes.
        """


class Logits(Answer):
    """The logits of one model: the same at every temperature.

    Args:
        logits: Float tensor `[batch, ..., classes]`.

    Example:

    >>> import numpy as np
    >>> answer = Logits(np.ones((1, 3)))
    >>> answer.at(4.0) is answer.logits
    True
    """

    @checked(logits="[...]")
    def __init__(self, logits: Tensor):
        self.logits = logits

    @property
    def shape(self) -> tuple[int | None, ...]:
        return tuple(self.logits.shape)

    def at(self, temperature: Any) -> Tensor:
        return self.logits

    def map(self, function: Callable[[Tensor], Tensor]) -> "Logits":
        """Return the answer whose logits, at every temperature, are `function(logits)`."""
        return Logits(function(self.logits))

    def __repr__(self) -> str:
        return f"{type(self).__name__}(shape={self.shape})"


class TemperedLogits(Logits):
    """Logits that differ with the temperature.

    Where several models answer together, or classes are merged, the soft targets at a temperature T are not
    `softmax(logits / T)` of any one array of logits.

    Args:
        logits: Float tensor `[batch, ..., classes]`, those at T = 1.
        at_temperature: Function from a temperature T to logits `v` such that `softmax(v / T)` are the soft targets.

    Example:

    >>> import numpy as np
    >>> answer = TemperedLogits(np.ones((1, 3)), lambda temperature: temperature * np.ones((1, 3)))
    >>> answer.logits.tolist(), answer.at(4.0).tolist()
    ([[1.0, 1.0, 1.0]], [[4.0, 4.0, 4.0]])
    """

    @checked(logits="[...]")
    def __init__(self, logits: Tensor, at_temperature: Callable[[Any], Tensor]):
        super().__init__(logits)
        self._at_temperature = at_temperature

    def at(self, temperature: Any) -> Tensor:
        if isinstance(temperature, (int, float)) and temperature == 1.0:
            return self.logits
        return self._at_temperature(temperature)

    def map(self, function: Callable[[Tensor], Tensor]) -> "TemperedLogits":
        return TemperedLogits(function(self.logits), lambda temperature: function(self.at(temperature)))


def as_answer(output: Any) -> Answer:
    """Return what a model returned as an `Answer`: a tensor becomes `Logits`."""
    return output if isinstance(output, Answer) else Logits(output)


def as_answers(outputs: Any) -> Any:
    """Return a nest of outputs as a nest of `Answer`s."""
    return keras.tree.map_structure(as_answer, outputs)


def dense_logits(outputs: Any) -> list[Tensor]:
    """Return the logits at T = 1 of each output that holds those of all classes, a list: a `TopK` is left out."""
    answers = [as_answer(output) for output in keras.tree.flatten(outputs)]
    return [answer.logits for answer in answers if isinstance(answer, Logits)]
