"""How version 0.1 asked for logits at a temperature: the tensors of some teachers carried a function with them."""

from typing import Any

from keras_distill._core import deprecation
from keras_distill._core.checked import checked
from keras_distill._core.messages import expected
from keras_distill.answers.answer import Answer, TemperedLogits


def with_temperatures(logits: Any, at_temperature: Any) -> TemperedLogits:
    """Return `TemperedLogits(logits, at_temperature)`. Deprecated."""
    deprecation.warn("keras_distill.teachers.with_temperatures", "keras_distill.answers.TemperedLogits")
    return TemperedLogits(logits, at_temperature)


@checked()
def at_temperature(outputs: Any, temperature: Any) -> Any:
    """Return `outputs.at(temperature)`. Deprecated.

    Raises:
        ValueError: If `outputs` is a tensor. A tensor holds the logits at T = 1 and nothing else.
    """
    deprecation.warn("keras_distill.teachers.at_temperature(outputs, T)", "teacher.answer(x).at(T)")
    if not isinstance(outputs, Answer):
        fix = "A tensor holds the logits at T = 1 alone: call `teacher.answer(x)` in place of `teacher(x)`."
        raise ValueError(expected("an Answer", type(outputs).__name__, fix))
    return outputs.at(temperature)
