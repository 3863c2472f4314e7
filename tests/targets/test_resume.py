"""Resuming a writer after any interruption: nothing is lost or written twice, and every byte is the same."""

import json
import pathlib
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf

from keras_distill import targets
from keras_distill.targets.store import files, shards
from tests.targets.test_damage import snapshot


@pytest.mark.slow
def test_killed_at_chosen_points(tmp_path):
    script = pathlib.Path(__file__).with_name("killing.py")
    done = subprocess.run([sys.executable, str(script), str(tmp_path)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    progress = json.loads(done.stdout.splitlines()[-1])
    assert len(progress) == 8 and progress == sorted(progress)  # No finished shard is ever lost.
    killed, whole = snapshot(tmp_path / "killed"), snapshot(tmp_path / "whole")
    assert killed.keys() == whole.keys()
    assert killed == whole
    assert len(targets.open(tmp_path / "killed", check="all")) == 96


class Stopped(Exception):
    """The end of a writer's process, in this one."""


def stopping(monkeypatch, after):
    """Let the file system stop working after so many files, and leave what is half written."""
    written = []

    def write(path, content, real=files.write):
        written.append(path)
        if len(written) > after:
            pathlib.Path(path + ".beside").write_bytes(b"half")
            raise Stopped
        return real(path, content)

    monkeypatch.setattr(files, "write", write)


@pytest.mark.parametrize("after", range(0, 18, 2))
def test_stopped_before_any_file(after, fresh, dataset, teacher, monkeypatch, tmp_path):
    whole = targets.write(teacher, dataset, tmp_path / "whole", shard_size=32)
    with monkeypatch.context() as context:
        stopping(context, after)
        try:
            fresh()
        except Stopped:
            pass
        else:
            assert after >= 14  # The plan, four shards of three files, the manifest.
    asked = []
    store = targets.write(teacher, dataset, tmp_path / "targets", shard_size=32, progress=lambda *d: asked.append(d[0]))
    assert snapshot(store.path) == snapshot(whole.path)
    assert asked == sorted(asked)


def test_only_what_is_missing_is_asked_for(arrays, monkeypatch, tmp_path):
    asked = []

    def teacher(x):
        asked.extend(x[:, 0].tolist())
        return x[:, :3]

    with monkeypatch.context() as context:
        stopping(context, 1 + 2 * 3 + 1)
        with pytest.raises(Stopped):
            targets.write(teacher, arrays[0], tmp_path / "store", batch_size=16, shard_size=32)
    asked.clear()
    targets.write(teacher, arrays[0], tmp_path / "store", batch_size=16, shard_size=32)
    # Two shards of 32 were finished; two samples of a made-up batch and the first batch find out the shapes.
    missing = arrays[0][64:, 0].tolist()
    assert [each for each in asked if each in missing] == missing
    assert len(asked) <= len(missing) + 2 + 16


def test_a_data_set_that_changed_meanwhile_is_told(fresh, teacher, arrays, monkeypatch, tmp_path):
    with monkeypatch.context() as context:
        stopping(context, 1 + 3 * 3)
        with pytest.raises(Stopped):
            fresh()
    x = arrays[0].copy()
    x[50] += 1.0
    before = snapshot(tmp_path / "targets")
    for changed in (x, arrays[0][:40]):
        source = tf.data.Dataset.from_tensor_slices(changed).batch(16)
        with pytest.raises(ValueError, match="another example at position (50|40)"):
            targets.write(teacher, source, tmp_path / "targets", shard_size=32)
    assert snapshot(tmp_path / "targets") == before


def test_a_teacher_that_fails_leaves_what_is_finished(arrays, tmp_path):
    def teacher(x):
        return np.full((len(x), 2), np.nan if x[0, 0] == arrays[0][48, 0] else 1.0)

    with pytest.raises(ValueError, match="finite outputs"):
        targets.write(teacher, arrays[0], tmp_path / "store", batch_size=16, shard_size=32)
    assert shards.read_record(str(tmp_path / "store"), 0)["examples"] == 32
    assert sorted(each.name for each in (tmp_path / "store").iterdir()) == ["plan.json", "shard-00000"]


def test_an_empty_data_set_is_refused(teacher, dataset, tmp_path):
    with pytest.raises(ValueError, match="at least one example"):
        targets.write(teacher, dataset.take(0), tmp_path / "store")
