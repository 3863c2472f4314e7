"""A saved distiller goes on exactly where it stopped, and no checkpoint holds the teacher."""

import subprocess
import sys

import h5py
import keras
import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

import keras_distill as kd

SCHEDULE = kd.schedules.linear(8.0, 1.0, steps=7)


def make(mlp, width=4, eager=True):
    """Make a distiller that trains step by step; what is saved is the same however it runs."""
    losses = [kd.losses.LogitsDistillation(4.0), kd.losses.FeatureDistillation("mse", "hidden", "hidden")]
    distiller = kd.Distiller(mlp(16, dropout=0.3), mlp(width), losses, [1.0, 0.1], student_loss_weight=0.7)
    # As an object: one that is made within the first trace of a step costs a second trace.
    metrics = [keras.metrics.SparseCategoricalAccuracy(name="accuracy")]
    distiller.compile(
        keras.optimizers.Adam(0.01), "sparse_categorical_crossentropy", metrics=metrics, run_eagerly=eager
    )
    return distiller


def train(distiller, data, epochs, callbacks=(), unit="epoch", **kwargs):
    scheduler = kd.callbacks.TemperatureScheduler(SCHEDULE, unit=unit)
    callbacks = [*callbacks, scheduler]
    return distiller.fit(
        *data, batch_size=32, epochs=epochs, callbacks=callbacks, shuffle=False, verbose=0, **kwargs
    ).history


def state(distiller):
    optimizer = [np.array(variable) for variable in distiller.optimizer.variables]
    return [*distiller.get_weights(), *optimizer, *distiller.objective.adapters[1].get_weights()]


@pytest.mark.parametrize("unit", ["epoch", "step"])
def test_a_loaded_distiller_goes_on_where_it_stopped(mlp, data, tmp_path, unit):
    distiller = make(mlp, eager=unit == "epoch")
    train(distiller, data, 2, unit=unit)
    distiller.save(tmp_path / "d.keras")
    loaded = keras.models.load_model(tmp_path / "d.keras")
    assert isinstance(loaded, kd.Distiller)
    assert loaded.temperature == distiller.temperature
    for one, other in zip(loaded.teacher.get_weights(), distiller.teacher.get_weights(), strict=True):
        assert_array_equal(one, other)
    for one, other in zip(state(loaded), state(distiller), strict=True):
        assert_array_equal(one, other)
    logs, loaded_logs = train(distiller, data, 2, unit=unit), train(loaded, data, 2, unit=unit)
    if unit == "epoch":
        assert_allclose(logs["temperature"], [SCHEDULE(2), SCHEDULE(3)])
    assert_allclose(loaded_logs["loss"], logs["loss"], rtol=1e-6)
    assert loaded_logs["temperature"] == logs["temperature"]
    for one, other in zip(state(loaded), state(distiller), strict=True):
        assert_allclose(one, other, atol=1e-6)


def test_compile_arguments_come_back(mlp, data, tmp_path):
    distiller = make(mlp)
    distiller.compile("sgd", "ce", metrics=["accuracy"], fidelity=True, steps_per_execution=2)
    distiller.fit(*data, verbose=0)
    distiller.save(tmp_path / "d.keras")
    loaded = keras.models.load_model(tmp_path / "d.keras")
    assert loaded.fidelity and loaded.steps_per_execution == 2
    assert loaded.evaluate(*data, verbose=0, return_dict=True) == distiller.evaluate(*data, verbose=0, return_dict=True)


def test_config_survives_the_coefficients_of_now(mlp):
    distiller = make(mlp)
    distiller.student_loss_weight = 0.2
    distiller.distillation_loss_weights = [0.3, 0.4]
    copy = kd.Distiller.from_config(distiller.get_config())
    assert copy.student_loss_weight == 0.2
    assert copy.distillation_loss_weights == [0.3, 0.4]
    assert copy.distillation_losses[1].student_layer_name == "hidden"


def names_in(path):
    names = []
    with h5py.File(path) as file:
        file.visit(names.append)
    return names


