"""Writing a store on this machine: the teacher answers a data set, and its answers are written shard by shard."""

import concurrent.futures
import functools
import itertools
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import keras
import numpy as np

from keras_distill._core import guards
from keras_distill._core.checked import checked
from keras_distill._core.messages import expected
from keras_distill.targets.replay.views import ViewKeying
from keras_distill.targets.store import files, manifest, shards
from keras_distill.targets.store.keys import Keying
from keras_distill.targets.store.reader import TargetStore
from keras_distill.targets.writing import planning, sources
from keras_distill.targets.writing.asking import Asker, cut_to_lengths, to_numpy
from keras_distill.targets.writing.locking import only_writer
from keras_distill.targets.writing.progress import report_progress
from keras_distill.teachers.loading import as_teacher

Report = Callable[[int], object]
"""A function that takes the number of examples done so far."""


def _check_replay(name, replay):
    if replay is not None and not hasattr(replay, "keyed"):
        raise ValueError(expected(f"{name} to be a Replay", f"{name}={replay!r:.200}"))


@checked(
    top_k=Any,
    values=Any,
    dtype=Any,
    temperatures=Any,
    shard_size=Any,
    batch_size=Any,
    path=str | os.PathLike,
    progress=bool | Callable | None,
    replay=_check_replay,
)
def write(
    teacher: Any,
    dataset: Any,
    path: Any,
    *,
    top_k: int | None = None,
    values: str = "logits",
    dtype: str = "float16",
    features: Iterable[str] | None = None,
    key: Any = None,
    temperatures: Iterable[float] = (1.0,),
    padding: float | dict[str, float] | None = None,
    shard_size: int | None = None,
    batch_size: int | None = None,
    batched: bool | None = None,
    overwrite: bool = False,
    progress: Any = None,
    name: str | None = None,
    preprocessing: str | None = None,
    class_names: Sequence[str] | None = None,
    replay: Any = None,
) -> TargetStore:
    """Run a teacher over a data set once, and store its answer to each example.

    The store is a folder of memory-mapped arrays in shards and a manifest. The manifest is written last, so a folder
    with a manifest is a whole store. After any interruption the same call resumes: finished shards are kept, and their
    keys are compared with the data set. A resumed store has the same bytes as one written without interruption, if the
    teacher gives the same answer to the same batch.

    Each example is identified by a hash of its inputs, or by an id from the data set, so no student ever gets the
    answer to another example. Memory holds two shards, and 16 bytes for each example once all shards are written.

    Args:
        teacher: A `keras.Model`, or anything that `keras_distill.teachers.as_teacher` takes.
        dataset: A `tf.data.Dataset` of examples or of batches, a `grain.MapDataset`, `grain.IterDataset` or
            `grain.DataLoader`, a `keras.utils.PyDataset`, or arrays `x` or `(x, y)`. Each pass over it must yield the
            same examples in the same order.
        path: Folder to write, local or on any file system of `tf.io.gfile`.
        top_k: Number of classes to keep in each row; the mass of the other classes is kept too. Defaults to `None`,
            all classes.
        values: `"logits"` or `"log_probabilities"`. Defaults to `"logits"`.
        dtype: `"float32"`, `"float16"` or `"int8"`. Defaults to `"float16"`.
        features: Names of layers of the teacher to store too. Defaults to `None`.
        key: Name of the ids (integers or strings) among the inputs or in the fourth part of an element, or a function
            of the parts of an element that returns the ids. Defaults to `None`, a hash of the inputs.
        temperatures: Temperatures at which the mass of the rest is kept for top-k; for an ensemble, the one temperature
            of its answers. Defaults to `(1.0,)`.
        padding: Value that fills up sequences of tokens, or a dict of the name of the padded input to that value. Each
            example is then stored at its own length, and its key ignores the padding at its end. Defaults to `None`.
        shard_size: Examples in a shard; a shard ends with a batch, so it may hold a few more. Defaults to `None`, about
            64 MiB.
        batch_size: Examples that the teacher answers at once. Defaults to `None`: the batches of the data set, or 128.
        batched: Whether the data set yields batches, if the teacher's inputs do not show it. Defaults to `None`.
        overwrite: Whether to replace an existing store, finished or not, and to start anew. A finished store stays
            whole until the new one is, so the disk needs room for both; to resume after an interruption, leave
            `overwrite` out. Defaults to `False`.
        progress: `True` for a bar with rate and time left, or a function `(done, total)`. Defaults to `None`.
        name: Name, version and split of the data set. Defaults to `None`.
        preprocessing: Description of the preprocessing of the inputs. Defaults to `None`.
        class_names: Names of the classes. Defaults to `None`.
        replay: A `keras_distill.targets.Replay`: the teacher answers each of its views of each example. Defaults to
            `None`, the examples as they are.

    Returns:
        The `TargetStore`.

    Raises:
        ValueError: If an argument is invalid, the data set has changed since the store was begun, or an answer is not
            finite.
        FileExistsError: If the path holds anything else, or another writer works on it.

    Example:

    >>> import tempfile
    >>> teacher = lambda x: x @ np.eye(4, 3)
    >>> x = np.arange(12.0, dtype="float32").reshape(3, 4)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     store = write(teacher, x, f"{folder}/targets")
    ...     len(store), store[1]["values"].tolist()
    (3, [4.0, 5.0, 6.0])
    """
    teacher = as_teacher(teacher)
    keying = Keying(key, padding)
    shard_size, batch_size = planning.check_counts(shard_size=shard_size, batch_size=batch_size)
    axes = count_axes(teacher)
    if replay is not None:
        dataset, _ = replay.keyed(dataset, keying, axes, "all", batch_size, batched)
        keying, batched = ViewKeying(inner=keying), False
    batches = sources.batches(dataset, keying, axes, batch_size, batched)
    sources.check_not_endless(batches)
    facts = {"name": name, "preprocessing": preprocessing, "class_names": class_names, "batch_size": batch_size}
    asker = Asker(teacher, temperatures, features or ())
    path = files.normalize(path)
    planning.check_place(path)
    files.make_folder(path)
    with only_writer(path), guards.explained():
        first, stream = take_first(batches)
        encoding, shapes = asker.settle(first["x"], padding is not None, top_k=top_k, values=values, dtype=dtype)
        plan = planning.make_plan(asker, encoding, shapes, keying, first, shard_size, facts, replay)
        unfinished = planning.begin(path, plan, overwrite)
        if unfinished is None:
            planning.check_same_start(path, first)
            return TargetStore(path)
        total = _count_examples(dataset, batches, first)
        with report_progress(progress, total, f"{teacher.name} on {name or 'the data set'}") as report:
            _Writer(path, unfinished, asker).run(stream, report)
        return TargetStore(path)


