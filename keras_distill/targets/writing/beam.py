"""Asking the teacher once on many machines: the shards of a store as the elements of an Apache Beam pipeline."""

import functools
import io
import os

import keras
import numpy as np

from keras_distill._core import guards
from keras_distill._core.messages import expected
from keras_distill.targets.store import files, fingerprints, manifest, shards
from keras_distill.targets.store.keying import Keying
from keras_distill.targets.store.reader import TargetStore
from keras_distill.targets.writing import sources, writer
from keras_distill.targets.writing.asking import Asker, of_positions, to_numpy
from keras_distill.targets.writing.locking import only_writer
from keras_distill.targets.writing.planning import begin, check_place, check_same_start, plan_of, ragged_fields
from keras_distill.teachers.loading import as_teacher

_HERE = ("--runner=DirectRunner", "--direct_running_mode=multi_processing", "--direct_num_workers=0")
_SOURCES = "arrays, a .npz or .npy file, or a function of the number of a shard that returns its data set"


def write_with_beam(
    teacher,
    dataset,
    path,
    *,
    num_shards=None,
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
    name=None,
    preprocessing=None,
    class_names=None,
    pipeline_options=None,
):
    """Write a store of soft targets with the workers of an Apache Beam pipeline, on this machine or on many.

    An element of the pipeline is the number of a shard. A worker reads its examples in the order and the batches of
    `keras_distill.targets.write` and writes it whole, so the store is the same, byte for byte, given a teacher that
    answers alike on every machine and number of threads (the last bit of a convolution may depend on both). Each
    process loads the teacher once and runs TensorFlow on one thread, since processes that all use every core hinder
    each other. Run again, the shards that are finished are kept, and their keys compared with the data set. The
    manifest is written by the caller once all shards are there.

    Workers must be able to import `keras_distill` and every module that the functions given here, or the teacher's
    own layers, are defined in, and to open the path, the file and whatever a function opens. Functions travel as Beam
    sends its own: by name from a module, by value from a script. Arrays travel inside the pipeline and are for what
    is small; a `.npz` is held whole by each process, of a `.npy` on a disk only what is read. A process holds one
    shard for each element it works on.

    Args:
        teacher: Path of a teacher that `keras_distill.teachers.as_teacher` takes, or a function without arguments that
            returns anything it takes. The caller loads it too.
        dataset: Arrays `x` or `(x, y)`; the path of a `.npy` (`x`) or a `.npz` (`x`, or `x` and `y`, or inputs by their
            names); or a function of the number of a shard that returns the same data set for it each time, of any kind
            that `write` takes: the files of TFRecords one by one, or `tfds.load(..., split=f"train[{a}:{b}]")`.
        path: Folder to write that all workers reach, local or whatever `tf.io.gfile` opens.
        num_shards: Number of shards, for a function, each of which is a shard of the store. Defaults to `None`.
        top_k: As in `write`, and so are those below that are not told here.
        values: Defaults to `"logits"`.
        dtype: Defaults to `"float16"`.
        features: Defaults to `None`.
        key: Defaults to `None`.
        temperatures: Defaults to `(1.0,)`.
        padding: Defaults to `None`.
        shard_size: Examples in a shard, for arrays and files; of a function no more than what the manifest says.
            Defaults to `None`, about 64 MiB.
        batch_size: Defaults to `None`.
        batched: Defaults to `None`.
        overwrite: Defaults to `False`.
        name: Defaults to `None`.
        preprocessing: Defaults to `None`.
        class_names: Defaults to `None`.
        pipeline_options: Beam's `PipelineOptions`, or a list of its flags. Defaults to `None`: the DirectRunner with a
            process for each core.

    Returns:
        The `TargetStore`.

    Raises:
        ImportError: If Apache Beam is not installed, the extra `beam`.
        ValueError: If an argument is not what it should be, the data set is not what it was, or a shard is empty.
        RuntimeError: If the teacher, or anything else in a worker, fails.
        FileExistsError: If something else is at the path, or another writer.

    Example:

    >>> write_with_beam("teacher.keras", "images.npz", "gs://bucket/targets", top_k=32)  # doctest: +SKIP
    """
    beam = _beam()
    load = _loader(teacher)
    writer.check_counts(shard_size=shard_size, batch_size=batch_size, num_shards=num_shards)
    read, first_portion, portions_of = _source(dataset, num_shards, batch_size or sources.BATCH_SIZE)
    keying = Keying(key, padding)
    facts = {"name": name, "preprocessing": preprocessing, "class_names": class_names, "batch_size": batch_size}
    asker = Asker(load(), temperatures, features or ())
    reading = (keying, writer.ranks(asker.teacher), batch_size, batched)
    path = files.path_of(path)
    check_place(path)
    files.make_folder(path)
    with only_writer(path), guards.explained():
        first, _ = writer.first_of(sources.batches(read(first_portion), *reading))
        encoding, shapes = asker.settle(first["x"], padding is not None, top_k=top_k, values=values, dtype=dtype)
        plan = plan_of(asker, encoding, shapes, keying, first, shard_size, facts)
        if not begin(path, plan, overwrite):
            check_same_start(path, first)
            return TargetStore(path)
        portions = portions_of(plan["shard_size"])
        _check_no_more(path, len(portions))
        label = _Labeller(path, plan, load, read, reading, beam.utils.shared.Shared())
        with beam.Pipeline(options=_options(beam, pipeline_options)) as pipeline:
            numbered = pipeline | "Shards" >> beam.Create(list(enumerate(portions)))
            _ = numbered | "Spread" >> beam.Reshuffle() | "Label" >> beam.Map(label)
        writer.finish(path, plan, _records(path, len(portions)))
        return TargetStore(path, check="sizes")


