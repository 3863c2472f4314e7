"""A training that is killed in the middle of an epoch ends, after a restart, with the student it would have had.

This file is its own script: `python test_killed.py before FOLDER` runs one training to its end and then, with two
backups, one that kills itself; `after` takes up each of the backups in a new process. The order of the samples is a
function of seed and epoch (`keras_distill.data.Batches`); where a restart has to take it up is the distiller's own
count.
"""

import json
import os
import pathlib
import signal
import subprocess
import sys

import keras
import numpy as np
import pytest

import keras_distill as kd

EPOCHS, STEPS, BATCH = 4, 6, 16
KILLED_AFTER, SAVE_FREQ = 15, 4


class Follow(keras.callbacks.Callback):
    """Bring batches to the distiller's epoch, keep the coefficients of every step, stop after a number of epochs."""

    def __init__(self, batches=None, epochs=EPOCHS):
        super().__init__()
        self.batches, self.epochs, self.steps = batches, epochs, {}

    def on_train_begin(self, logs=None):
        for _ in range(int(self.model.epochs_trained) if self.batches else 0):
            self.batches.on_epoch_end()

    def on_train_batch_begin(self, batch, logs=None):
        model = self.model
        numbers = [model.temperature, model.student_loss_weight, *model.distillation_loss_weights]
        self.steps[int(model.optimizer.iterations)] = numbers

    def on_epoch_end(self, epoch, logs=None):
        self.model.stop_training = int(self.model.epochs_trained) >= self.epochs


class Kill(keras.callbacks.Callback):
    """End this process as nothing can prevent."""

    def on_train_batch_end(self, batch, logs=None):
        if int(self.model.optimizer.iterations) == KILLED_AFTER:
            os.kill(os.getpid(), signal.SIGKILL)