class ShardBuffer:
    """Collect the answers to consecutive batches until they fill a shard.

    Args:
        ragged: Names of the fields in which the length differs from example to example.
    """

    def __init__(self, ragged: frozenset[str]):
        self._ragged = ragged
        self._keys: list[np.ndarray] = []
        self._fields: list[dict[str, np.ndarray]] = []
        self._lengths: list[Any] = []  # Arrays, or all `None`.
        self._error = 0.0

    def __len__(self) -> int:
        return sum(map(len, self._keys))

    def add(self, batch: dict[str, Any], fields: dict[str, Any], error: Any) -> None:
        """Add the answer to a batch.

        Args:
            batch: An element of `sources.batches`.
            fields: Dict of field name to tensor.
            error: Float scalar, the largest error of the encoding.
        """
        lengths = batch["length"].numpy() if "length" in batch else None
        self._keys.append(batch["key"].numpy())
        self._fields.append(cut_to_lengths(to_numpy(fields), lengths, self._ragged))
        self._lengths.append(lengths)
        self._error = max(self._error, float(error))

    def drain(self) -> tuple[np.ndarray, dict[str, np.ndarray], np.ndarray | None, dict[str, float]]:
        """Return the arguments of `write_shard` from `keys` on, and empty the buffer."""
        fields = {name: np.concatenate([each[name] for each in self._fields]) for name in self._fields[0]}
        lengths = np.concatenate(self._lengths) if self._lengths[0] is not None else None
        drained = np.concatenate(self._keys), fields, lengths, {"error": self._error}
        self._keys, self._fields, self._lengths, self._error = [], [], [], 0.0
        return drained


