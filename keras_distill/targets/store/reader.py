"""Reading a store of soft targets, at random or in order."""

import functools
import os
import threading
from typing import Any, NamedTuple

import numpy as np

from keras_distill._core.checked import checked
from keras_distill._core.checks import check_choice
from keras_distill._core.messages import expected, unknown_name
from keras_distill.targets.joining.join import join as join_dataset
from keras_distill.targets.store import files, fingerprints, keys, manifest, shards, validation
from keras_distill.targets.store.encoding import Encoding
from keras_distill.targets.store.index import Index
from keras_distill.targets.store.records import REPAIR
from keras_distill.targets.store.verifying import verify as verify_store
from keras_distill.targets.writing.asking import FEATURE

CHECKS = ("first_use", "all", "sizes")

_HELD = 4  # Shards of a remote store in memory at the same time.


class InputSpec(NamedTuple):
    """One input of an example: its name in the nest of inputs, its shape without a batch axis, and its dtype."""

    name: str
    shape: tuple[int | None, ...]
    dtype: str


class TargetStore:
    """Read a teacher's answers to the examples of a data set.

    Arrays on a local disk are mapped into memory, so the operating system frees their memory when it is needed; of a
    remote store, four shards are held at a time. Joining takes 16 bytes of memory for the key of each example, and 24
    more to find examples in any order. `join` pairs the examples of a data set with their stored answers. A `Distiller`
    takes the store in place of the teacher.

    Args:
        path: Folder of the store.
        check: When to open the files of a shard and compare their checksums: `"first_use"`, or `"all"` now, after which
            a store that is overwritten on a local disk is read to the end as it was. `"sizes"` opens them at their
            first use and compares no checksums of shards. The checksum of the manifest and the sizes of files are
            always compared now. Defaults to `"first_use"`.

    Attributes:
        path: Folder of the store.
        manifest: Content of the manifest, a dict.
        encoding: The `Encoding`.
        inputs: Tuple of the inputs of an example, each with `name`, `shape` and `dtype`.
        fingerprint: Hash of the manifest, and therefore of everything in the store. An overwritten store has that of
            a new store of the same content.

    Raises:
        FileNotFoundError: If there is no store, or it is not finished.
        ValueError: If the store is damaged or of another version.
    """

    @checked(path=str | os.PathLike, check=Any)
    def __init__(self, path: Any, check: str = "first_use"):
        self._check = check_choice("check", check, CHECKS)
        self.path = files.normalize(path)
        self.manifest = validation.read_manifest(self.path)
        self.encoding = Encoding.from_dict(self.manifest["encoding"])
        self.fingerprint = fingerprints.hash_json(manifest.without_generation(self.manifest))
        self.inputs = tuple(
            InputSpec(each["name"], tuple(each["shape"]), each["dtype"]) for each in self.manifest["inputs"]
        )
        self._lock = threading.Lock()
        self._open: dict[int, shards.Shard] = {}
        counts = [record["examples"] for record in self.manifest["shards"]]
        self._starts = np.concatenate([[0], np.cumsum(counts)])
        for number in range(len(counts)):
            self._make_shard(number).check_files()
        if check == "all":
            self._check_all()

    def __len__(self) -> int:
        return int(self._starts[-1])

    def __repr__(self) -> str:
        return f"TargetStore({self.path!r}, examples={len(self)}, {self.encoding.kind}, {self.encoding.dtype})"

    def __getitem__(self, index: Any) -> dict[str, np.ndarray]:
        """Return the fields of one example, or of several: by position, by a slice or by an array of positions."""
        if isinstance(index, slice):
            return self.gather(np.arange(*index.indices(len(self))))
        positions = np.asarray(index)
        whole = positions.dtype.kind in "iu"
        if not whole or ((positions < -len(self)) | (positions >= len(self))).any():
            raise IndexError(expected(f"positions from 0 to {len(self) - 1}", repr(index)))
        fields = self.gather(np.atleast_1d(positions % len(self)))
        return fields if positions.ndim else {name: field[0] for name, field in fields.items()}

    @property
    def fields(self) -> dict[str, tuple[str, tuple[int | None, ...]]]:
        """The fields of an example, a dict of name to `(dtype, shape)`, with `None` where lengths differ."""
        return {name: (dtype, tuple(shape)) for name, (dtype, shape) in self.manifest["fields"].items()}

    @property
    def feature_shapes(self) -> dict[str, tuple[int | None, ...]]:
        """The stored layers, a dict of name to the shape for one example."""
        return {name: tuple(shape) for name, shape in self.manifest["features"].items()}

    @property
    def class_names(self) -> list[str] | None:
        """Names of the classes, `None` if they were not given."""
        return self.manifest["class_names"]

    @property
    def asked_at(self) -> float | None:
        """The only temperature of the answers if several models answered together, `None` for a single model."""
        return None if self.encoding.interpolate else self.encoding.temperatures[0]

    @functools.cached_property
    def keys(self) -> np.ndarray:
        """The keys of all examples, a uint64 array `[examples, 2]`."""
        # The shards are not held: the other files may be large.
        found = np.concatenate([self._make_shard(number).keys for number in range(len(self._starts) - 1)])
        if self._check != "sizes" and keys.digest(found) != self.manifest["dataset"]["keys"]:
            raise ValueError(expected(f"the keys that {self.path} was written with", "other keys", REPAIR))
        return found

    @functools.cached_property
    def index(self) -> Index:
        """The positions of all keys, an `Index`."""
        return Index(self.keys)

    def feature_field(self, name: str) -> str:
        """Return the name of the field of a stored layer."""
        if name not in self.feature_shapes:
            raise ValueError(unknown_name("stored layer", name, self.feature_shapes))
        return FEATURE.format(list(self.feature_shapes).index(name))

    def rows(self, wanted: np.ndarray) -> dict[str, np.ndarray]:
        """Return the fields of examples by their keys.

        Args:
            wanted: uint64 array `[batch, 2]`, see `keras_distill.targets.key_of`.

        Returns:
            A dict of arrays `[batch, ...]`.

        Raises:
            ValueError: If a key is not in the store.
        """
        wanted = np.atleast_2d(wanted)
        if wanted.dtype.kind not in "iu" or wanted.shape[1:] != (2,):
            received = f"{wanted.dtype} of shape {wanted.shape}"
            raise ValueError(expected("keys, uint64 [batch, 2], see key_of", received))
        positions = self.index.find(wanted)
        if (positions < 0).any():
            row = int(np.argmax(positions < 0))
            raise ValueError(expected(f"keys that are in {self.path}", f"{keys.text_of(wanted[row])}, row {row}"))
        return self.gather(positions)

    def gather(self, positions: np.ndarray, length: int | None = None) -> dict[str, np.ndarray]:
        """Return the fields of examples by their positions.

        Args:
            positions: Int array `[batch]`.
            length: Length to pad ragged fields to, with zeros. Defaults to `None`, the length of the longest example.

        Returns:
            A dict of arrays `[batch, ...]`.
        """
        owners = np.searchsorted(self._starts, positions, side="right") - 1
        found = [(number, np.flatnonzero(owners == number)) for number in np.unique(owners)]
        parts = [(self._shard(number), places, positions[places] - self._starts[number]) for number, places in found]
        if self._ragged and length is None:
            length = max((int(shard.lengths(rows).max(initial=0)) for shard, _, rows in parts), default=0)
        arrays = {
            name: np.zeros((len(positions), *(length or 0 if each is None else each for each in shape)), dtype)
            for name, (dtype, shape) in self.fields.items()
        }
        for shard, places, rows in parts:
            shard.fill(rows, places, arrays)
        return arrays

    def lengths(self, positions: np.ndarray) -> np.ndarray:
        """Return the number of positions of each example, int64 `[batch]`, for a store of ragged fields."""
        owners = np.searchsorted(self._starts, positions, side="right") - 1
        pairs = zip(owners, positions - self._starts[owners], strict=True)
        return np.array([self._shard(number).lengths(row) for number, row in pairs], "int64")

    join = join_dataset
    verify = verify_store

    def describe(self) -> str:
        """Return the content of the manifest as text."""
        return manifest.describe(self.manifest)

    @functools.cached_property
    def _ragged(self) -> frozenset[str]:
        return frozenset(name for name, (_, shape) in self.fields.items() if shape[:1] == (None,))

    def _check_all(self) -> None:
        for number in range(len(self._starts) - 1):
            self._shard(number)
        _ = self.keys

    def _make_shard(self, number: int) -> shards.Shard:
        return shards.Shard(self.path, self.manifest["shards"][number], self.fields, self._check != "sizes")

    def _shard(self, number: int) -> shards.Shard:
        """Return a shard whose fields are open and compared, and hold it for the next call."""
        number = int(number)
        with self._lock:
            shard = self._open.pop(number, None) or self._make_shard(number)
            _ = shard.fields
            self._open[number] = shard  # The dict keeps the order of use, the latest last.
            if files.is_remote(self.path) and len(self._open) > _HELD:
                del self._open[next(iter(self._open))]
        return shard


def open(path: Any, check: str = "first_use") -> TargetStore:
    """Open a store of soft targets.

    Args:
        path: Folder of the store.
        check: `"first_use"`, `"all"` or `"sizes"`, see `TargetStore`. Defaults to `"first_use"`.

    Returns:
        The `TargetStore`.

    Raises:
        FileNotFoundError: If there is no store, or it is not finished.
        ValueError: If the store is damaged or of another version.
    """
    return TargetStore(path, check)
