"""Moving the temperature while the student learns."""

import keras

from keras_distill._messages import expected
from keras_distill.losses.logits import check_temperature


class TemperatureScheduler(keras.callbacks.Callback):
    """Set the temperature of a `Distiller` by a schedule.

    The position is the distiller's own count of epochs or training steps. It is saved with the distiller, so a
    schedule goes on where it stopped, after `BackupAndRestore` as after `load_model`.

    Args:
        schedule: Function position -> temperature, such as those of `keras_distill.schedules`.
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

    def __init__(self, schedule, unit="epoch"):
        super().__init__()
        if not callable(schedule):
            raise ValueError(expected("a schedule, a function position -> temperature", f"schedule={schedule!r}"))
        if unit not in ("epoch", "step"):
            raise ValueError(expected("unit to be 'epoch' or 'step'", f"unit={unit!r}"))
        self.schedule = schedule
        self.unit = unit

    def on_train_begin(self, logs=None):
        if getattr(self.model, "temperature", None) is None:
            fix = "It belongs in the callbacks of Distiller.fit, with a loss such as LogitsDistillation."
            raise ValueError(expected("a Distiller with a temperature", f"{type(self.model).__name__}", fix))

    def on_epoch_begin(self, epoch, logs=None):
        if self.unit == "epoch":
            self._set(int(self.model.epochs_trained))

    def on_train_batch_begin(self, batch, logs=None):
        if self.unit == "step":
            self._set(int(self.model.optimizer.iterations))

    def _set(self, position):
        value = self.schedule(position)
        self.model.temperature = check_temperature(value, source=f" from the schedule at {self.unit} {position}")
