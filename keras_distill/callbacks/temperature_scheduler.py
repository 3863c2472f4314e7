"""Moving the temperature while the student learns."""

from keras_distill._core.messages import expected
from keras_distill.callbacks._scheduler import Scheduler
from keras_distill.losses.logits.base import check_temperature


class TemperatureScheduler(Scheduler):
    """Set the temperature of a `Distiller` by a schedule.

    The position is the distiller's own count of epochs or training steps. It is saved with the distiller, so a
    schedule goes on where it stopped, after `BackupAndRestore` as after `load_model`.

    A schedule that has an argument `logs`, such as `keras_distill.schedules.driven` makes, is asked when an epoch (or
    a step) is over, with its logs, and may return `None` to stay. The temperature itself is what is saved of it: give
    such a callback before `BackupAndRestore` and `ModelCheckpoint`, so that they save what it has set.

    Args:
        schedule: Function position -> temperature, such as those of `keras_distill.schedules` and of
            `keras.optimizers.schedules`; or (position, logs) -> temperature or `None`.
        unit: What a position counts, `"epoch"` or `"step"` (a training step; with `steps_per_execution` above 1, the
            temperature moves once per execution). Defaults to `"epoch"`.

    Raises:
        ValueError: If the schedule cannot be called, the unit is not known, the model is no `Distiller` or, in
            training, the schedule returns a temperature that is not finite and positive.

    Example:

    >>> import keras_distill as kd
    >>> scheduler = kd.callbacks.TemperatureScheduler(kd.schedules.cosine(8.0, 1.0, steps=10))

    and then `distiller.fit(..., callbacks=[scheduler])`.
    """

    def on_train_begin(self, logs=None):
        if getattr(self.model, "temperature", None) is None:
            fix = "It belongs in the callbacks of Distiller.fit, with a loss such as LogitsDistillation."
            raise ValueError(expected("a Distiller with a temperature", f"{type(self.model).__name__}", fix))

    def set_value(self, value, source):
        """Set the temperature of every loss that has one."""
        self.model.temperature = check_temperature(value, source=f" {source}")