class _Labeller:
    """Write one shard, in a worker.

    Args:
        path: Folder of the store.
        plan: What `plan.json` holds.
        load: Function that returns the teacher.
        read: Function that returns the data set of a shard, given its portion.
        reading: What `sources.batches` is given after the data set.
        shared: Beam's handle of what a process holds once.
    """

    def __init__(self, path, plan, load, read, reading, shared):
        self._path, self._plan, self._load = path, plan, load
        self._read, self._reading, self._shared = read, reading, shared

    def __call__(self, element):
        # Marked here, so that the caller finds what was meant in what the runner makes of it.
        return guards.marked(self._label)(*element)

    def _label(self, index, portion):
        _use_one_thread()
        try:
            with guards.explained():
                batches = sources.batches(self._read(portion), *self._reading)
                record = shards.read_record(self._path, index)
                return self._write(index, batches) if record is None else self._compare(record, batches)
        except Exception as error:
            kind = ValueError if isinstance(error, ValueError) else RuntimeError
            raise kind(f"{shards.name_of(index)}: {type(error).__name__}: {error}") from error

    def _compare(self, record, batches):
        shard = shards.Shard(self._path, record)
        shard.check_files()
        found = np.concatenate([np.zeros((0, 2), "uint64"), *(batch["key"].numpy() for batch in batches)])
        if found.shape != shard.keys.shape or (found != shard.keys).any():
            raise ValueError(_changed(self._path, "others"))

    def _write(self, index, batches):
        ragged, keys, fields, lengths, error = ragged_fields(self._plan), [], [], [], 0.0
        for batch in batches:
            answers, difference = self._asker(batch["x"])(batch["x"])
            lengths.append(batch["length"].numpy() if "length" in batch else None)
            fields.append(of_positions(to_numpy(answers), lengths[-1], ragged))
            keys.append(batch["key"].numpy())
            error = max(error, float(difference))
        if not keys:
            raise ValueError(expected("at least one example in each shard", "none"))
        fields = {name: np.concatenate([each[name] for each in fields]) for name in fields[0]}
        lengths = None if lengths[0] is None else np.concatenate(lengths)
        shards.write_shard(self._path, index, np.concatenate(keys), fields, lengths, {"error": error})

    def _asker(self, x):
        def settled():
            encoding, plan = self._plan["encoding"], self._plan
            asker = Asker(self._load(), encoding["temperatures"], tuple(plan["features"]))
            options = {"top_k": encoding["k"], "values": encoding["values"], "dtype": encoding["dtype"]}
            found, _ = asker.settle(x, plan["key"]["padding"] is not None, **options)
            # As the plan has them, through JSON: tuples are lists.
            here = manifest.header(teacher=fingerprints.of_teacher(asker.teacher), encoding=found.to_dict())
            if other := manifest.differences({name: plan[name] for name in here}, here):
                raise ValueError(expected("the teacher that the caller has", f"in a worker another {other}"))
            return asker

        return self._shared.acquire(settled)


