"""The Apache Beam pipeline writes the local writer's store, byte for byte, and each worker loads the teacher once."""

import functools
import os
import pathlib
import shutil

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_distill import targets
from keras_distill.targets.store import files, keys, manifest
from keras_distill.targets.writing.beam import write_with_beam
from tests.targets.conftest import CLASSES, WIDTH, make_teacher
from tests.targets.test_damage import snapshot

pytest.importorskip("apache_beam", reason='needs pip install "keras_distill[beam]"')
pytestmark = pytest.mark.slow

PROCESSES = ["--runner=DirectRunner", "--direct_running_mode=multi_processing", "--direct_num_workers=2"]
THREADS = ["--runner=DirectRunner", "--direct_running_mode=in_memory", "--direct_num_workers=1"]
OPTIONS = {"batch_size": 8, "shard_size": 20, "dtype": "float32", "name": "noise"}
ROWS = 24  # In a shard, which ends with a batch.


def told_teacher(file, folder):
    """Load a teacher, and write a file that records the process and its number of threads."""
    told = pathlib.Path(folder) / f"{os.getpid()}-{len(list(pathlib.Path(folder).iterdir()))}"
    told.write_text(str(tf.config.threading.get_intra_op_parallelism_threads()))
    return keras.saving.load_model(file)


def failing_teacher():
    def teacher(x):
        if len(x) == 4:  # The last batch, in the last shard.
            raise KeyError("no such answer")
        return x[:, :3]

    return functools.partial(keras.tree.map_structure, teacher)


def undecided_teacher():
    return lambda x: np.full((len(x), 2), np.nan if len(x) == 4 else 1.0)


def random_teacher():
    inputs = {"image": keras.Input((WIDTH,), name="image")}
    return keras.Model(inputs, keras.layers.Dense(CLASSES)(inputs["image"]))


def one_input():
    keras.utils.set_random_seed(0)
    return random_teacher()


def token_teacher():
    return lambda x: np.stack([x, 2.0 * x, x - 1.0], -1)


def records(folder, shard):
    file = f"{folder}/{shard}.tfrecord"
    parse = functools.partial(tf.io.parse_tensor, out_type=tf.float32)
    return tf.data.TFRecordDataset(file).map(lambda record: tf.ensure_shape(parse(record), (WIDTH,)))


def empty_after(x, shard):
    return tf.data.Dataset.from_tensor_slices(x).batch(8).take(0 if shard else 9)


@pytest.fixture(scope="module", autouse=True)
def importable():
    """Put this file on the path of the workers."""
    with pytest.MonkeyPatch.context() as patch:
        root = str(pathlib.Path(__file__).parents[2])
        patch.setenv("PYTHONPATH", os.pathsep.join([root, os.environ.get("PYTHONPATH", "")]))
        yield


@pytest.fixture(scope="module")
def folder(teacher, arrays, tmp_path_factory):
    """A folder with a teacher, and its data in every kind of file."""
    folder = tmp_path_factory.mktemp("beam")
    teacher.save(folder / "teacher.keras")
    x, y = arrays
    np.save(folder / "x.npy", x)
    np.savez(folder / "xy.npz", x=x, y=y)
    np.savez(folder / "ids.npz", image=x, id=np.arange(len(x)) * 3)
    for shard, start in enumerate(range(0, len(x), ROWS)):
        with tf.io.TFRecordWriter(f"{folder}/{shard}.tfrecord") as file:
            for each in x[start : start + ROWS]:
                file.write(tf.io.serialize_tensor(each).numpy())
    return folder


@pytest.fixture(scope="module")
def whole(teacher, arrays, tmp_path_factory):
    return targets.write(teacher, arrays, tmp_path_factory.mktemp("local") / "store", **OPTIONS, features=["hidden"])


def test_processes_write_the_store_of_the_local_writer(folder, whole, arrays, tmp_path):
    told = tmp_path / "told"
    told.mkdir()
    load = functools.partial(told_teacher, str(folder / "teacher.keras"), str(told))
    options = {**OPTIONS, "features": ["hidden"], "pipeline_options": PROCESSES}
    store = write_with_beam(load, folder / "xy.npz", tmp_path / "store", **options)
    assert snapshot(store.path) == snapshot(whole.path)
    assert len(store.manifest["shards"]) == 5
    processes = {file.name.split("-")[0]: file.read_text() for file in told.iterdir()}
    assert len(processes) == len(list(told.iterdir()))  # Each process loaded the teacher once.
    caller = processes.pop(str(os.getpid()))
    assert 1 <= len(processes) <= 2 and set(processes.values()) == {"1"}, caller


