"""Overwriting a store: whenever the writer stops, there is a whole store, the old or the new; readers keep the old."""

import pathlib

import numpy as np
import pytest

from keras_distill import targets
from keras_distill.targets.store import files
from tests.targets.conftest import make_teacher
from tests.targets.test_damage import edit, snapshot
from tests.targets.test_resume import Stopped

OTHER = make_teacher(5)
FILES = 1 + 4 * 3 + 1  # The plan, four shards of two arrays and a record, the manifest.
REMOVED = 4 + 1  # The old shards, the plan.


def stop_after(monkeypatch, steps):
    """Let the disk stop working after so many files that a writer writes or removes."""
    done = []

    def counted(real):
        def run(path, *arguments):
            if not files.exists(path) and real is removing:
                return None
            done.append(path)
            if len(done) > steps:
                raise Stopped
            return real(path, *arguments)

        return run

    writing, removing = files.write, files.remove
    monkeypatch.setattr(files, "remove", counted(removing))
    monkeypatch.setattr(files, "write", counted(lambda path, content: _write(path, content)))

    def _write(path, content):
        with monkeypatch.context() as context:
            context.setattr(files, "remove", removing)  # What `write` itself removes is no step.
            return writing(path, content)


@pytest.fixture(scope="module")
def replacement(dataset, tmp_path_factory):
    """The store of the other teacher, written to a new folder."""
    return targets.write(OTHER, dataset, tmp_path_factory.mktemp("stores") / "new", shard_size=32)


@pytest.mark.parametrize("steps", [0, 1, 2, 7, FILES - 1, FILES, FILES + 1, FILES + REMOVED - 1])
def test_stopped_at_any_step_a_store_is_whole(steps, fresh, dataset, replacement, monkeypatch):
    old = fresh()
    before, path = old[:]["values"], old.path
    with monkeypatch.context() as context:
        stop_after(context, steps)
        with pytest.raises(Stopped):
            targets.write(OTHER, dataset, path, shard_size=32, overwrite=True)
    there = targets.open(path, check="all")
    expected = before if steps < FILES else replacement[:]["values"]
    np.testing.assert_array_equal(there[:]["values"], expected)
    if steps == 0:  # Nothing was written, so nobody has overwritten anything.
        with pytest.raises(FileExistsError, match="finished with"):
            targets.write(OTHER, dataset, path, shard_size=32)
        return
    finished = targets.write(OTHER, dataset, path, shard_size=32)  # Without `overwrite`, it resumes.
    np.testing.assert_array_equal(finished[:]["values"], replacement[:]["values"])
    assert finished.fingerprint == replacement.fingerprint
    names = sorted(each.name for each in pathlib.Path(path).iterdir())
    assert names == ["manifest.json", *(f"shard-0000{number}-1" for number in range(4))]


def test_finished_shards_are_kept_when_overwriting_resumes(fresh, dataset, monkeypatch):
    path = fresh().path
    with monkeypatch.context() as context:
        stop_after(context, 1 + 2 * 3)
        with pytest.raises(Stopped):
            targets.write(OTHER, dataset, path, shard_size=32, overwrite=True)
    first = pathlib.Path(path, "shard-00000-1", "values.npy")
    written = first.stat().st_mtime_ns
    # The settings of the store that is still there: it is left, as is what was begun to replace it.
    assert fresh()[:]["values"].shape == (100, 5)
    targets.write(OTHER, dataset, path, shard_size=32)
    assert first.stat().st_mtime_ns == written


def test_overwriting_again_starts_anew(fresh, dataset, replacement):
    path = fresh().path
    for generation in (1, 2, 3):
        store = targets.write(OTHER, dataset, path, shard_size=32, overwrite=True)
        assert [record["name"] for record in store.manifest["shards"]][0] == f"shard-00000-{generation}"
        assert len(list(pathlib.Path(path).iterdir())) == 5
        assert store.fingerprint == replacement.fingerprint


def test_what_is_damaged_can_be_overwritten(fresh, dataset, replacement):
    path = pathlib.Path(fresh().path)
    edit(path / "manifest.json", examples=7)
    with pytest.raises(ValueError, match="checksum"):
        fresh()
    store = targets.write(OTHER, dataset, path, shard_size=32, overwrite=True)
    assert snapshot(store.path) == snapshot(replacement.path)


@pytest.mark.parametrize("check", targets.store.reader.CHECKS)
def test_a_reader_never_gets_the_answers_of_another_teacher(check, fresh, dataset):
    reader = targets.open(fresh().path, check=check)
    before = targets.open(reader.path)[:]["values"]
    np.testing.assert_array_equal(reader[3]["values"], before[3])
    targets.write(OTHER, dataset, reader.path, shard_size=32, overwrite=True)
    np.testing.assert_array_equal(reader[:32]["values"], before[:32])  # This shard was open.
    if check == "all":
        np.testing.assert_array_equal(reader[:]["values"], before)
        assert len(list(reader.join(dataset))) == 7
    else:
        with pytest.raises(ValueError, match="replaced after it was opened: open it again"):
            reader[:]


def test_a_folder_that_is_exchanged_is_no_other_answer_either(fresh, dataset, replacement, tmp_path):
    """Not even where the files have the same names and sizes."""
    readers = {check: targets.open(fresh().path, check=check) for check in ("first_use", "all")}
    before = targets.open(tmp_path / "targets")[:]["values"]
    (tmp_path / "targets").rename(tmp_path / "old")
    pathlib.Path(replacement.path).rename(tmp_path / "targets")
    try:
        np.testing.assert_array_equal(readers["all"][:]["values"], before)
        with pytest.raises(ValueError, match="SHA-256"):
            readers["first_use"][:]
    finally:
        (tmp_path / "targets").rename(replacement.path)
