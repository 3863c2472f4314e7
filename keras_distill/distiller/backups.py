"""Saves that a killed process leaves whole, so that `keras.callbacks.BackupAndRestore` resumes after any of them."""

import contextlib
import json
import os
from collections.abc import Callable, Iterable
from typing import Any

import keras
import numpy as np

from keras_distill._core.messages import expected
from keras_distill._core.models import ModelMixin

_BESIDE = ".beside-"
_EPOCH = "epoch_of_fit"


class WholeSaves(ModelMixin):
    """Save a model beside the old file, then rename; and save with the weights how many epochs of `fit` they have seen.

    `BackupAndRestore` keeps the weights and the epoch in two files, between which a process may be killed.
    """

    epoch_of_fit: int | None = None
    """Number of complete epochs of the running `fit`; `None` outside of one."""

    def save(self, filepath: Any, overwrite: bool = True, *args: Any, **kwargs: Any) -> None:
        """Save the model. See `keras.Model.save`. A `.keras` file is replaced as a whole, or stays as it was."""

        def write(path: Any) -> None:
            super(WholeSaves, self).save(path, overwrite, *args, **kwargs)

        _replace(filepath, ".keras", write) if overwrite else write(filepath)

    def save_weights(self, filepath: Any, overwrite: bool = True, *args: Any, **kwargs: Any) -> None:
        """Save the weights. See `keras.Model.save_weights`. A file is replaced as a whole, or stays as it was."""

        def write(path: Any) -> None:
            super(WholeSaves, self).save_weights(path, overwrite, *args, **kwargs)

        in_one_file = overwrite and not args and not kwargs.get("max_shard_size")
        _replace(filepath, ".weights.h5", write) if in_one_file else write(filepath)

    def save_own_variables(self, store: Any) -> None:
        super().save_own_variables(store)
        if self.epoch_of_fit is not None:
            store[_EPOCH] = np.array(self.epoch_of_fit)

    def load_own_variables(self, store: Any) -> None:
        super().load_own_variables({name: store[name] for name in store.keys() if name != _EPOCH})


class BackupGuard(keras.callbacks.Callback):
    """Make the files of a killed training agree before `BackupAndRestore` reads them.

    It has to run before the backups, which save what it has counted.

    Args:
        callbacks: The callbacks of the training, of which some may be `BackupAndRestore`.
    """

    async_safe = True

    def __init__(self, callbacks: Iterable[Any]):
        super().__init__()
        self._backups = [each for each in callbacks if isinstance(each, keras.callbacks.BackupAndRestore)]

    def on_train_begin(self, logs: Any = None) -> None:
        for backup in self._backups:
            # A worker that is not the chief has a backup without a model, as its callbacks leave it out.
            if backup._model is not None and "://" not in str(backup.backup_dir):
                _reconcile(str(backup.backup_dir))

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        self._note(epoch)

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        self._note(epoch + 1)

    def on_train_end(self, logs: Any = None) -> None:
        self._note(None)

    def _note(self, epoch: int | None) -> None:
        if self._model is not None:  # A worker that is not the chief saves nothing, and this has no model there.
            self._model.epoch_of_fit = epoch


def _replace(path: Any, suffix: str, write: Callable[[Any], None]) -> None:
    """Write a local file beside its place and rename it; write anything else where it belongs."""
    name = os.fspath(path) if isinstance(path, (str, os.PathLike)) else ""
    target = os.path.realpath(name)  # A link stays a link.
    if "://" in name or not name.endswith(suffix) or not os.path.isdir(os.path.dirname(target)):
        return write(path)
    beside = os.path.join(os.path.dirname(target), _BESIDE + os.path.basename(target))
    try:
        write(beside)
        os.replace(beside, target)
    except BaseException:
        with contextlib.suppress(OSError):
            os.remove(beside)
        raise


def _reconcile(folder: str) -> None:
    """Set the epoch in a folder of `BackupAndRestore` to that of the weights in it."""
    weights, metadata = (os.path.join(folder, name) for name in ("latest.weights.h5", "training_metadata.json"))
    if not os.path.exists(weights):
        # A finished training was killed while it deleted its backup: without weights, the epoch says nothing.
        with contextlib.suppress(FileNotFoundError):
            os.remove(metadata)
        return
    epoch = _epoch_of(weights)
    if epoch is not None and _recorded_epoch(metadata) != epoch:
        with open(metadata + ".beside", "w", encoding="utf-8") as file:
            json.dump({"epoch": epoch, "batch": 0}, file)
        os.replace(metadata + ".beside", metadata)


def _epoch_of(weights: str) -> int | None:
    """Return the epoch in a file of weights, `None` if it has none; refuse half a file that has no copy beside it."""
    import h5py

    try:
        with h5py.File(weights, "r") as file:
            number = file.get(f"vars/{_EPOCH}")
            return None if number is None else int(number[()])
    except OSError as error:
        if os.path.exists(f"{weights}.bkp"):
            return None  # Keras takes the copy that `double_checkpoint=True` keeps.
        fix = "Remove the folder to begin anew. A model that was not a Distiller may have been killed as it saved."
        raise ValueError(expected(f"a complete backup in {weights!r}", f"half a file ({error})", fix)) from error


def _recorded_epoch(metadata: str) -> int | None:
    try:
        with open(metadata, encoding="utf-8") as file:
            return json.load(file).get("epoch")
    except (OSError, ValueError):
        return None
