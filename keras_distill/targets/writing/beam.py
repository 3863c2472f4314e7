"""Writing a store with the workers of an Apache Beam pipeline; its elements are the shards of the store."""

import dataclasses
import functools
import os
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import keras
import numpy as np

from keras_distill._core import guards
from keras_distill._core.checked import checked
from keras_distill._core.extras import missing
from keras_distill._core.messages import expected
from keras_distill.targets.store import files, fingerprints, manifest, shards
from keras_distill.targets.store.keys import Keying
from keras_distill.targets.store.reader import TargetStore
from keras_distill.targets.writing import planning, sources
from keras_distill.targets.writing.asking import Asker
from keras_distill.targets.writing.locking import only_writer
from keras_distill.targets.writing.portions import divide
from keras_distill.targets.writing.writer import ShardBuffer, count_axes, describe_change, take_first
from keras_distill.teachers.loading import as_teacher

_LOCAL = ("--runner=DirectRunner", "--direct_running_mode=multi_processing", "--direct_num_workers=0")


@checked(top_k=Any, values=Any, dtype=Any, temperatures=Any, shard_size=Any, batch_size=Any, path=str | os.PathLike)
def write_with_beam(
    teacher: Any,
    dataset: Any,
    path: Any,
    *,
    num_shards: int | None = None,
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
    name: str | None = None,
    preprocessing: str | None = None,
    class_names: Sequence[str] | None = None,
    pipeline_options: Any = None,
) -> TargetStore:
    """Write a store of soft targets with the workers of an Apache Beam pipeline, on this machine or on many.

    An element of the pipeline is the number of a shard. A worker reads the examples of the shard in the order and the
    batches of `keras_distill.targets.write` and writes the whole shard. So the store has the same bytes as one written
    by `write`, if the teacher gives the same answers on every machine and number of threads (the last bit of a
    convolution may depend on both). Each process loads the teacher once and runs TensorFlow on one thread, since
    processes that all use every core slow each other down. If the call is repeated, finished shards are kept, and
    their keys are compared with the data set. The caller writes the manifest once all shards are there.

    Workers must be able to import `keras_distill` and every module that defines the functions given here or the layers
    of the teacher, and to open the path, the file and whatever a function opens. Beam sends a function by name if it is
    defined in a module, and by value if it is defined in a script. Arrays are sent inside the pipeline, so they should
    be small. Each process holds the whole of a `.npz`, but only the rows that it reads of a local `.npy`. A process
    holds one shard for each element it works on.

    Args:
        teacher: Path of a teacher that `keras_distill.teachers.as_teacher` takes, or a function without arguments that
            returns anything it takes. The caller loads it too.
        dataset: Arrays `x` or `(x, y)`; the path of a `.npy` (`x`) or a `.npz` (`x`, `x` and `y`, or inputs by their
            names); or a function of the number of a shard that returns the same data set of the shard each time, of any
            kind that `write` takes: one file of TFRecords, or `tfds.load(..., split=f"train[{a}:{b}]")`.
        path: Folder to write, reachable by all workers, local or on any file system of `tf.io.gfile`.
        num_shards: Number of shards, for a function; each of its data sets becomes a shard. Defaults to `None`.
        top_k: See `write`, as for all arguments below without a description. Defaults to `None`.
        values: Defaults to `"logits"`.
        dtype: Defaults to `"float16"`.
        features: Defaults to `None`.
        key: Defaults to `None`.
        temperatures: Defaults to `(1.0,)`.
        padding: Defaults to `None`.
        shard_size: Examples in a shard, for arrays and files; for a function, it is only recorded in the manifest.
            Defaults to `None`, about 64 MiB.
        batch_size: Defaults to `None`.
        batched: Defaults to `None`.
        overwrite: Defaults to `False`.
        name: Defaults to `None`.
        preprocessing: Defaults to `None`.
        class_names: Defaults to `None`.
        pipeline_options: Beam's `PipelineOptions`, or a list of flags. Defaults to `None`: the DirectRunner with a
            process for each core.

    Returns:
        The `TargetStore`.

    Raises:
        ImportError: If Apache Beam, the extra `beam`, is not installed.
        ValueError: If an argument is invalid, the data set has changed since the store was begun, or a shard is empty.
        RuntimeError: If the teacher or anything else in a worker fails.
        FileExistsError: If the path holds anything else, or another writer works on it.

    Example:

    >>> write_with_beam("teacher.keras", "images.npz", "gs://bucket/targets", top_k=32)  # doctest: +SKIP
    """
    beam = _import_beam()
    load = _make_loader(teacher)
    counts = planning.check_counts(shard_size=shard_size, batch_size=batch_size, num_shards=num_shards)
    shard_size, batch_size, num_shards = counts
    read, first_portion, divide_by = divide(dataset, num_shards, batch_size or sources.BATCH_SIZE)
    keying = Keying(key, padding)
    facts = {"name": name, "preprocessing": preprocessing, "class_names": class_names, "batch_size": batch_size}
    asker = Asker(load(), temperatures, features or ())
    reading = (keying, count_axes(asker.teacher), batch_size, batched)
    path = files.normalize(path)
    planning.check_place(path)
    files.make_folder(path)
    with only_writer(path), guards.explained():
        first, _ = take_first(sources.batches(read(first_portion), *reading))
        encoding, shapes = asker.settle(first["x"], padding is not None, top_k=top_k, values=values, dtype=dtype)
        plan = planning.make_plan(asker, encoding, shapes, keying, first, shard_size, facts)
        unfinished = planning.begin(path, plan, overwrite)
        if unfinished is None:
            planning.check_same_start(path, first)
            return TargetStore(path)
        portions, generation = divide_by(plan["shard_size"]), manifest.generation_of(unfinished)
        _check_no_other_shards(path, len(portions), generation)
        label = _Labeller(path, unfinished, load, read, reading, beam.utils.shared.Shared())
        with beam.Pipeline(options=_make_options(beam, pipeline_options)) as pipeline:
            numbered = pipeline | "Shards" >> beam.Create(list(enumerate(portions)))
            _ = numbered | "Spread" >> beam.Reshuffle() | "Label" >> beam.Map(label)
        planning.finish(path, unfinished, _read_records(path, len(portions), generation))
        return TargetStore(path)


