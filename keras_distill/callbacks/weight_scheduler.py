"""Moving the weight of a loss while the student learns: the hard labels' share, or one of the soft terms."""

import math

from keras_distill._core.checks import check_number
from keras_distill._core.messages import expected, unknown_name
from keras_distill.callbacks._scheduler import Scheduler

_HARD = "student_loss"


class WeightScheduler(Scheduler):
    """Set the weight of one loss of a `Distiller` by a schedule.

    Of `"student_loss"` it is the share w of the hard labels, from 0.0 to 1.0, which leaves 1 - w to the soft terms; of
    a distillation loss the factor of that one among them, 0.0 or more. Several callbacks move several weights.

    Positions, and schedules that have an argument `logs`, are as in `TemperatureScheduler`: a training that is resumed
    goes on where it stopped.

    Args:
        schedule: Function position -> weight, such as those of `keras_distill.schedules` and of
            `keras.optimizers.schedules`; or (position, logs) -> weight or `None`.
        loss: `"student_loss"`, or the name of a distillation loss, as in the logs. Defaults to `"student_loss"`.
        unit: What a position counts, `"epoch"` or `"step"` (a training step; with `steps_per_execution` above 1, the
            weight moves once per execution). Defaults to `"epoch"`.

    Raises:
        ValueError: If the schedule cannot be called, the unit is not known, the model is no `Distiller` or has no such
            loss or, in training, the schedule returns a weight out of range.

    Example:

    >>> import keras_distill as kd
    >>> schedule = kd.schedules.warmup(0.5, start=0.0, steps=5)  # Soft targets alone to begin with.
    >>> balance = kd.callbacks.WeightScheduler(schedule)

    and then `distiller.fit(..., callbacks=[balance])`.
    """

    def __init__(self, schedule, loss=_HARD, unit="epoch"):
        super().__init__(schedule, unit)
        self.loss = loss

    def on_train_begin(self, logs=None):
        objective = getattr(self.model, "objective", None)
        if objective is None:
            fix = "It belongs in the callbacks of Distiller.fit."
            raise ValueError(expected("a Distiller", type(self.model).__name__, fix))
        if self.loss not in (_HARD, *objective.names):
            raise ValueError(unknown_name("loss", self.loss, [_HARD, *objective.names]))

    def set_value(self, value, source):
        """Set the weight of the loss."""
        hard = self.loss == _HARD
        value = check_number(f"the weight of {self.loss!r} {source}", value, 0.0, 1.0 if hard else math.inf)
        if hard:
            self.model.student_loss_weight = value
        else:
            objective = self.model.objective
            objective.loss_weights[objective.names.index(self.loss)].assign(value)
