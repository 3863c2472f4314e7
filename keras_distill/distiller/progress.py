"""Where a training is: the epoch and batch that an error names, and when to look whether a compiled step has failed."""

import contextlib
from typing import Any

import keras

_LOOKED_AT = 50


class StepWatch(keras.callbacks.Callback):
    """Follow the epochs and batches, and raise what a step compiled by XLA cannot.

    Reading the record of the steps waits for the device, so it is read after the first batch, after every 50 and
    before anything is made of an epoch. A failed step, and all after it, have changed nothing by then.
    """

    async_safe = True
    epoch: int | None = None
    _looked_at = 0

    def on_epoch_begin(self, epoch: Any, logs: Any = None) -> None:
        self.epoch, self._looked_at = epoch, -_LOOKED_AT
        self._model.begin_epoch()  # On JAX, reading Keras's property would sync the state of a running step.

    def on_train_batch_end(self, batch: Any, logs: Any = None) -> None:
        if batch - self._looked_at >= _LOOKED_AT:
            self._looked_at = batch
            self._model.raise_failed_step()

    def on_test_begin(self, logs: Any = None) -> None:
        self._model.raise_failed_step()
        self.epoch = None  # What fails from here on is a batch of the validation data.

    def on_epoch_end(self, epoch: Any, logs: Any = None) -> None:
        self._model.raise_failed_step()

    @contextlib.contextmanager
    def located(self) -> Any:
        """Add the batch and the epoch to an error about a number that is not finite."""
        try:
            yield
        except FloatingPointError as error:
            where = self._where()
            if where is None or not str(error).endswith("."):
                raise
            raise FloatingPointError(f"{str(error)[:-1]} in {where}.") from None

    def _where(self):
        if self.epoch is None:
            return None
        steps = self._model.completed_steps()
        epoch = f"epoch {self.epoch + 1}"
        return epoch if steps is None else f"batch {steps + 1} of {epoch}"
