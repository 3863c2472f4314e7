"""The space of a search: its knobs, their ranges and scales."""

import math
from collections.abc import Mapping
from typing import Any

from keras_distill._core.checks import check_choice
from keras_distill._core.messages import expected
from keras_distill.distiller import Distiller

LEARNING_RATE = "learning_rate"
TEMPERATURE = "temperature"
STUDENT_LOSS_WEIGHT = "student_loss_weight"
_LOWEST = {STUDENT_LOSS_WEIGHT: 0.0}
_HIGHEST = {STUDENT_LOSS_WEIGHT: 1.0}
_DEFAULTS = {TEMPERATURE: (1.0, 20.0), STUDENT_LOSS_WEIGHT: (0.0, 0.9), LEARNING_RATE: (3e-4, 1e-2)}


class Space:
    """Hold the ranges of a search, checked against a distiller.

    Args:
        ranges: Dict of knob to `(low, high)`, a list of choices, or one number; `None` for default ranges.
        distiller: A `Distiller` like those of the trials.

    Raises:
        ValueError: If a knob is unknown, or a range is invalid.
    """

    def __init__(self, ranges: Mapping[str, Any] | None, distiller: Distiller) -> None:
        knobs = _list_knobs(distiller)
        if ranges is None:
            ranges = {name: _DEFAULTS[name] for name in knobs if name in _DEFAULTS}
        if not isinstance(ranges, dict) or not ranges:
            raise ValueError(expected(f"space to be a dict of some of {', '.join(knobs)}", repr(ranges)))
        for name in ranges:
            check_choice("a knob of the space", name, knobs)
        self.ranges = {name: _check_range(name, choice) for name, choice in ranges.items()}

    def sample(self, hyperparameters: Any) -> dict[str, float]:
        """Return a value for each knob, a dict.

        Args:
            hyperparameters: A `keras_tuner.HyperParameters`.
        """
        return {name: _sample(hyperparameters, name, choice) for name, choice in self.ranges.items()}


def apply(values: Mapping[str, float], distiller: Distiller) -> None:
    """Set the values of a trial on a distiller, except the learning rate.

    Args:
        values: Dict of knob to value.
        distiller: A `Distiller`.
    """
    if TEMPERATURE in values:
        distiller.temperature = values[TEMPERATURE]
    if STUDENT_LOSS_WEIGHT in values:
        distiller.student_loss_weight = values[STUDENT_LOSS_WEIGHT]
    weights = zip(distiller.objective.names, distiller.distillation_loss_weights, strict=True)
    distiller.distillation_loss_weights = [values.get(f"{name}_weight", weight) for name, weight in weights]


def _list_knobs(distiller: Distiller) -> tuple[str, ...]:
    temperature = () if distiller.temperature is None else (TEMPERATURE,)
    return (*temperature, STUDENT_LOSS_WEIGHT, LEARNING_RATE, *(f"{name}_weight" for name in distiller.objective.names))


def _check_range(name: str, choice: Any) -> tuple[float, ...] | list[float]:
    values = list(choice) if isinstance(choice, (list, tuple)) else [choice]
    above = _LOWEST.get(name, 0.0 if name.endswith("_weight") else math.ulp(0.0))
    valid = [_is_number(value) and above <= value <= _HIGHEST.get(name, math.inf) for value in values]
    pair = isinstance(choice, tuple)
    if not values or not all(valid) or (pair and not (len(values) == 2 and values[0] < values[1])):
        allowed = "from 0 to 1" if name in _HIGHEST else "from 0" if above == 0.0 else "above 0"
        form = f"{name} of the space to be (low, high), a list of choices or one number, each finite and {allowed}"
        raise ValueError(expected(form, repr(choice)))
    return tuple(map(float, values)) if pair else list(map(float, values))


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def _sample(hyperparameters: Any, name: str, choice: tuple[float, ...] | list[float]) -> float:
    if isinstance(choice, list):
        return hyperparameters.Fixed(name, choice[0]) if len(choice) == 1 else hyperparameters.Choice(name, choice)
    low, high = choice
    # Ratios matter, except for a weight that balances two terms. A range that begins at 0 has no logarithmic scale.
    scale = "log" if low > 0.0 and name != STUDENT_LOSS_WEIGHT else "linear"
    return hyperparameters.Float(name, low, high, sampling=scale)
