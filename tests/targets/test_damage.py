"""Damage: every damage to a store raises a clear error, and nothing is overwritten."""

import json
import pathlib
import subprocess
import sys

import numpy as np
import pytest

from keras_distill import targets
from keras_distill.targets.store import files
from keras_distill.targets.writing.locking import only_writer
from tests.targets.conftest import make_teacher


def flip(path, at=-3):
    content = bytearray(path.read_bytes())
    content[at] ^= 1
    path.write_bytes(content)


def cut(path):
    path.write_bytes(path.read_bytes()[:-8])


def edit(path, **changes):
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


SHARD = "shard-00001"
DAMAGES = {
    "a flipped byte": (lambda path: flip(path / SHARD / "values.npy"), "SHA-256"),
    "a flipped byte of a key": (lambda path: flip(path / SHARD / "keys.npy"), "SHA-256"),
    "a flipped byte of a header": (lambda path: flip(path / SHARD / "values.npy", 70), "SHA-256"),
    "a truncated shard": (lambda path: cut(path / SHARD / "values.npy"), r"values\.npy of \d+ bytes.* \d+ bytes"),
    "a missing shard": (lambda path: (path / SHARD).rename(path.parent / "gone"), "no such file"),
    "a missing file": (lambda path: (path / SHARD / "keys.npy").unlink(), "no such file"),
    "another version": (lambda path: edit(path / "manifest.json", version=2), "of version 1. Received: version 2"),
    "another format": (lambda path: edit(path / "manifest.json", format="x"), "of the format keras_distill.targets"),
    "no JSON": (lambda path: cut(path / "manifest.json"), "to be JSON"),
}


def snapshot(path):
    return {str(file.relative_to(path)): file.read_bytes() for file in pathlib.Path(path).rglob("*") if file.is_file()}


@pytest.mark.parametrize("name", DAMAGES)
def test_damage_is_found(name, fresh):
    path = pathlib.Path(fresh().path)
    damage, words = DAMAGES[name]
    damage(path)
    with pytest.raises(ValueError, match=words):
        targets.open(path, check="all")


def test_a_damaged_shard_is_found_at_its_first_use(fresh):
    path = pathlib.Path(fresh().path)
    flip(path / SHARD / "values.npy")
    store = targets.open(path)
    assert store[3]["values"].shape == (5,)
    assert store.keys.shape == (100, 2)  # The files of the keys are whole.
    with pytest.raises(ValueError, match="SHA-256"):
        store[40]
    with pytest.raises(ValueError, match="SHA-256"):  # A second time too.
        store[40]


def test_a_missing_store(tmp_path):
    with pytest.raises(FileNotFoundError, match="a store of soft targets"):
        targets.open(tmp_path / "none")
    with pytest.raises(ValueError, match="check to be one of"):
        targets.open(tmp_path, check="some")


def test_a_store_that_is_not_finished(fresh):
    path = pathlib.Path(fresh().path)
    (path / "manifest.json").rename(path / "plan.json")
    with pytest.raises(FileNotFoundError, match="begun and not finished"):
        targets.open(path)


def test_a_teacher_whose_weights_changed(fresh, teacher, dataset, tmp_path):
    store, other = fresh(), make_teacher(5)
    before = snapshot(store.path)
    assert store.verify(teacher, dataset)["examples"] == 100
    with pytest.raises(IndexError, match="from 0 to 99"):
        store[100]
    with pytest.raises(ValueError, match="another teacher: weights"):
        store.verify(other, dataset)
    with pytest.raises(FileExistsError, match=r"teacher weights \("):
        targets.write(other, dataset, store.path, shard_size=32)
    assert snapshot(store.path) == before
    answers = store[:]["values"]
    replaced = targets.write(other, dataset, store.path, shard_size=32, overwrite=True)
    assert not np.array_equal(replaced[:]["values"], answers)
    assert replaced.verify(other, dataset, n=20)["examples"] >= 20


@pytest.mark.parametrize("options", [{}, {"top_k": 2}, {"top_k": 2, "dtype": "int8"}])
def test_values_that_differ_from_the_teachers_answers(fresh, teacher, dataset, options):
    """The checksums are right and the teacher is the same, but the stored values differ from its answers."""
    store = fresh(**options)
    assert store.verify(teacher, dataset)["difference"] <= store.manifest["error"] + 1e-5
    for field in ("rest",) if "top_k" in options else ("values",):
        again = targets.open(store.path)
        for number in range(4):
            fields = again._shard(number).fields
            fields[field] = fields[field] + fields[field].dtype.type(0.5)
        with pytest.raises(ValueError, match="stored values within"):
            again.verify(teacher, dataset)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"top_k": 2}, "encoding k"),
        ({"dtype": "float32"}, "encoding dtype"),
        ({"shard_size": 48}, "shard_size"),
        ({"name": "other"}, "dataset name"),
        ({"temperatures": (2.0,)}, "encoding temperatures"),
    ],
)
def test_other_settings_do_not_overwrite(fresh, options, words):
    path = fresh().path
    before = snapshot(path)
    with pytest.raises(FileExistsError, match=words):
        fresh(**options)
    assert snapshot(path) == before


def test_a_finished_store_is_left_as_it_is(fresh, dataset, teacher):
    before = snapshot(fresh().path)
    asked = []
    again = fresh(progress=lambda done, total: asked.append(done))
    assert snapshot(again.path) == before
    assert not asked
    with pytest.raises(FileExistsError, match="other examples in the first batch"):
        targets.write(teacher, dataset.skip(1), again.path, shard_size=32)


def test_a_second_writer_is_refused(fresh, tmp_path):
    path = tmp_path / "targets"
    path.mkdir()
    with only_writer(str(path)):
        with pytest.raises(FileExistsError, match="the only writer .* process"):
            fresh()
        assert [each.name for each in path.iterdir()] == [".lock"]
    assert len(fresh()) == 100


def test_the_lock_of_a_killed_process_is_free(tmp_path, fresh):
    (tmp_path / "targets").mkdir()
    script = (
        "import fcntl, os, sys; handle = os.open(sys.argv[1], os.O_RDWR | os.O_CREAT);"
        "fcntl.flock(handle, fcntl.LOCK_EX); print('locked', flush=True); sys.stdin.read()"
    )
    command = [sys.executable, "-S", "-c", script, str(tmp_path / "targets" / ".lock")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdout.readline() == b"locked\n"
        with pytest.raises(FileExistsError, match="the only writer"):
            fresh()
        other.kill()
        other.wait()
    assert len(fresh()) == 100


def test_foreign_folders_and_files_are_left_alone(fresh, tmp_path):
    path = tmp_path / "targets"
    path.write_text("mine")
    with pytest.raises(FileExistsError, match="the file"):
        fresh()
    path.unlink()
    path.mkdir()
    (path / "letter.txt").write_text("mine")
    for overwrite in (False, True):
        with pytest.raises(FileExistsError, match="letter.txt"):
            fresh(overwrite=overwrite)
    assert snapshot(path) == {"letter.txt": b"mine"}


def test_no_pickle_is_read(tmp_path):
    np.save(tmp_path / "values.npy", np.array([{}], object))
    with pytest.raises(ValueError, match="Python objects"):
        files.read_array(str(tmp_path / "values.npy"))
