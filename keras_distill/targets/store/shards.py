"""A shard of a store: the keys and fields of consecutive examples, one `.npy` file each, and their record."""

import functools
from collections.abc import Mapping
from typing import Any

import numpy as np

from keras_distill._core.messages import expected
from keras_distill.targets.store import files, records

RECORD = "shard.json"
KEYS, OFFSETS = "keys", "offsets"

_KNOWN = ("name", "examples", "files", "error")


def name_of(index: int, generation: int = 0) -> str:
    """Return the name of a shard's folder.

    Args:
        index: Number of the shard, from 0.
        generation: Number of times that the store was overwritten: its shards stand beside those that they replace.
            Defaults to 0.

    Example:

    >>> name_of(12), name_of(12, generation=1)
    ('shard-00012', 'shard-00012-1')
    """
    return f"shard-{index:05d}" + (f"-{generation}" if generation else "")


def write_shard(
    path: str,
    index: int,
    keys: np.ndarray,
    fields: dict[str, np.ndarray],
    lengths: np.ndarray | None = None,
    facts: dict[str, Any] | None = None,
    generation: int = 0,
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
        generation: Number of times that the store was overwritten. Defaults to 0.

    Returns:
        The record, a dict.
    """
    name = name_of(index, generation)
    folder = files.join(path, name)
    files.remove(folder)  # An interrupted writer may have left part of it.
    files.make_folder(folder)
    arrays = {KEYS: np.asarray(keys, "<u8"), **fields}
    if lengths is not None:
        arrays[OFFSETS] = np.concatenate([[0], np.cumsum(lengths)]).astype("<i8")
    written = {each: files.write_array(files.join(folder, f"{each}.npy"), array) for each, array in arrays.items()}
    record = {"name": name, "examples": len(keys), "files": written, **(facts or {})}
    records.write(files.join(folder, RECORD), record)
    return record


def read_record(path: str, index: int, generation: int = 0) -> dict[str, Any] | None:
    """Return the record of a finished shard, `None` if the shard is missing or unfinished.

    Raises:
        ValueError: If the record is damaged.
    """
    name = name_of(index, generation)
    file = files.join(path, name, RECORD)
    if not files.exists(file):
        return None
    record = records.remove_checksum(file, records.read(file), _KNOWN)
    if record.get("name") != name or any(each not in record for each in _KNOWN):
        raise ValueError(expected(f"{file} to be the record of {name}", f"{record.get('name')!r}", records.REPAIR))
    return record


class Shard:
    """Read a shard. Arrays are mapped into memory if the disk is local, and read whole if it is remote.

    An array is compared with its checksum as it is opened, once, and held from then on: what is read later is what was
    compared, even if the files are replaced.

    Args:
        path: Folder of the store.
        record: Record of the shard.
        fields: Dict of field name to `(dtype, shape)` of one example, where the first length is `None` if it differs
            from example to example. Defaults to `None`, for the keys alone.
        compare: Whether to compare checksums. Defaults to `True`.
    """

    def __init__(
        self,
        path: str,
        record: dict[str, Any],
        fields: Mapping[str, tuple[Any, tuple[int | None, ...]]] | None = None,
        compare: bool = True,
    ):
        self.record, self._path = record, files.join(path, record["name"])
        self._layouts, self._compare = fields or {}, compare

    def __len__(self) -> int:
        return self.record["examples"]

    @functools.cached_property
    def keys(self) -> np.ndarray:
        """The keys, a uint64 array `[examples, 2]`."""
        return self._open(KEYS, "<u8", (len(self), 2))

    @functools.cached_property
    def fields(self) -> dict[str, np.ndarray]:
        """The fields, a dict of name to array."""
        return {name: self._open(name, dtype, self._shape_of(name)) for name, (dtype, _) in self._layouts.items()}

    @functools.cached_property
    def offsets(self) -> np.ndarray:
        """Where each example begins in the ragged fields, an int64 array `[examples + 1]`."""
        return self._open(OFFSETS, "<i8", (len(self) + 1,))

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
            if not self._is_ragged(name):
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
                raise ValueError(expected(f"{file} of {record['bytes']} bytes", received, records.REPAIR))

    def _is_ragged(self, name: str) -> bool:
        return tuple(self._layouts[name][1][:1]) == (None,)

    def _shape_of(self, name: str) -> tuple:
        shape = tuple(self._layouts[name][1])
        return (int(self.offsets[-1]), *shape[1:]) if self._is_ragged(name) else (len(self), *shape)

    def _open(self, name: str, dtype: Any, shape: tuple) -> np.ndarray:
        """Open an array; raise a `ValueError` if its checksum, dtype or shape is another one than the store records."""
        file = files.join(self._path, f"{name}.npy")
        try:
            array = files.read_array(file, self.record["files"][name]["sha256"] if self._compare else None)
        except FileNotFoundError as error:
            raise ValueError(expected(f"the file {file}", "no such file", records.REPAIR)) from error
        except ValueError as error:
            raise ValueError(f"{error} {records.REPAIR}") from error
        if array.dtype != np.dtype(dtype) or array.shape != shape:
            what = f"{file} to hold {np.dtype(dtype)} {shape}"
            raise ValueError(expected(what, f"{array.dtype} {array.shape}", records.REPAIR))
        return array
