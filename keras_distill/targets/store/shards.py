"""A shard of a store: the keys and fields of consecutive examples, one `.npy` file each, and their record."""

import functools
import json
from collections.abc import Iterable
from typing import Any

import numpy as np

from keras_distill._core.messages import expected
from keras_distill.targets.store import files

RECORD = "shard.json"
KEYS, OFFSETS = "keys", "offsets"

_FIX = "The store is damaged: copy it again, or write it anew with `overwrite=True`."


def name_of(index: int) -> str:
    """Return the name of a shard's folder.

    Example:

    >>> name_of(12)
    'shard-00012'
    """
    return f"shard-{index:05d}"


def write_shard(
    path: str,
    index: int,
    keys: np.ndarray,
    fields: dict[str, np.ndarray],
    lengths: np.ndarray | None = None,
    facts: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """Write a shard. Its record is written last; without the record there is no shard.

    Args:
        path: Folder of the store.
        index: Number of the shard, from 0.
        keys: uint64 array `[examples, 2]`.
        fields: Dict of field name to array: `[examples, ...]`, or `[positions, ...]` if lengths differ.
        lengths: Int array `[examples]`, the number of positions of each example. Defaults to `None`, all examples
            have the same length.
        facts: Dict of plain values to keep in the record. Defaults to `None`.

    Returns:
        The record, a dict.
    """
    folder = files.join(path, name_of(index))
    files.remove(folder)  # An interrupted writer may have left part of it.
    files.make_folder(folder)
    arrays = {KEYS: np.asarray(keys, "<u8"), **fields}
    if lengths is not None:
        arrays[OFFSETS] = np.concatenate([[0], np.cumsum(lengths)]).astype("<i8")
    written = {name: files.write_array(files.join(folder, f"{name}.npy"), array) for name, array in arrays.items()}
    record = {"name": name_of(index), "examples": len(keys), "files": written, **(facts or {})}
    files.write_json(files.join(folder, RECORD), record)
    return record


def read_record(path: str, index: int) -> dict[str, Any] | None:
    """Return the record of a finished shard, `None` if the shard is missing or unfinished."""
    file = files.join(path, name_of(index), RECORD)
    return json.loads(files.read(file)) if files.exists(file) else None


class Shard:
    """Read a shard. Arrays are mapped into memory if the disk is local, and read whole if it is remote.

    Args:
        path: Folder of the store.
        record: Record of the shard.
        ragged: Names of the fields in which the length differs from example to example. Defaults to `()`.
    """

    def __init__(self, path: str, record: dict[str, Any], ragged: Iterable[str] = ()):
        self.record, self._path, self._ragged = record, files.join(path, record["name"]), frozenset(ragged)

    def __len__(self) -> int:
        return self.record["examples"]

    @functools.cached_property
    def keys(self) -> np.ndarray:
        """The keys, a uint64 array `[examples, 2]`."""
        return self._array(KEYS)

    @functools.cached_property
    def fields(self) -> dict[str, np.ndarray]:
        """The fields, a dict of name to array."""
        return {name: self._array(name) for name in self.record["files"] if name not in (KEYS, OFFSETS)}

    @functools.cached_property
    def offsets(self) -> np.ndarray:
        """Where each example begins in the ragged fields, an int64 array `[examples + 1]`."""
        return self._array(OFFSETS)

    def lengths(self, rows: Any) -> np.ndarray:
        """Return the number of positions of each of some examples."""
        return self.offsets[rows + 1] - self.offsets[rows]

    def fill(self, rows: np.ndarray, places: np.ndarray, arrays: dict[str, np.ndarray]) -> None:
        """Copy examples into arrays `[batch, ...]`.

        Args:
            rows: Int array, rows of this shard.
            places: Int array of the same length, rows of `arrays`.
            arrays: Dict of field name to array. Positions beyond the length of an example are left as they are.
        """
        for name, array in arrays.items():
            field = self.fields[name]
            if name not in self._ragged:
                array[places] = field[rows]
                continue
            for place, start, end in zip(places, self.offsets[rows], self.offsets[rows + 1], strict=True):
                array[place, : end - start] = field[start:end]

    def check_files(self) -> None:
        """Raise a `ValueError` if a file is missing or its size has changed."""
        for name, record in self.record["files"].items():
            file = files.join(self._path, f"{name}.npy")
            size = files.size(file)
            if size != record["bytes"]:
                received = "no such file" if size < 0 else f"{size} bytes"
                raise ValueError(expected(f"{file} of {record['bytes']} bytes", received, _FIX))

    def check_content(self, names: Iterable[str] | None = None) -> None:
        """Raise a `ValueError` if the checksum of a file has changed.

        Args:
            names: Names of the arrays to check. Defaults to `None`, all.
        """
        for name in self.record["files"] if names is None else names:
            file, digest = files.join(self._path, f"{name}.npy"), self.record["files"][name]["sha256"]
            if (found := files.sha256(file)) != digest:
                raise ValueError(expected(f"{file} of SHA-256 {digest[:16]}...", f"{found[:16]}...", _FIX))

    def _array(self, name: str) -> np.ndarray:
        return files.read_array(files.join(self._path, f"{name}.npy"))
