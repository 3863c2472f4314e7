"""A schedule for the temperature of the distillation."""

from typing import Any

from keras_distill._core.checks import check_temperature
from keras_distill._core.messages import expected
from keras_distill.callbacks.scheduler import Scheduler


class TemperatureScheduler(Scheduler):
    """Set the temperature of a `Distiller` by a schedule.

    The position is the distiller's own count of epochs or training steps. It is saved with the distiller, so a
    schedule resumes where it stopped, both after `BackupAndRestore` and after `load_model`.

    A schedule with an argument `logs`, such as those of `keras_distill.schedules.driven`, is called at the end of an
    epoch (or a step) with its logs, and may return `None` to keep the temperature. Only the temperature itself is
    saved, so pass such a callback before `BackupAndRestore` and `ModelCheckpoint`: they then save what it has set.

    Args:
        schedule: Function of the position that returns a temperature, such as those of `keras_distill.schedules` and
            `keras.optimizers.schedules`; or function of position and logs that returns a temperature or `None`.
        unit: Unit of the position, `"epoch"` or `"step"` (a training step; if `steps_per_execution` is above 1, the
            temperature changes once per execution). Defaults to `"epoch"`.

    Raises:
        ValueError: If the schedule is not callable, the unit is unknown, the model is not a `Distiller` or, during
            training, the schedule returns a temperature that is not finite and positive.

    Example:

    >>> import keras_distill as kd
    >>> scheduler = kd.callbacks.TemperatureScheduler(kd.schedules.cosine(8.0, 1.0, steps=10))

    and then `distiller.fit(..., callbacks=[scheduler])`.
    """

    def on_train_begin(self, logs: Any = None) -> None:
        if getattr(self.model, "temperature", None) is None:
            fix = "Pass it to Distiller.fit, with a loss that has a temperature, such as LogitsDistillation."
            raise ValueError(expected("a Distiller with a temperature", f"{type(self.model).__name__}", fix))

    def set_value(self, value: Any, source: str) -> None:
        """Set the temperature of every loss that has one."""
        model: Any = self.model
        model.temperature = check_temperature(value, source=f" {source}")
