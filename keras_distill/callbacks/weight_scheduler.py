"""A schedule for the weight of a loss: the share of the hard labels, or one of the distillation losses."""

import math
from collections.abc import Callable
from typing import Any

from keras_distill._core.checked import checked
from keras_distill._core.checks import check_choice, check_number
from keras_distill._core.messages import expected
from keras_distill.callbacks.scheduler import Scheduler

_HARD = "student_loss"


class WeightScheduler(Scheduler):
    """Set the weight of one loss of a `Distiller` by a schedule.

    For `"student_loss"`, it is the share w of the hard labels, from 0.0 to 1.0, which leaves 1 - w to the soft targets.
    For a distillation loss, it is the factor of that loss among the distillation losses, 0.0 or more. Use several
    callbacks to schedule several weights.

    Positions, resumed trainings, and schedules with an argument `logs` work as in `TemperatureScheduler`.

    Args:
        schedule: Function of the position that returns a weight, such as those of `keras_distill.schedules` and
            `keras.optimizers.schedules`; or function of position and logs that returns a weight or `None`.
        loss: `"student_loss"`, or the name of a distillation loss in the logs. Defaults to `"student_loss"`.
        unit: Unit of the position, `"epoch"` or `"step"` (a training step; if `steps_per_execution` is above 1, the
            weight changes once per execution). Defaults to `"epoch"`.

    Raises:
        ValueError: If the schedule is not callable, the unit is unknown, the model is not a `Distiller` or has no such
            loss or, during training, the schedule returns a weight out of range.

    Example:

    >>> import keras_distill as kd
    >>> schedule = kd.schedules.warmup(0.5, start=0.0, steps=5)  # Begins with soft targets alone.
    >>> balance = kd.callbacks.WeightScheduler(schedule)

    and then `distiller.fit(..., callbacks=[balance])`.
    """

    @checked(schedule=Any, unit=Any)
    def __init__(self, schedule: Callable[..., Any], loss: str = _HARD, unit: str = "epoch"):
        super().__init__(schedule, unit)
        self.loss = loss

    def on_train_begin(self, logs: Any = None) -> None:
        objective = getattr(self.model, "objective", None)
        if objective is None:
            raise ValueError(expected("a Distiller", type(self.model).__name__, "Pass it to Distiller.fit."))
        check_choice("loss", self.loss, [_HARD, *objective.names])

    def set_value(self, value: Any, source: str) -> None:
        """Set the weight of the loss."""
        model: Any = self.model
        is_hard = self.loss == _HARD
        value = check_number(f"the weight of {self.loss!r} {source}", value, 0.0, 1.0 if is_hard else math.inf)
        if is_hard:
            model.student_loss_weight = value
        else:
            model.objective.loss_weights[model.objective.names.index(self.loss)].assign(value)
