"""A shard: the keys and the fields of a run of examples, one `.npy` each, and a record of them all."""

import functools
import json

import numpy as np

from keras_distill._core.messages import expected
from keras_distill.targets.store import files

RECORD = "shard.json"
KEYS, OFFSETS = "keys", "offsets"

_FIX = "The store is damaged: copy it again, or write it anew with `overwrite=True`."


def name_of(index):
    """Return the name of a shard's folder.

    Example:

    >>> name_of(12)
    'shard-00012'
    """
    return f"shard-{index:05d}"


def write_shard(path, index, keys, fields, lengths=None, facts=None):
    """Write a shard; it is one as soon as its record is there, which is written last.

    Args:
        path: Folder of the store.
        index: Number of the shard, from 0.
        keys: uint64 array `[examples, 2]`.
        fields: Dict of arrays by field: `[examples, ...]`, or `[positions, ...]` where lengths differ.
        lengths: Int array `[examples]`, the positions of each example, where they differ. Defaults to `None`.
        facts: Dict of plain values to keep in the record. Defaults to `None`.

    Returns:
        The record, a dict.
    """
    folder = files.join(path, name_of(index))
    files.remove(folder)  # What an interrupted writer left.
    files.make_folder(folder)
    arrays = {KEYS: np.asarray(keys, "<u8"), **fields}
    if lengths is not None:
        arrays[OFFSETS] = np.concatenate([[0], np.cumsum(lengths)]).astype("<i8")
    written = {name: files.write_array(files.join(folder, f"{name}.npy"), array) for name, array in arrays.items()}
    record = {"name": name_of(index), "examples": len(keys), "files": written, **(facts or {})}
    files.write_json(files.join(folder, RECORD), record)
    return record


def read_record(path, index):
    """Return the record of a finished shard, `None` where there is none."""
    file = files.join(path, name_of(index), RECORD)
    return json.loads(files.read(file)) if files.exists(file) else None


class Shard:
    """Read a shard: arrays that are mapped into memory where the disk is local, read whole where it is not.

    Args:
        path: Folder of the store.
        record: Its record.
        ragged: Names of the fields of which each example has a length of its own. Defaults to none.
    """

    def __init__(self, path, record, ragged=()):
        self.record, self._path, self._ragged = record, files.join(path, record["name"]), frozenset(ragged)

    def __len__(self):
        return self.record["examples"]

    @functools.cached_property
    def keys(self):
        """The keys, a uint64 array `[examples, 2]`."""
        return self._array(KEYS)

    @functools.cached_property
    def fields(self):
        """The fields, a dict of arrays."""
        return {name: self._array(name) for name in self.record["files"] if name not in (KEYS, OFFSETS)}

    @functools.cached_property
    def offsets(self):
        """Where each example begins in the fields of ragged lengths, `[examples + 1]`; `None` where none are."""
        return self._array(OFFSETS) if OFFSETS in self.record["files"] else None

    def lengths(self, rows):
        """Return the number of positions of some examples."""
        return self.offsets[rows + 1] - self.offsets[rows]

    def fill(self, rows, places, arrays):
        """Copy examples into arrays `[batch, ...]`.

        Args:
            rows: Int array, rows of this shard.
            places: Int array of as many rows of the arrays.
            arrays: Dict of arrays by field; what is longer than an example keeps what it holds.
        """
        for name, array in arrays.items():
            field = self.fields[name]
            if name not in self._ragged:
                array[places] = field[rows]
                continue
            for place, start, end in zip(places, self.offsets[rows], self.offsets[rows + 1], strict=True):
                array[place, : end - start] = field[start:end]

    def check_files(self):
        """Raise a `ValueError` if a file is missing, or is not as long as it was."""
        for name, record in self.record["files"].items():
            file = files.join(self._path, f"{name}.npy")
            size = files.size(file)
            if size != record["bytes"]:
                received = "no such file" if size < 0 else f"{size} bytes"
                raise ValueError(expected(f"{file} of {record['bytes']} bytes", received, _FIX))

    def check_content(self, names=None):
        """Raise a `ValueError` if a file does not hold what was written.

        Args:
            names: The files to look at. Defaults to `None`, all.
        """
        for name, record in self.record["files"].items():
            if names is not None and name not in names:
                continue
            file = files.join(self._path, f"{name}.npy")
            if (found := files.sha256(file)) != record["sha256"]:
                raise ValueError(expected(f"{file} of SHA-256 {record['sha256'][:16]}...", f"{found[:16]}...", _FIX))

    def _array(self, name):
        return files.read_array(files.join(self._path, f"{name}.npy"))