def _loader(teacher):
    if isinstance(teacher, (str, os.PathLike)):
        return functools.partial(as_teacher, files.path_of(teacher))
    if callable(teacher) and not isinstance(teacher, keras.layers.Layer):
        return lambda: as_teacher(teacher())
    fix = "Save a model as .keras and give its path: workers load it themselves."
    raise ValueError(expected("the path of a teacher, or a function that returns one", f"{teacher!r}", fix))


def _source(dataset, num_shards, batch_size):
    """Return a function that reads a portion, the first portion, and a function of the size to those of all shards."""
    if isinstance(dataset, (str, os.PathLike)):
        file = files.path_of(dataset)
        if not file.endswith((".npy", ".npz")) or files.size(file) < 0:
            raise ValueError(expected(_SOURCES, f"{file}, which is no such file"))
        read, whole, portion = functools.partial(_rows_of_file, file), _arrays_of(file), lambda rows: rows
    elif callable(dataset) and not hasattr(dataset, "element_spec"):
        if num_shards is None:
            raise ValueError(expected("num_shards, with a function of the number of a shard", "num_shards=None"))
        return dataset, 0, lambda size: range(num_shards)
    elif hasattr(dataset, "element_spec") or isinstance(dataset, keras.utils.PyDataset):
        fix = "Give a function that makes the part of each shard: this one can not be cut, nor sent to workers."
        raise ValueError(expected(_SOURCES, type(dataset).__name__, fix))
    else:
        whole = keras.tree.map_structure(np.asarray, dataset, none_is_leaf=False)
        read, portion = lambda part: part, lambda rows: _rows(whole, rows)
    if num_shards is not None:
        raise ValueError(expected("shard_size, not num_shards, with arrays and files", f"num_shards={num_shards}"))
    lengths = {array.shape[:1] for array in keras.tree.flatten(whole) if array is not None}
    if len(lengths) != 1 or not all(lengths) or lengths == {(0,)}:
        raise ValueError(expected("arrays of one length, at least 1", f"lengths {sorted(lengths)}"))
    ((count,),) = lengths

    def portions_of(size):
        size = -(-size // batch_size) * batch_size  # As `write` does: a shard ends with a batch.
        return [portion((start, min(start + size, count))) for start in range(0, count, size)]

    return read, portion((0, min(batch_size, count))), portions_of


def _rows(arrays, rows):
    return keras.tree.map_structure(lambda array: array[slice(*rows)], arrays, none_is_leaf=False)


def _rows_of_file(file, rows):
    return _rows(_arrays_of(file), rows)


@functools.lru_cache(1)
def _arrays_of(file):
    if file.endswith(".npy"):
        return files.read_array(file)
    with np.load(io.BytesIO(files.read(file)) if files.is_remote(file) else file, allow_pickle=False) as found:
        arrays = {name: found[name] for name in sorted(found.files)}
    if arrays.keys() == {"x", "y"}:
        return arrays["x"], arrays["y"]
    return arrays["x"] if arrays.keys() == {"x"} else arrays


def _check_no_more(path, count):
    names = {shards.name_of(index) for index in range(count)}
    if more := [each for each in files.listed(path) if each.startswith("shard-") and each not in names]:
        raise ValueError(_changed(path, f"so few that there is no {more[0]}"))


def _changed(path, received):
    fix = "Give the data set that it was begun with, or start anew with `overwrite=True`."
    return expected(f"the examples that {path} was begun with, in their order", received, fix)


def _records(path, count):
    records = [shards.read_record(path, index) for index in range(count)]
    if None in records:
        fix = "Workers and the caller must reach one folder by this path."
        missing = shards.name_of(records.index(None))
        raise ValueError(expected(f"all shards in {path} when the pipeline has ended", f"no {missing}", fix))
    for record in records:
        shards.Shard(path, record).check_files()
    return records


def _use_one_thread():
    import tensorflow as tf

    try:
        tf.config.threading.set_intra_op_parallelism_threads(1)
        tf.config.threading.set_inter_op_parallelism_threads(1)
    except RuntimeError:
        pass  # TensorFlow runs already: a runner whose workers are threads of the caller's process.


def _options(beam, given):
    options = beam.options.pipeline_options.PipelineOptions
    # None would have it read the command line, which is the caller's.
    return given if isinstance(given, options) else options(list(_HERE if given is None else given))


def _beam():
    try:
        import apache_beam
        import apache_beam.options.pipeline_options
        import apache_beam.utils.shared
    except ImportError as error:
        fix = 'pip install "keras_distill[beam]"'
        raise ImportError(expected("apache-beam, which runs the pipeline", "no such package", fix)) from error
    return apache_beam
