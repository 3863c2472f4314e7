"""Logs of several students at once: named by student in one dict for Keras, and split again by student."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

import keras

from keras_distill.distiller.logs import Bookkeeping

Logs = Mapping[str, Any]


class MutualBookkeeping(keras.callbacks.Callback):
    """Pass the logs of each student to the `Bookkeeping` of its distiller."""

    async_safe = True

    def __init__(self, distillers: Sequence[keras.Model]) -> None:
        super().__init__()
        self._each = [Bookkeeping() for _ in distillers]
        for bookkeeping, distiller in zip(self._each, distillers, strict=True):
            bookkeeping.set_model(distiller)

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        for bookkeeping in self._each:
            bookkeeping.on_epoch_begin(epoch)

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        self._forward("on_train_batch_end", batch, logs)

    def on_test_batch_end(self, batch: int, logs: Any = None) -> None:
        self._forward("on_test_batch_end", batch, logs)

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        self._forward("on_epoch_end", epoch, logs)

    def _forward(self, event: str, position: int, logs: dict[str, Any]) -> None:
        parts = split_logs(logs, len(self._each))
        for bookkeeping, own in zip(self._each, parts, strict=True):
            getattr(bookkeeping, event)(position, own)
        ordered = merge_logs(select_shared_logs(logs), parts)
        logs.clear()
        logs.update(ordered)


def join_logs(parts: Sequence[Logs]) -> dict[str, Any]:
    """Return the logs of one step in one dict, named by student, with the sum of the losses."""
    return merge_logs({"loss": sum(own["loss"] for own in parts)}, parts)


def split_logs(logs: Logs, count: int) -> list[dict[str, Any]]:
    """Return the logs of each student under the names of its distiller: `val_loss` for `val_student_1_loss`."""
    parts = []
    for number in range(1, count + 1):
        mine = re.compile(rf"^(val_)?student_{number}_")
        parts.append({mine.sub(r"\1", name): value for name, value in logs.items() if mine.match(name)})
    return parts


def merge_logs(shared: Logs, parts: Sequence[Logs]) -> dict[str, Any]:
    """Undo `split_logs`: return the shared logs, the logs of each student, then those of the validation likewise."""
    logs = dict(shared)
    for number, own in enumerate(parts, 1):
        logs.update({re.sub("^(val_)?", rf"\1student_{number}_", name): value for name, value in own.items()})
    return dict(sorted(logs.items(), key=lambda item: item[0].startswith("val_")))


def select_shared_logs(logs: Logs) -> dict[str, Any]:
    """Return the logs that belong to no single student, of the training and of the validation."""
    return {name: value for name, value in logs.items() if name in ("loss", "val_loss")}