def test_weights_files_hold_no_teacher(mlp, data, tmp_path):
    distiller = make(mlp)
    train(distiller, data, 1)
    distiller.save_weights(tmp_path / "d.weights.h5")
    assert not [name for name in names_in(tmp_path / "d.weights.h5") if "teacher" in name]
    with h5py.File(tmp_path / "d.weights.h5") as file:
        shapes = []
        file.visititems(lambda name, item: shapes.append(item.shape) if isinstance(item, h5py.Dataset) else None)
    assert (4, 16) in shapes  # The adapter, and Adam's moments of it.
    assert (16, 3) not in shapes  # The teacher's head.
    other = make(mlp)
    other.optimizer.build(other.trainable_variables)
    other.load_weights(tmp_path / "d.weights.h5")
    for one, two in zip(distiller.get_weights(), other.get_weights(), strict=True):
        assert_array_equal(one, two)


class Stop(keras.callbacks.Callback):
    def __init__(self, epoch, batch=None):
        super().__init__()
        self.stop_at, self.now = (epoch, batch), 0

    def on_epoch_begin(self, epoch, logs=None):
        self.now = epoch

    def on_train_batch_end(self, batch, logs=None):
        if (self.now, batch) == self.stop_at:
            raise KeyboardInterrupt

    def on_epoch_end(self, epoch, logs=None):
        if self.stop_at == (epoch, None):
            raise KeyboardInterrupt


@pytest.mark.parametrize("stop", [Stop(1), Stop(2, 1)], ids=["between epochs", "within an epoch"])
@pytest.mark.slow
def test_backup_and_restore_ends_where_an_uninterrupted_run_ends(mlp, data, tmp_path, stop):
    keras.utils.set_random_seed(5)
    whole = make(mlp)
    teacher, student = whole.teacher.get_weights(), whole.student.get_weights()
    adapter = whole.objective.adapters[1].get_weights()

    def again():
        distiller = make(mlp)
        distiller.teacher.set_weights(teacher)
        distiller.student.set_weights(student)
        distiller.objective.adapters[1].set_weights(adapter)
        return distiller

    temperatures = train(whole, data, 4)["temperature"]
    backup = keras.callbacks.BackupAndRestore(tmp_path / "backup")
    with pytest.raises(KeyboardInterrupt):
        train(again(), data, 4, [backup, stop])
    resumed = again()
    logs = train(resumed, data, 4, [keras.callbacks.BackupAndRestore(tmp_path / "backup")])
    assert logs["temperature"] == temperatures[-len(logs["temperature"]) :]
    assert len(logs["temperature"]) == 2
    for one, other in zip(state(whole), state(resumed), strict=True):
        assert_allclose(one, other, atol=1e-6)


@pytest.mark.parametrize("weights_only", [True, False])
def test_model_checkpoint_keeps_the_epochs(mlp, data, tmp_path, weights_only):
    path = tmp_path / ("best.weights.h5" if weights_only else "best.keras")
    distiller = make(mlp)
    train(distiller, data, 3, [keras.callbacks.ModelCheckpoint(path, save_weights_only=weights_only)])
    if weights_only:
        loaded = make(mlp)
        loaded.optimizer.build(loaded.trainable_variables)
        loaded.load_weights(path)
    else:
        loaded = keras.models.load_model(path)
    assert int(loaded.epochs_trained) == 3
    assert loaded.temperature == pytest.approx(SCHEDULE(2))


@pytest.mark.slow
def test_another_process_loads_it(mlp, data, tmp_path):
    distiller = make(mlp, eager=False)
    train(distiller, data, 2)
    distiller.save(tmp_path / "d.keras")
    np.savez(tmp_path / "data.npz", x=data[0], y=data[1])
    script = f"""
import keras, keras_distill, numpy as np
data = np.load({str(tmp_path / "data.npz")!r})
distiller = keras.models.load_model({str(tmp_path / "d.keras")!r})
logs = distiller.fit(data["x"], data["y"], batch_size=32, epochs=1, shuffle=False, verbose=0).history
print(repr(logs["loss"][0]))
"""
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=900)
    loss = distiller.fit(*data, batch_size=32, epochs=1, shuffle=False, verbose=0).history["loss"][0]
    assert float(result.stdout.split()[-1]) == pytest.approx(loss, rel=1e-6), result.stderr[-2000:]
