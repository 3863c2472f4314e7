"""The temperature follows its schedule, and the logs and TensorBoard show it."""

import keras
import numpy as np
import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

import keras_distill as kd


@pytest.fixture
def distiller(mlp):
    distiller = kd.Distiller(mlp(16), mlp(4), kd.losses.LogitsDistillation(3.0))
    distiller.compile("sgd", "sparse_categorical_crossentropy", metrics=["accuracy"])
    return distiller


class Watch(keras.callbacks.Callback):
    def __init__(self):
        super().__init__()
        self.temperatures = []

    def on_train_batch_end(self, batch, logs=None):
        self.temperatures.append(logs["temperature"])


def test_epochs_are_the_default_unit(distiller, data):
    schedule = kd.schedules.cosine(8.0, 1.0, steps=4)
    callbacks = [kd.callbacks.TemperatureScheduler(schedule)]
    logs = distiller.fit(*data, epochs=6, callbacks=callbacks, verbose=0).history
    np.testing.assert_allclose(logs["temperature"], [schedule(epoch) for epoch in range(6)], rtol=1e-6)
    assert distiller.temperature == 1.0


def test_steps_on_request(distiller, data):
    schedule, watch = kd.schedules.linear(6.0, 0.0 + 1.0, steps=5), Watch()
    callbacks = [kd.callbacks.TemperatureScheduler(schedule, unit="step"), watch]
    distiller.fit(*data, batch_size=32, epochs=2, callbacks=callbacks, verbose=0)
    np.testing.assert_allclose(watch.temperatures, [schedule(step) for step in range(6)], rtol=1e-6)


def test_a_second_fit_continues(distiller, data):
    callbacks = [kd.callbacks.TemperatureScheduler(kd.schedules.linear(8.0, 4.0, steps=4))]
    first = distiller.fit(*data, epochs=2, callbacks=callbacks, verbose=0).history["temperature"]
    second = distiller.fit(*data, epochs=2, callbacks=callbacks, verbose=0).history["temperature"]
    assert first + second == [8.0, 7.0, 6.0, 5.0]


def test_every_temperature_moves(mlp, data):
    losses = [kd.losses.LogitsDistillation(3.0), kd.losses.LogitMatching(), kd.losses.LogitsDistillation(2.0)]
    distiller = kd.Distiller(mlp(16), mlp(4), losses)
    distiller.compile("sgd", "sparse_categorical_crossentropy")
    callbacks = [kd.callbacks.TemperatureScheduler(kd.schedules.constant(5.0))]
    logs = distiller.fit(*data, callbacks=callbacks, verbose=0).history
    names = ["temperature", "logits_distillation_temperature", "logits_distillation_1_temperature"]
    assert [logs[name] for name in names] == [[5.0]] * 3


def test_a_variable_of_the_user_is_the_temperature(mlp, data):
    variable = keras.Variable(4.0)
    distiller = kd.Distiller(mlp(16), mlp(4), kd.losses.LogitsDistillation(variable))
    distiller.compile("sgd", "sparse_categorical_crossentropy")
    variable.assign(2.5)
    logs = distiller.fit(*data, verbose=0).history
    assert logs["temperature"] == [2.5]
    assert float(variable) == 2.5  # The optimizer has not changed it.


def test_tensorboard_shows_it(distiller, data, tmp_path):
    callbacks = [
        kd.callbacks.TemperatureScheduler(kd.schedules.exponential(8.0, 1.0, steps=3)),
        keras.callbacks.TensorBoard(tmp_path),
    ]
    distiller.fit(*data, validation_data=data, epochs=3, callbacks=callbacks, verbose=0)
    events = EventAccumulator(str(tmp_path / "train"), size_guidance={"tensors": 0})
    events.Reload()
    tags = events.Tags()["tensors"]
    assert {f"epoch_{name}" for name in ("loss", "student_loss", "distillation_loss", "temperature")} <= set(tags)
    curve = [
        float(np.frombuffer(event.tensor_proto.tensor_content, "float32")[0])
        for event in events.Tensors("epoch_temperature")
    ]
    np.testing.assert_allclose(curve, [8.0, 4.0, 2.0], rtol=1e-5)