class _Writer:
    """Write the shards of a plan, then the manifest."""

    def __init__(self, path: str, plan: dict[str, Any], asker: Asker):
        self._path, self._plan, self._asker, self._generation = path, plan, asker, manifest.generation_of(plan)
        self._buffer = ShardBuffer(planning.ragged_fields(plan))
        self._records: list[Any] = []
        self._done = 0
        self._disk = concurrent.futures.ThreadPoolExecutor(1)
        self._writing: concurrent.futures.Future[dict[str, Any]] | None = None

    def run(self, stream: Iterable[dict[str, Any]], report: Report) -> None:
        with self._disk:
            pending = None
            for batch in self._skip_finished(stream, report):
                # The teacher starts on the next batch before the answers to the last batch are fetched.
                fields, error = self._asker(batch["x"])
                if pending is not None:
                    self._take(report, *pending)
                pending = batch, fields, error
            if pending is not None:
                self._take(report, *pending)
            if len(self._buffer):
                self._close_shard()
            self._finish_writing()
        planning.finish(self._path, self._plan, self._records)

    def _skip_finished(self, stream: Iterable[dict[str, Any]], report: Report) -> Iterator[dict[str, Any]]:
        """Yield the batches without an answer yet; compare the keys of the other batches with the finished shards."""
        stream = iter(stream)
        while (record := shards.read_record(self._path, len(self._records), self._generation)) is not None:
            shard = shards.Shard(self._path, record)
            shard.check_files()
            position = 0
            while position < len(shard):
                batch = next(stream, None)
                found = np.zeros((0, 2)) if batch is None else batch["key"].numpy()
                stored = shard.keys[position : position + max(len(found), 1)]
                if found.shape != stored.shape or (found != stored).any():
                    rows = np.flatnonzero((found[: len(stored)] != stored[: len(found)]).any(1)) if len(found) else [0]
                    row = int(rows[0]) if len(rows) else min(len(found), len(stored))
                    received = f"another example at position {self._done + position + row}"
                    raise ValueError(describe_change(self._path, received))
                position += len(found)
                report(self._done + position)
            self._records.append(record)
            self._done += len(shard)
        yield from stream

    def _take(self, report: Report, batch: dict[str, Any], fields: dict[str, Any], error: Any) -> None:
        self._buffer.add(batch, fields, error)
        report(self._done + len(self._buffer))
        if len(self._buffer) >= self._plan["shard_size"]:
            self._close_shard()

    def _close_shard(self) -> None:
        self._finish_writing()
        self._done += len(self._buffer)
        write_shard = functools.partial(shards.write_shard, generation=self._generation)
        self._writing = self._disk.submit(write_shard, self._path, len(self._records), *self._buffer.drain())
        self._records.append(None)

    def _finish_writing(self) -> None:
        if self._writing is not None:
            self._records[-1] = self._writing.result()
            self._writing = None


def describe_change(path: str, received: str) -> str:
    """Return the message for a data set that differs from the one that a store was begun with."""
    fix = "Pass the same data set, or start anew with `overwrite=True`."
    return expected(f"the examples that {path} was begun with, in the same order", received, fix)


def take_first(batches: Iterable[Any]) -> tuple[Any, Iterator[Any]]:
    """Return the first batch, and an iterator over all batches including the first."""
    stream = iter(batches)
    first = next(stream, None)
    if first is None:
        raise ValueError(expected("a data set with at least one example", "an empty data set"))
    return first, itertools.chain([first], stream)


def count_axes(teacher: Any) -> list[int] | None:
    """Return the number of axes of each input of one example, `None` if the teacher does not define its inputs."""
    inputs = getattr(teacher, "inputs", None)
    return None if inputs is None else [len(each.shape) - 1 for each in keras.tree.flatten(inputs)]


def _count_examples(dataset: Any, batches: sources.Dataset, first: dict[str, Any]) -> int | None:
    if sources.is_arrays(dataset):
        return len(keras.tree.flatten(dataset)[0])
    count = int(batches.cardinality())
    return count * len(first["key"]) if count >= 0 else None
