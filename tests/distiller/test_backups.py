"""What a killed process leaves behind: whole files, and a backup from which `BackupAndRestore` resumes."""

import json
import os
import pathlib
import shutil
import subprocess
import sys

import h5py
import keras
import numpy as np
import pytest

import keras_distill as kd
from keras_distill.stages import MutualLearning

ROOT = pathlib.Path(__file__).parents[2]
HARD = "sparse_categorical_crossentropy"


X = np.random.default_rng(0).normal(size=(32, 4)).astype("float32")
Y = np.arange(32) % 3


class Stop(keras.callbacks.Callback):
    def on_epoch_begin(self, epoch, logs=None):
        if epoch == 2:
            raise KeyboardInterrupt


def network(width):
    return keras.Sequential([keras.Input((4,)), keras.layers.Dense(width), keras.layers.Dense(3)])


def distiller():
    made = kd.Distiller(network(8), network(4), kd.losses.LogitsDistillation(4.0))
    made.compile("sgd", HARD, run_eagerly=True)
    return made


def mutual():
    made = MutualLearning([network(8), network(4)])
    made.compile("sgd", HARD, run_eagerly=True)
    return made


def train(model, folder, *callbacks):
    """Train three epochs in all; return how many this call trained."""
    callbacks = [keras.callbacks.BackupAndRestore(folder), *callbacks]
    return len(model.fit(X, Y, 32, epochs=3, shuffle=False, callbacks=callbacks, verbose=0).epoch)


def stop(model, folder):
    """Train two epochs of three, and leave their backup."""
    with pytest.raises(KeyboardInterrupt):
        train(model, folder, Stop())
    return folder


@pytest.fixture(scope="module")
def left(tmp_path_factory):
    return stop(distiller(), tmp_path_factory.mktemp("left"))


@pytest.fixture
def backup(left, tmp_path):
    return shutil.copytree(left, tmp_path / "backup")


def truncate(path):
    os.truncate(path, os.path.getsize(path) // 2)


def fall_behind(path):
    path.write_text(json.dumps({"epoch": 1, "batch": 0}))


# A process may be killed between the two files of a backup, or while it writes or removes the second.
DAMAGES = {"half a file": truncate, "an empty file": lambda path: path.write_text(""), "no file": os.remove}
DAMAGES["the epoch before"] = fall_behind


@pytest.mark.parametrize("damage", DAMAGES)
def test_the_epoch_is_that_of_the_weights(backup, damage):
    DAMAGES[damage](backup / "training_metadata.json")
    assert train(distiller(), backup) == 1


def test_mutual_learning_resumes_too(tmp_path):
    fall_behind(stop(mutual(), tmp_path) / "training_metadata.json")
    assert train(mutual(), tmp_path) == 1


def test_an_epoch_without_weights_counts_for_nothing(backup):
    os.remove(backup / "latest.weights.h5")
    assert train(distiller(), backup) == 3


def test_half_a_backup_is_named(backup):
    truncate(backup / "latest.weights.h5")
    with pytest.raises(ValueError, match=r"Expected a complete backup in .*latest.weights.h5'\. Received: half a file"):
        train(distiller(), backup)


def test_a_backup_of_an_older_version_resumes(backup):
    with h5py.File(backup / "latest.weights.h5", "a") as file:
        del file["vars/epoch_of_fit"]
    fall_behind(backup / "training_metadata.json")
    assert train(distiller(), backup) == 2


@pytest.mark.parametrize("method, name", [("save", "d.keras"), ("save_weights", "d.weights.h5")])
def test_a_save_that_fails_leaves_the_old_file(tmp_path, monkeypatch, method, name):
    path, link = tmp_path / "kept" / name, tmp_path / name
    path.parent.mkdir()
    link.symlink_to(path)
    model = distiller()
    getattr(model, method)(link)
    before = path.read_bytes()

    def fail(self, name, *args, **kwargs):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(h5py.Group, "create_dataset", fail)
        with pytest.raises(OSError, match="No space left"):
            getattr(model, method)(link)
    assert path.read_bytes() == before
    model.student.layers[-1].kernel.assign_add(np.ones((4, 3)))
    getattr(model, method)(str(link))
    assert path.read_bytes() != before and link.is_symlink()
    assert sorted(tmp_path.iterdir()) == [link, path.parent] and list(path.parent.iterdir()) == [path]


def test_a_wrong_name_is_answered_by_keras():
    with pytest.raises(ValueError, match="Received: filepath=d.h5"):
        distiller().save_weights("d.h5")
    with pytest.raises(ValueError, match="Received: filepath=d.model"):
        distiller().save("d.model")


@pytest.mark.slow
def test_a_training_that_is_killed_while_it_saves_resumes_to_equal_bits():
    """Kill it within an array, within the file of the epoch, between both files, and as it removes them."""
    command = [sys.executable, "-m", "benchmarks.kills", "--kills", "4"]
    threads = {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, cwd=ROOT, env={**os.environ, **threads}, capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done.stdout + done.stderr[-2000:]
    assert "4 of 4 resume to equal bits" in done.stdout
