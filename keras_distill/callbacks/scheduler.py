"""What the callbacks share that move a number of the distillation by a schedule."""

import keras

from keras_distill._core.messages import expected
from keras_distill.schedules.driven import takes_logs


class Scheduler(keras.callbacks.Callback):
    """Move a number of a `Distiller` by a schedule, at every epoch or every training step. Override `set_value`.

    Args:
        schedule: Function position -> value, or (position, logs) -> value or `None`.
        unit: What a position counts, `"epoch"` or `"step"`. Defaults to `"epoch"`.
    """

    def __init__(self, schedule, unit="epoch"):
        super().__init__()
        if not callable(schedule):
            raise ValueError(expected("a schedule, a function position -> value", f"schedule={schedule!r}"))
        if unit not in ("epoch", "step"):
            raise ValueError(expected("unit to be 'epoch' or 'step'", f"unit={unit!r}"))
        self.schedule = schedule
        self.unit = unit
        self._driven = takes_logs(schedule)

    def on_epoch_begin(self, epoch, logs=None):
        if self.unit == "epoch" and not self._driven:
            self._move()

    def on_train_batch_begin(self, batch, logs=None):
        if self.unit == "step" and not self._driven:
            self._move()

    # What was measured is at hand when its epoch is over: moved then, the number is saved with that epoch.
    def on_epoch_end(self, epoch, logs=None):
        if self.unit == "epoch" and self._driven:
            self._move(logs=logs)

    def on_train_batch_end(self, batch, logs=None):
        if self.unit == "step" and self._driven:
            self._move(logs=logs)

    def _move(self, **logs):
        count = self.model.epochs_trained if self.unit == "epoch" else self.model.optimizer.iterations
        position = int(count.numpy())  # As an int itself, a variable of several replicas is none.
        value = self.schedule(position, **logs)
        if value is None and self._driven:
            return
        # Keras's schedules return tensors.
        if hasattr(value, "dtype") and not getattr(value, "shape", ()):
            value = float(value)
        self.set_value(value, f"from the schedule at {self.unit} {position}")

    def set_value(self, value, source):
        """Check a value and give it to the model.

        Args:
            value: What the schedule returned.
            source: Where it comes from, for the message.
        """
        raise NotImplementedError(f"{type(self).__name__} must implement `set_value(value, source)`.")
