"""Stored soft targets, read at random or in order."""

import functools
import threading
import types

import numpy as np

from keras_distill._core.messages import expected, unknown_name
from keras_distill.targets import joining
from keras_distill.targets.store import files, fingerprints, keys, manifest, shards, verifying
from keras_distill.targets.store.encoding import Encoding
from keras_distill.targets.store.index import Index
from keras_distill.targets.writing.asking import FEATURE

CHECKS = ("first_use", "all", "sizes")

_HELD = 4  # Shards of a remote store in memory at once.


class TargetStore:
    """Read what a teacher said of each example of a data set.

    Arrays on a local disk are mapped into memory, and take no more of it than the system has to spare; of a store
    elsewhere four shards at a time are held. Joining needs 16 bytes for the key of each example, and 24 more to find
    them in any order. `join` pairs the examples of a data set with what is stored of them;
    given as the teacher of a `Distiller`, the store then stands for the teacher itself.

    Args:
        path: Folder of the store.
        check: When the checksums of a shard are compared: `"first_use"`, `"all"` now, or `"sizes"`, never; sizes are
            always compared at once. Defaults to `"first_use"`.

    Attributes:
        path: Folder of the store.
        manifest: What the manifest holds, a dict.
        encoding: The `Encoding`.
        inputs: Shape and dtype of each input of an example, objects with `name`, `shape` and `dtype`.
        fingerprint: Hash of the manifest, and so of everything in the store.

    Raises:
        FileNotFoundError: If there is no store, or it is not finished.
        ValueError: If the store is damaged or of another version.
    """

    def __init__(self, path, check="first_use"):
        if check not in CHECKS:
            raise ValueError(unknown_name("check", check, CHECKS))
        self.path = files.path_of(path)
        self.manifest = manifest.read(self.path)
        self.encoding = Encoding.from_dict(self.manifest["encoding"])
        self.fingerprint = fingerprints.of_json(self.manifest)
        self.inputs = tuple(
            types.SimpleNamespace(name=each["name"], shape=tuple(each["shape"]), dtype=each["dtype"])
            for each in self.manifest["inputs"]
        )
        self._check, self._lock, self._open, self._checked = check, threading.Lock(), {}, set()
        counts = [record["examples"] for record in self.manifest["shards"]]
        self._starts = np.concatenate([[0], np.cumsum(counts)])
        for number in range(len(counts)):
            self._shard_of(number).check_files()
            if check == "all":
                self._shard(number)

    def __len__(self):
        return int(self._starts[-1])

    def __repr__(self):
        return f"TargetStore({self.path!r}, examples={len(self)}, {self.encoding.kind}, {self.encoding.dtype})"

    def __getitem__(self, index):
        """Return the fields of an example, or of several: by position, a slice or an array of positions."""
        if isinstance(index, slice):
            return self.gather(np.arange(*index.indices(len(self))))
        positions = np.asarray(index)
        outside = (positions < -len(self)) | (positions >= len(self))
        if positions.dtype.kind not in "iu" or outside.any():
            raise IndexError(expected(f"positions from 0 to {len(self) - 1}", repr(index)))
        fields = self.gather(np.atleast_1d(positions % len(self)))
        return fields if positions.ndim else {name: field[0] for name, field in fields.items()}

    @property
    def fields(self):
        """The fields of an example, a dict of name to `(dtype, shape)` with `None` for a length of its own."""
        return {name: (dtype, tuple(shape)) for name, (dtype, shape) in self.manifest["fields"].items()}

    @property
    def feature_shapes(self):
        """The stored layers, a dict of name to the shape of one example."""
        return {name: tuple(shape) for name, shape in self.manifest["features"].items()}

    @property
    def class_names(self):
        """Names of the classes, `None` where none were given."""
        return self.manifest["class_names"]

    @property
    def asked_at(self):
        """The one temperature at which the answers hold, for teachers of several models; `None` for all others."""
        return None if self.encoding.interpolate else self.encoding.temperatures[0]

    @functools.cached_property
    def keys(self):
        """The keys of all examples, a uint64 array `[examples, 2]`."""
        found = [self._shard_of(number) for number in range(len(self._starts) - 1)]
        for shard in found if self._check != "sizes" else ():
            shard.check_content([shards.KEYS])  # Of these files alone: what else there is may be large.
        return np.concatenate([shard.keys for shard in found])

    @functools.cached_property
    def index(self):
        """Where each key is, an `Index`."""
        return Index(self.keys)

    def feature_field(self, name):
        """Return the field that holds a stored layer."""
        if name not in self.feature_shapes:
            raise ValueError(unknown_name("stored layer", name, self.feature_shapes))
        return FEATURE.format(list(self.feature_shapes).index(name))

    def rows(self, wanted):
        """Return the fields of examples by their keys.

        Args:
            wanted: uint64 array `[batch, 2]`, see `keras_distill.targets.key_of`.

        Returns:
            A dict of arrays `[batch, ...]`.

        Raises:
            ValueError: If a key is not in the store.
        """
        wanted = np.atleast_2d(wanted)
        positions = self.index.find(wanted)
        if (positions < 0).any():
            row = int(np.argmax(positions < 0))
            raise ValueError(expected(f"keys that are in {self.path}", f"{keys.text_of(wanted[row])}, row {row}"))
        return self.gather(positions)

    def gather(self, positions, length=None):
        """Return the fields of examples by their positions.

        Args:
            positions: Int array `[batch]`.
            length: Length that ragged fields are filled up to, by zeros. Defaults to `None`, that of the longest.

        Returns:
            A dict of arrays `[batch, ...]`.
        """
        owners = np.searchsorted(self._starts, positions, side="right") - 1
        parts = [(number, np.flatnonzero(owners == number)) for number in np.unique(owners)]
        parts = [(self._shard(number), places, positions[places] - self._starts[number]) for number, places in parts]
        if self._ragged and length is None:
            length = max((int(shard.lengths(rows).max(initial=0)) for shard, _, rows in parts), default=0)
        arrays = {
            name: np.zeros((len(positions), *(length if each is None else each for each in shape)), dtype)
            for name, (dtype, shape) in self.fields.items()
        }
        for shard, places, rows in parts:
            shard.fill(rows, places, arrays)
        return arrays

    def lengths(self, positions):
        """Return the number of positions of examples that have a length of their own."""
        owners = np.searchsorted(self._starts, positions, side="right") - 1
        pairs = zip(owners, positions - self._starts[owners], strict=True)
        return np.array([self._shard(number).lengths(row) for number, row in pairs], "int64")

    def join(
        self,
        dataset,
        order="same",
        key=None,
        batch_size=None,
        batched=None,
        replay=None,
        view="cycle",
        first_epoch=0,
    ):
        """Pair each example of a data set with what is stored of it. See `keras_distill.targets.joining.join`."""
        return joining.join(self, dataset, order, key, batch_size, batched, replay, view, first_epoch)

    def verify(self, teacher, dataset, n=256, seed=0, key=None, replay=None):
        """Ask the teacher again for some examples. See `keras_distill.targets.verifying.verify`.

        Of a store of views, `replay` makes them again.
        """
        joining.check_replay(self, replay)
        if replay is not None:
            ranks = [len(each.shape) for each in self.inputs]
            dataset, _ = replay.keyed(dataset, joining.keying_of(self, key).inner, ranks, "all")
        return verifying.verify(self, teacher, dataset, n, seed, key)

    def describe(self):
        """Return all that the manifest tells, as text."""
        return manifest.describe(self.manifest)

    @functools.cached_property
    def _ragged(self):
        return frozenset(name for name, (_, shape) in self.fields.items() if shape[:1] == (None,))

    def _shard_of(self, number):
        return shards.Shard(self.path, self.manifest["shards"][number], self._ragged)

    def _shard(self, number):
        """Return a shard that has been checked, one of those that are held."""
        number = int(number)
        with self._lock:
            shard = self._open.pop(number, None) or self._shard_of(number)
            self._open[number] = shard  # The last in the dict is the one used last.
            if files.is_remote(self.path) and len(self._open) > _HELD:
                del self._open[next(iter(self._open))]
            if number not in self._checked and self._check != "sizes":
                shard.check_content()
            self._checked.add(number)
        return shard


def open(path, check="first_use"):
    """Open a store of soft targets.

    Args:
        path: Folder of the store.
        check: `"first_use"`, `"all"` or `"sizes"`: when the checksums of a shard are compared. Defaults to
            `"first_use"`.

    Returns:
        The `TargetStore`.

    Raises:
        FileNotFoundError: If there is no store, or it is not finished.
        ValueError: If the store is damaged or of another version.
    """
    return TargetStore(path, check)
