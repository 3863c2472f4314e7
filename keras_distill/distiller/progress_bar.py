"""A progress bar that stays on its line however many losses there are."""

from typing import Any

import keras

_ROOM = 8


class ProgressBar(keras.callbacks.ProgbarLogger):
    """Show of the logs what a person watches: Keras's bar, without `total_loss`, which is `loss` under another name.

    Where more than eight values are left, each distillation loss and the temperatures beyond the first are left out
    too, validation's before training's. History, TensorBoard and every other callback have them all.
    """

    async_safe = True

    def on_train_batch_end(self, batch: Any, logs: Any = None) -> None:
        super().on_train_batch_end(batch, self._shown(logs))

    def on_test_batch_end(self, batch: Any, logs: Any = None) -> None:
        super().on_test_batch_end(batch, self._shown(logs))

    def on_epoch_end(self, epoch: Any, logs: Any = None) -> None:
        super().on_epoch_end(epoch, self._shown(logs))

    def on_test_end(self, logs: Any = None) -> None:
        super().on_test_end(self._shown(logs))

    def _shown(self, logs):
        shown = {name: value for name, value in (logs or {}).items() if _plain(name) != "total_loss"}
        details = set(self._model.details())  # As in `Bookkeeping`.
        for prefix in ("val_", ""):
            if len(shown) > _ROOM:
                hidden = {f"{prefix}{name}" for name in details} | ({"val_temperature"} if prefix else set())
                shown = {name: value for name, value in shown.items() if name not in hidden}
        return shown


def _plain(name):
    return name.removeprefix("val_")
