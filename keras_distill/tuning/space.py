"""What a search may choose: which knobs there are, from where to where, and on which scale."""

import math

from keras_distill._core.messages import expected, unknown_name

LEARNING_RATE = "learning_rate"
TEMPERATURE = "temperature"
STUDENT_LOSS_WEIGHT = "student_loss_weight"
_LOWEST = {STUDENT_LOSS_WEIGHT: 0.0}
_HIGHEST = {STUDENT_LOSS_WEIGHT: 1.0}
_DEFAULTS = {TEMPERATURE: (1.0, 20.0), STUDENT_LOSS_WEIGHT: (0.0, 0.9), LEARNING_RATE: (3e-4, 1e-2)}


class Space:
    """Hold the ranges of a search, checked against the distiller that they are for.

    Args:
        ranges: Dict of knob to `(low, high)`, a list of choices, or one number. `None` for the usual ones.
        distiller: A `Distiller` as the trials will have them.

    Raises:
        ValueError: If a knob is not known, or a range is none.
    """

    def __init__(self, ranges, distiller):
        knobs = _knobs(distiller)
        if ranges is None:
            ranges = {name: _DEFAULTS[name] for name in knobs if name in _DEFAULTS}
        if not isinstance(ranges, dict) or not ranges:
            raise ValueError(expected(f"space to be a dict of some of {', '.join(knobs)}", repr(ranges)))
        for name in ranges:
            if name not in knobs:
                raise ValueError(unknown_name("a knob of the space", name, knobs))
        self.ranges = {name: _checked(name, choice) for name, choice in ranges.items()}

    def sample(self, hyperparameters):
        """Return a value for each knob, a dict.

        Args:
            hyperparameters: A `keras_tuner.HyperParameters`.
        """
        return {name: _sample(hyperparameters, name, choice) for name, choice in self.ranges.items()}


def apply(values, distiller):
    """Give a distiller the values of a trial, all but the learning rate.

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


def _knobs(distiller):
    temperature = () if distiller.temperature is None else (TEMPERATURE,)
    return (*temperature, STUDENT_LOSS_WEIGHT, LEARNING_RATE, *(f"{name}_weight" for name in distiller.objective.names))


def _checked(name, choice):
    values = list(choice) if isinstance(choice, (list, tuple)) else [choice]
    above = _LOWEST.get(name, 0.0 if name.endswith("_weight") else math.ulp(0.0))
    valid = [_is_number(value) and above <= value <= _HIGHEST.get(name, math.inf) for value in values]
    pair = isinstance(choice, tuple)
    if not values or not all(valid) or (pair and not (len(values) == 2 and values[0] < values[1])):
        allowed = "from 0 to 1" if name in _HIGHEST else "from 0" if above == 0.0 else "above 0"
        wish = f"{name} of the space as (low, high), a list of choices or one number, each finite and {allowed}"
        raise ValueError(expected(wish, repr(choice)))
    return tuple(map(float, values)) if pair else list(map(float, values))


def _is_number(value):
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def _sample(hyperparameters, name, choice):
    if isinstance(choice, list):
        return hyperparameters.Fixed(name, choice[0]) if len(choice) == 1 else hyperparameters.Choice(name, choice)
    low, high = choice
    # From 1 to 2 is as long a way as from 10 to 20 for all but a balance, and but for a range that begins at 0.
    scale = "log" if low > 0.0 and name != STUDENT_LOSS_WEIGHT else "linear"
    return hyperparameters.Float(name, low, high, sampling=scale)
