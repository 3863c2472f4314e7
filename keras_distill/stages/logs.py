"""Logs of several students at once: one dict for Keras, named by student, and each one's own again."""

import re

import keras

from keras_distill.distiller.logs import Bookkeeping


class BookkeepingOfEach(keras.callbacks.Callback):
    """Give each distiller's `Bookkeeping` the logs of its student."""

    async_safe = True

    def __init__(self, distillers):
        super().__init__()
        self._each = [Bookkeeping() for _ in distillers]
        for bookkeeping, distiller in zip(self._each, distillers, strict=True):
            bookkeeping.set_model(distiller)

    def on_epoch_begin(self, epoch, logs=None):
        for bookkeeping in self._each:
            bookkeeping.on_epoch_begin(epoch)

    def on_train_batch_end(self, batch, logs=None):
        self._tell("on_train_batch_end", batch, logs)

    def on_test_batch_end(self, batch, logs=None):
        self._tell("on_test_batch_end", batch, logs)

    def on_epoch_end(self, epoch, logs=None):
        self._tell("on_epoch_end", epoch, logs)

    def _tell(self, event, position, logs):
        parts = taken_apart(logs, len(self._each))
        for bookkeeping, own in zip(self._each, parts, strict=True):
            getattr(bookkeeping, event)(position, own)
        ordered = put_together(shared_logs(logs), parts)
        logs.clear()
        logs.update(ordered)


def joined(logs_of_each):
    """Name the logs of one step by student."""
    return put_together({"loss": sum(own["loss"] for own in logs_of_each)}, logs_of_each)


def taken_apart(logs, count):
    """Return the logs of each student under its own names, `val_loss` for `val_student_1_loss`."""
    parts = []
    for number in range(1, count + 1):
        mine = re.compile(rf"^(val_)?student_{number}_")
        parts.append({mine.sub(r"\1", name): value for name, value in logs.items() if mine.match(name)})
    return parts


def put_together(shared, parts):
    """Undo `taken_apart`: the shared logs, those of each student, then those of the validation likewise."""
    logs = dict(shared)
    for number, own in enumerate(parts, 1):
        logs.update({re.sub("^(val_)?", rf"\1student_{number}_", name): value for name, value in own.items()})
    return dict(sorted(logs.items(), key=lambda item: item[0].startswith("val_")))


def shared_logs(logs):
    """Return the logs that are no student's own, in the training and in the validation."""
    return {name: value for name, value in logs.items() if name in ("loss", "val_loss")}