@dataclasses.dataclass(eq=False)
class _Labeller:
    """Write one shard, in a worker.

    Attributes:
        path: Folder of the store.
        plan: The plan that `planning.begin` returned.
        load: Function that returns the teacher.
        read: Function of a portion that returns the data set of a shard.
        reading: Arguments of `sources.batches` after the data set.
        shared: Beam's handle of an object that all threads of a process share.
    """

    path: str
    plan: dict[str, Any]
    load: Callable[[], keras.Model]
    read: Callable[[Any], Any]
    reading: tuple
    shared: Any

    def __call__(self, element: tuple[int, Any]) -> None:
        # Marked, so that the caller finds the message inside the error that the runner raises.
        return guards.marked(self._label)(*element)

    def _label(self, index: int, portion: Any) -> None:
        _use_one_thread()
        try:
            with guards.explained():
                batches = sources.batches(self.read(portion), *self.reading)
                record = shards.read_record(self.path, index, manifest.generation_of(self.plan))
                return self._write(index, batches) if record is None else self._compare(record, batches)
        except Exception as error:
            kind = ValueError if isinstance(error, ValueError) else RuntimeError
            raise kind(f"{shards.name_of(index)}: {type(error).__name__}: {error}") from error

    def _compare(self, record: dict[str, Any], batches: sources.Dataset) -> None:
        shard = shards.Shard(self.path, record)
        shard.check_files()
        found = np.concatenate([np.zeros((0, 2), "uint64"), *(batch["key"].numpy() for batch in batches)])
        if found.shape != shard.keys.shape or (found != shard.keys).any():
            raise ValueError(describe_change(self.path, "other examples"))

    def _write(self, index: int, batches: sources.Dataset) -> None:
        buffer = ShardBuffer(planning.ragged_fields(self.plan))
        for batch in batches:
            buffer.add(batch, *self._asker(batch["x"])(batch["x"]))
        if not len(buffer):
            raise ValueError(expected("at least one example in each shard", "an empty shard"))
        shards.write_shard(self.path, index, *buffer.drain(), generation=manifest.generation_of(self.plan))

    def _asker(self, x: Any) -> Asker:
        def settle() -> Any:
            encoding, plan = self.plan["encoding"], self.plan
            asker = Asker(self.load(), encoding["temperatures"], tuple(plan["features"]))
            options = {"top_k": encoding["k"], "values": encoding["values"], "dtype": encoding["dtype"]}
            found, _ = asker.settle(x, plan["key"]["padding"] is not None, **options)
            # The header turns tuples into lists, as in the plan.
            here = manifest.header(teacher=fingerprints.fingerprint_teacher(asker.teacher), encoding=found.to_dict())
            if other := manifest.differences({name: plan[name] for name in here}, here):
                raise ValueError(expected("the same teacher in every process", f"in a worker, another {other}"))
            return asker

        return self.shared.acquire(settle)


def _make_loader(teacher: Any) -> Callable[[], keras.Model]:
    if isinstance(teacher, (str, os.PathLike)):
        return functools.partial(as_teacher, files.normalize(teacher))
    if callable(teacher) and not isinstance(teacher, keras.layers.Layer):
        return lambda: as_teacher(teacher())
    fix = "Save the model as .keras and pass its path: workers load it themselves."
    raise ValueError(expected("the path of a teacher, or a function that returns one", f"{teacher!r}", fix))


def _check_no_other_shards(path: str, count: int, generation: int) -> None:
    names = {shards.name_of(index, generation) for index in range(count)}
    found = [each for each in files.list_folder(path) if planning.is_shard(each, generation)]
    if more := [each for each in found if each not in names]:
        raise ValueError(describe_change(path, f"a data set of {count} shards, without {more[0]}"))


def _read_records(path: str, count: int, generation: int) -> list[dict[str, Any]]:
    records = [shards.read_record(path, index, generation) for index in range(count)]
    found = [record for record in records if record is not None]
    if len(found) < count:
        fix = "The path must lead the workers and the caller to the same folder."
        received = f"no {shards.name_of(records.index(None), generation)}"
        raise ValueError(expected(f"all shards in {path} at the end of the pipeline", received, fix))
    for record in found:
        shards.Shard(path, record).check_files()
    return found


def _use_one_thread() -> None:
    import tensorflow as tf

    try:
        tf.config.threading.set_intra_op_parallelism_threads(1)
        tf.config.threading.set_inter_op_parallelism_threads(1)
    except RuntimeError:
        pass  # TensorFlow has started: the workers are threads of the caller's process.


def _make_options(beam: Any, given: Any) -> Any:
    options = beam.options.pipeline_options.PipelineOptions
    # Without flags, PipelineOptions would parse the command line of the caller.
    return given if isinstance(given, options) else options(list(_LOCAL if given is None else given))


def _import_beam() -> Any:
    try:
        import apache_beam
        import apache_beam.options.pipeline_options
        import apache_beam.utils.shared
    except ImportError as error:
        raise missing("apache-beam, which runs the pipeline", error, "beam") from error
    return apache_beam