class Rest(keras.utils.PyDataset):
    """The batches that are left of an epoch."""

    def __init__(self, step):
        super().__init__()
        self.whole, self.first = batches(), step % STEPS
        for _ in range(step // STEPS + 1):  # `fit` draws once before the first epoch.
            self.whole.on_epoch_end()

    def __len__(self):
        return STEPS - self.first

    def __getitem__(self, index):
        return self.whole[self.first + index]


def samples(seed):
    x = np.random.default_rng(seed).normal(size=(STEPS * BATCH, 4)).astype("float32")
    return x, np.argmax(x[:, :3], axis=-1).astype("int32")


def batches():
    return kd.data.Batches(*samples(0), BATCH, seed=3)


def make(student_seed=2):
    def model(width, seed):
        keras.utils.set_random_seed(seed)
        hidden = [keras.layers.Dense(width, "relu"), keras.layers.Dropout(0.2)]
        return keras.Sequential([keras.Input((4,)), *hidden, keras.layers.Dense(3)])

    losses = [kd.losses.LogitsDistillation(4.0), kd.losses.LogitMatching()]
    distiller = kd.Distiller(model(16, 1), model(4, student_seed), losses, [1.0, 0.1])
    metrics = ["accuracy", kd.metrics.NegativeLogLikelihood(), kd.metrics.TeacherDivergence("training")]
    distiller.compile(keras.optimizers.Adam(0.01), "sparse_categorical_crossentropy", metrics=metrics, fidelity=True)
    return distiller


def schedulers():
    """One per step, one per epoch, and one that is driven by what was measured."""
    temperature = kd.schedules.linear(6.0, 1.0, EPOCHS * STEPS)
    driven = kd.schedules.driven("val_agreement", lambda agreement: 1.0 - agreement)
    return [
        kd.callbacks.TemperatureScheduler(temperature, unit="step"),
        kd.callbacks.WeightScheduler(kd.schedules.cosine(0.2, 0.8, EPOCHS - 1)),
        kd.callbacks.WeightScheduler(driven, "logit_matching"),
    ]


def backups(folder):
    by_step = {"save_freq": SAVE_FREQ, "double_checkpoint": True}
    backup = keras.callbacks.BackupAndRestore
    return {"by_epoch": backup(folder / "by_epoch"), "by_step": backup(folder / "by_step", **by_step)}


def train(distiller, data, follow, *others):
    """Train to the end of the epochs; Keras's own count of them is not asked."""
    callbacks = [*schedulers(), *others, follow]
    validation = {"validation_data": samples(1), "shuffle": False, "verbose": 0}
    return distiller.fit(data, epochs=2 * EPOCHS, callbacks=callbacks, **validation).history


def save(path, distiller, steps, logs):
    """Write what a training ended with: all weights, those of the optimizer, and its record."""
    path.with_suffix(".json").write_text(json.dumps({"steps": steps, "logs": logs}))
    np.savez(path, *distiller.get_weights(), *map(np.array, distiller.optimizer.variables))


def before(folder):
    distiller, data = make(), batches()
    follow = Follow(data)
    save(folder / "whole", distiller, logs=train(distiller, data, follow), steps=follow.steps)
    data = batches()
    train(make(), data, Follow(data), *backups(folder).values(), Kill())


def after(folder):
    distiller, data = make(student_seed=5), batches()
    follow = Follow(data)
    logs = train(distiller, data, follow, backups(folder)["by_epoch"])
    save(folder / "by_epoch", distiller, follow.steps, logs)

    distiller, data = make(student_seed=5), batches()
    backup = backups(folder)["by_step"]
    backup.set_model(distiller)
    backup.on_train_begin()  # Keras would begin the broken epoch anew: what it restores tells what is left of it.
    short, follow = Follow(epochs=0), Follow(data)
    train(distiller, Rest(int(distiller.optimizer.iterations)), short)
    logs = train(distiller, data, follow)
    save(folder / "by_step", distiller, short.steps | follow.steps, logs)


def process(part, folder):
    command = [sys.executable, __file__, part, str(folder)]
    threads = {"OMP_NUM_THREADS": "1", "TF_NUM_INTRAOP_THREADS": "1", "TF_NUM_INTEROP_THREADS": "1"}
    return subprocess.run(command, env={**os.environ, **threads}, capture_output=True, text=True, timeout=900)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """The folder of both processes, of which the second goes on where SIGKILL ended the first."""
    folder = tmp_path_factory.mktemp("killed")
    ended = process("before", folder)
    assert ended.returncode == -signal.SIGKILL, ended.stderr[-2000:]
    # A process that is killed while it writes leaves half a file: the copy beside it is the save before.
    latest = folder / "by_step" / "latest.weights.h5"
    os.truncate(latest, latest.stat().st_size // 2)
    ended = process("after", folder)
    assert ended.returncode == 0, ended.stderr[-2000:]
    return folder


def results(folder, name):
    arrays = np.load(folder / f"{name}.npz")
    return json.loads((folder / f"{name}.json").read_text()), [arrays[each] for each in arrays.files]


# Of 15 steps, the whole epochs are 12, and the save before the last is of the 8th.
@pytest.mark.slow
@pytest.mark.parametrize("way, begins", [("by_epoch", 2 * STEPS), ("by_step", 2 * SAVE_FREQ)])
def test_ends_as_if_it_had_not_been_killed(folder, way, begins):
    whole, weights = results(folder, "whole")
    resumed, resumed_weights = results(folder, way)
    of_steps = {int(step): numbers for step, numbers in whole["steps"].items() if int(step) < EPOCHS * STEPS}
    assert len(of_steps) == EPOCHS * STEPS
    again = {int(step): numbers for step, numbers in resumed["steps"].items()}
    assert again == {step: numbers for step, numbers in of_steps.items() if step >= begins}
    for one, other in zip(weights, resumed_weights, strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.slow
@pytest.mark.parametrize("way", ["by_epoch", "by_step"])
def test_metrics_go_on(folder, way):
    whole, resumed = results(folder, "whole")[0]["logs"], results(folder, way)[0]["logs"]
    assert {"temperature", "agreement", "training_divergence", "val_agreement", "val_accuracy"} <= set(whole)
    assert resumed == {name: values[2:] for name, values in whole.items()}
    assert all(len(values) == EPOCHS for values in whole.values())


if __name__ == "__main__":
    import tensorflow as tf

    tf.config.experimental.enable_op_determinism()
    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    {"before": before, "after": after}[sys.argv[1]](pathlib.Path(sys.argv[2]))