CASES = {
    "arrays": (lambda folder, arrays: arrays, {}),
    "TFRecords": (lambda folder, arrays: functools.partial(records, str(folder)), {"num_shards": 5}),
    "top-k of a .npy": (
        lambda folder, arrays: folder / "x.npy",
        {"top_k": 2, "dtype": "float16", "temperatures": (1.0, 4.0)},
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_sources_and_encodings(name, folder, teacher, arrays, tmp_path):
    source, options = CASES[name]
    options = {**OPTIONS, **options}
    file = str(folder / "teacher.keras")
    store = write_with_beam(file, source(folder, arrays), tmp_path / "store", **options, pipeline_options=THREADS)
    options.pop("num_shards", None)
    local = targets.write(teacher, arrays, tmp_path / "local", **options)
    assert snapshot(store.path) == snapshot(local.path)


def test_ids_and_lengths(folder, arrays, tmp_path):
    options = {**OPTIONS, "key": "id", "pipeline_options": THREADS}
    named = write_with_beam(one_input, folder / "ids.npz", tmp_path / "named", **options)
    assert named.keys.tolist() == keys.id_keys(np.arange(len(arrays[0])) * 3).tolist()
    tokens = np.tril(np.ones((30, 30), "float32"))[:, :20]
    options = {**OPTIONS, "padding": 0}
    store = write_with_beam(token_teacher, tokens, tmp_path / "tokens", **options, pipeline_options=THREADS)
    assert snapshot(store.path) == snapshot(targets.write(token_teacher(), tokens, tmp_path / "local", **options).path)
    assert store[3]["values"].shape == (4, 3)


def test_only_missing_shards_are_written_again(folder, whole, arrays, tmp_path):
    path = tmp_path / "store"
    shutil.copytree(whole.path, path)
    shutil.rmtree(path / "shard-00002")
    plan = manifest.read(whole.path)
    plan["dataset"].pop("keys")
    plan = {name: plan[name] for name in plan if name not in ("examples", "error", "shards")}
    files.write_json(str(path / "plan.json"), plan)
    (path / "manifest.json").unlink()
    before = stamps(path)
    options = {**OPTIONS, "features": ["hidden"], "pipeline_options": THREADS}
    changed = arrays[0].copy()
    changed[90] += 1.0
    file = str(folder / "teacher.keras")
    with pytest.raises(ValueError, match="shard-00003: .*was begun with.*other examples"):
        write_with_beam(file, changed, path, **options)
    with pytest.raises(ValueError, match="4 shards, without shard-00004"):
        write_with_beam(file, arrays[0][:90], path, **options)
    assert not (path / "manifest.json").exists()
    shutil.rmtree(path / "shard-00002", ignore_errors=True)
    store = write_with_beam(file, arrays, path, **options)
    assert snapshot(path) == snapshot(whole.path)
    after = stamps(path)
    assert before.items() <= after.items()
    assert {name.split("/")[0] for name in after.keys() - before.keys()} == {"shard-00002"}
    # A finished store is returned, and nothing runs.
    assert write_with_beam(file, arrays, path, **options).fingerprint == store.fingerprint
    assert stamps(path) == after


def stamps(path):
    found = {str(file.relative_to(path)): file.stat() for file in path.glob("shard-*/*")}
    return {name: (stat.st_ino, stat.st_mtime_ns) for name, stat in found.items()}


def test_a_teacher_that_fails_in_a_process(folder, tmp_path):
    flags = [*PROCESSES[:2], "--direct_num_workers=1"]
    with pytest.raises(ValueError, match="^shard-00004: ValueError: Expected finite outputs"):
        write_with_beam(undecided_teacher, folder / "x.npy", tmp_path / "s", **OPTIONS, pipeline_options=flags)
    assert (tmp_path / "s" / "plan.json").exists() and not (tmp_path / "s" / "manifest.json").exists()
    with pytest.raises(FileNotFoundError, match="begun and not finished"):
        targets.open(tmp_path / "s")


def test_a_worker_with_another_teacher(folder, tmp_path):
    options = {**OPTIONS, "key": "id", "pipeline_options": THREADS}
    with pytest.raises(ValueError, match="the same teacher in every process.*another teacher weights"):
        write_with_beam(random_teacher, folder / "ids.npz", tmp_path / "store", **options)
    assert not (tmp_path / "store" / "manifest.json").exists()


def test_an_exception_of_the_teacher(folder, tmp_path):
    with pytest.raises(RuntimeError, match="shard-00004: .*no such answer"):
        write_with_beam(failing_teacher, folder / "x.npy", tmp_path / "s", **OPTIONS, pipeline_options=THREADS)
    assert not (tmp_path / "s" / "manifest.json").exists()


REFUSED = {
    "a model": (lambda x: (make_teacher(), x, {}), "path of a teacher.*Save the model"),
    "a data set": (lambda x: (token_teacher, tf.data.Dataset.from_tensor_slices(x), {}), "cannot be divided"),
    "no file": (lambda x: (token_teacher, "none.npz", {}), "no such file"),
    "no number": (lambda x: (token_teacher, token_teacher, {}), "num_shards"),
    "a number too many": (lambda x: (token_teacher, x, {"num_shards": 2}), "shard_size, not num_shards"),
    "two lengths": (lambda x: (token_teacher, (x, x[:4]), {}), "arrays of one length"),
    "no examples": (lambda x: (token_teacher, x[:0], {}), "at least 1"),
    "an empty shard": (
        lambda x: (undecided_teacher, functools.partial(empty_after, x), {"num_shards": 2}),
        "shard-00001: .*at least one example",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refused(name, arrays, tmp_path):
    make, words = REFUSED[name]
    teacher, dataset, options = make(arrays[0])
    with pytest.raises(ValueError, match=words):
        write_with_beam(teacher, dataset, tmp_path / "store", **options, pipeline_options=THREADS)
    assert not (tmp_path / "store" / "manifest.json").exists()
