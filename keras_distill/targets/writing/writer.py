"""Asking the teacher once: its answers to a data set, written shard by shard, to be gone on with after any stop."""

import concurrent.futures
import hashlib
import itertools

import keras
import numpy as np

from keras_distill._core import guards
from keras_distill._core.messages import expected
from keras_distill.targets.replay.views import ViewKeying
from keras_distill.targets.store import files, manifest, shards
from keras_distill.targets.store.keying import Keying
from keras_distill.targets.store.keys import text_of
from keras_distill.targets.store.reader import TargetStore
from keras_distill.targets.writing import sources
from keras_distill.targets.writing.asking import Asker, of_positions, to_numpy
from keras_distill.targets.writing.locking import only_writer
from keras_distill.targets.writing.planning import begin, check_place, check_same_start, plan_of, ragged_fields
from keras_distill.targets.writing.progress import reported
from keras_distill.teachers.loading import as_teacher


def write(
    teacher,
    dataset,
    path,
    *,
    top_k=None,
    values="logits",
    dtype="float16",
    features=None,
    key=None,
    temperatures=(1.0,),
    padding=None,
    shard_size=None,
    batch_size=None,
    batched=None,
    overwrite=False,
    progress=None,
    name=None,
    preprocessing=None,
    class_names=None,
    replay=None,
):
    """Run a teacher over a data set once, and store what it says of each example.

    The store is a folder of memory-mapped arrays in shards and a manifest, which is written last: there is one exactly
    when the store is whole. Stopped anywhere, the same call goes on where it was: finished shards are kept, and
    their keys compared with the data set while it is read past them. What is finished is the same, byte for byte, as
    if it had never been stopped (given a teacher that answers the same to the same batch).

    Each example is known by a hash of its inputs, or by an id of its own, so that no student is ever given the answer
    to another example. Memory holds two shards, and 16 bytes for each example when they are all written.

    Args:
        teacher: A `keras.Model` or whatever `keras_distill.teachers.as_teacher` takes.
        dataset: A `tf.data.Dataset` of examples or of batches, a `keras.utils.PyDataset`, or arrays `x` or `(x, y)`.
            Each pass over it must give the same examples in the same order.
        path: Folder to write, local or whatever `tf.io.gfile` opens.
        top_k: Number of classes to keep of each row; the mass of the others is kept beside. Defaults to `None`, all.
        values: `"logits"` or `"log_probabilities"`. Defaults to `"logits"`.
        dtype: `"float32"`, `"float16"` or `"int8"`. Defaults to `"float16"`.
        features: Names of layers of the teacher to keep as well. Defaults to `None`.
        key: Name of the ids (integers or strings) among the inputs or in the fourth part of an element, or a function
            of the parts of an element that returns them. Defaults to `None`: a hash of the inputs.
        temperatures: Temperatures at which the mass of the rest is kept for top-k; for an ensemble, the one at which
            it is asked. Defaults to `(1.0,)`.
        padding: Value that fills up sequences of tokens, or a dict of the one input that has it to that value. Given,
            each example is stored in its own length and known by what is not padding at its end. Defaults to `None`.
        shard_size: Examples in a shard, or a few more: it ends with a batch. Defaults to `None`, about 64 MiB.
        batch_size: Examples that the teacher is given at once. Defaults to `None`: the batches as they come, or 128.
        batched: Whether the data set is of batches, where the teacher's inputs do not tell. Defaults to `None`.
        overwrite: Whether a store that is there, finished or not, is removed once the teacher has answered a first
            batch. Defaults to `False`.
        progress: `True` for a bar with rate and time left, or a function `(done, total)`. Defaults to `None`.
        name: What the data set is called: name, version and split. Defaults to `None`.
        preprocessing: What was done to the inputs, in words. Defaults to `None`.
        class_names: Names of the classes. Defaults to `None`.
        replay: A `keras_distill.targets.Replay`: the teacher is asked about each of its views of each example. Defaults
            to `None`, the examples as they are.

    Returns:
        The `TargetStore`.

    Raises:
        ValueError: If an argument is not what it should be, the data set is not what it was, or the teacher fails.
        FileExistsError: If something else is at the path, or another writer.

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
    check_counts(shard_size=shard_size, batch_size=batch_size)
    axes = ranks(teacher)
    if replay is not None:
        dataset, _ = replay.keyed(dataset, keying, axes, "all", batch_size, batched)
        keying, batched = ViewKeying(keying), False
    batches = sources.batches(dataset, keying, axes, batch_size, batched)
    facts = {"name": name, "preprocessing": preprocessing, "class_names": class_names, "batch_size": batch_size}
    asker = Asker(teacher, temperatures, features or ())
    path = files.path_of(path)
    check_place(path)
    files.make_folder(path)
    with only_writer(path), guards.explained():
        first, stream = first_of(batches)
        encoding, shapes = asker.settle(first["x"], padding is not None, top_k=top_k, values=values, dtype=dtype)
        plan = plan_of(asker, encoding, shapes, keying, first, shard_size, facts, replay)
        if not begin(path, plan, overwrite):
            check_same_start(path, first)
            return TargetStore(path)
        total = _total(dataset, batches, first)
        with reported(progress, total, f"{teacher.name} on {name or 'the data set'}") as report:
            _Writer(path, plan, asker).run(stream, report)
        return TargetStore(path)


class _Writer:
    """Fill the shards of a plan, and close the store with a manifest."""

    def __init__(self, path, plan, asker):
        self._path, self._plan, self._asker = path, plan, asker
        self._ragged = ragged_fields(plan)
        self._records, self._done = [], 0
        self._clear()
        self._disk = concurrent.futures.ThreadPoolExecutor(1)
        self._writing = None

    def run(self, stream, report):
        with self._disk:
            pending = None
            for batch in self._past_the_finished(stream, report):
                # The next batch is asked for before the answers to the last one are fetched.
                asked = (batch, *self._asker(batch["x"]))
                if pending is not None:
                    self._take(*pending, report)
                pending = asked
            if pending is not None:
                self._take(*pending, report)
            if self._rows:
                self._close_shard()
            self._finish_writing()
        finish(self._path, self._plan, self._records)

    def _past_the_finished(self, stream, report):
        """Yield the batches that are still to be answered; compare the keys of the others with what is there."""
        stream = iter(stream)
        while (record := shards.read_record(self._path, len(self._records))) is not None:
            shard = shards.Shard(self._path, record)
            shard.check_files()
            position = 0
            while position < len(shard):
                batch = next(stream, None)
                found = np.zeros((0, 2)) if batch is None else batch["key"].numpy()
                stored = shard.keys[position : position + max(len(found), 1)]
                if found.shape != stored.shape or (found != stored).any():
                    rows = np.flatnonzero((found[: len(stored)] != stored[: len(found)]).any(1)) if len(found) else [0]
                    self._changed(int(rows[0]) if len(rows) else min(len(found), len(stored)), position)
                position += len(found)
                report(self._done + position)
            self._records.append(record)
            self._done += len(shard)
        yield from stream

    def _changed(self, row, position):
        fix = "Give the data set that it was begun with, or start anew with `overwrite=True`."
        received = f"another one at example {self._done + position + row}"
        raise ValueError(expected(f"the examples that {self._path} was begun with, in their order", received, fix))

    def _take(self, batch, fields, error, report):
        lengths = batch["length"].numpy() if "length" in batch else None
        self._keys.append(batch["key"].numpy())
        self._fields.append(of_positions(to_numpy(fields), lengths, self._ragged))
        self._lengths.append(lengths)
        self._error = max(self._error, float(error))
        self._rows += len(self._keys[-1])
        report(self._done + self._rows)
        if self._rows >= self._plan["shard_size"]:
            self._close_shard()

    def _close_shard(self):
        self._finish_writing()
        fields = {name: np.concatenate([each[name] for each in self._fields]) for name in self._fields[0]}
        lengths = np.concatenate(self._lengths) if self._lengths[0] is not None else None
        arguments = (self._path, len(self._records), np.concatenate(self._keys), fields, lengths)
        self._writing = self._disk.submit(shards.write_shard, *arguments, {"error": self._error})
        self._records.append(None)
        self._done += self._rows
        self._clear()

    def _clear(self):
        self._keys, self._fields, self._lengths, self._rows, self._error = [], [], [], 0, 0.0

    def _finish_writing(self):
        if self._writing is not None:
            self._records[-1] = self._writing.result()
            self._writing = None


def finish(path, plan, records):
    """Close a store whose shards are all written: what they hold is counted, and the manifest put in place.

    Args:
        path: Folder of the store.
        plan: What `plan.json` holds.
        records: Records of the shards, in order.

    Raises:
        ValueError: If an id is that of two examples.
    """
    keys = np.concatenate([shards.Shard(path, record).keys for record in records])
    if plan["key"]["kind"] != "content":
        _check_unique(keys)
    digest = hashlib.blake2b(np.ascontiguousarray(keys).tobytes(), digest_size=16).hexdigest()
    facts = {
        "examples": len(keys),
        "dataset": {**plan["dataset"], "keys": digest},
        "error": max(record["error"] for record in records),
        "shards": records,
    }
    files.write_json(files.join(path, manifest.MANIFEST), {**plan, **facts})
    files.remove(files.join(path, manifest.PLAN))


def _check_unique(keys):
    _, first, counts = np.unique(keys, axis=0, return_index=True, return_counts=True)
    if (counts > 1).any():
        key = keys[first[counts > 1].min()]
        places = np.flatnonzero((keys == key).all(1))[:2]
        received = f"one for the examples {places[0]} and {places[1]} (key {text_of(key)})"
        raise ValueError(expected("an id of its own for each example", received))


def check_counts(**counts):
    """Raise a `ValueError` unless each argument is a whole number >= 1, or `None`."""
    for name, value in counts.items():
        if value is not None and (isinstance(value, bool) or not isinstance(value, int) or value < 1):
            raise ValueError(expected(f"{name} to be a whole number >= 1", f"{name}={value!r}"))


def first_of(batches):
    """Return the first batch and an iterator of all of them, the first included."""
    stream = iter(batches)
    first = next(stream, None)
    if first is None:
        raise ValueError(expected("a data set with at least one example", "an empty one"))
    return first, itertools.chain([first], stream)


def ranks(teacher):
    """Return the number of axes of each input of one example; `None` where the teacher does not tell."""
    inputs = getattr(teacher, "inputs", None)
    return None if inputs is None else [len(each.shape) - 1 for each in keras.tree.flatten(inputs)]


def _total(dataset, batches, first):
    if not hasattr(dataset, "element_spec") and not isinstance(dataset, keras.utils.PyDataset):
        return len(keras.tree.flatten(dataset)[0])
    count = int(batches.cardinality())
    return count * len(first["key"]) if count >= 0 else None
