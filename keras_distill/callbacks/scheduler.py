"""The base class of callbacks that schedule a number of the distillation."""

from collections.abc import Callable
from typing import Any

import keras

from keras_distill._core.checks import check_choice
from keras_distill._core.messages import expected
from keras_distill.schedules.driven import takes_logs


class Scheduler(keras.callbacks.Callback):
    """Set a number of a `Distiller` by a schedule, at every epoch or every training step. Override `set_value`.

    Args:
        schedule: Function of the position that returns a value, or function of position and logs that returns a value
            or `None`.
        unit: Unit of the position, `"epoch"` or `"step"`. Defaults to `"epoch"`.
    """

    def __init__(self, schedule: Callable[..., Any], unit: str = "epoch"):
        super().__init__()
        if not callable(schedule):
            raise ValueError(expected("a schedule, a function position -> value", f"schedule={schedule!r}"))
        self.schedule = schedule
        self.unit = check_choice("unit", unit, ("epoch", "step"))
        self._takes_logs = takes_logs(schedule)

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        if self.unit == "epoch" and not self._takes_logs:
            self._update()

    def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:
        if self.unit == "step" and not self._takes_logs:
            self._update()

    # The logs are complete at the end of an epoch; a number that is set then is saved with that epoch.
    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        if self.unit == "epoch" and self._takes_logs:
            self._update(logs=logs)

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        if self.unit == "step" and self._takes_logs:
            self._update(logs=logs)

    def _update(self, **logs):
        model: Any = self.model
        count = model.epochs_trained if self.unit == "epoch" else model.optimizer.iterations
        position = int(count.numpy())  # A variable of several replicas does not convert to an int itself.
        value = self.schedule(position, **logs)
        if value is None and self._takes_logs:
            return
        # Keras's schedules return tensors.
        if value is not None and hasattr(value, "dtype") and not getattr(value, "shape", ()):
            value = float(value)
        self.set_value(value, f"from the schedule at {self.unit} {position}")

    def set_value(self, value: Any, source: str) -> None:
        """Check a value and set it on the model.

        Args:
            value: What the schedule returned.
            source: Where the value comes from, for the message.
        """
        raise NotImplementedError(f"{type(self).__name__} must implement `set_value(value, source)`.")
