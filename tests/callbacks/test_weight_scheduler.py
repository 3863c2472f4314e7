"""Weights follow their schedules, including schedules that depend on logs; bad values are refused."""

import keras
import numpy as np
import pytest

import keras_distill as kd
from keras_distill.callbacks import TemperatureScheduler, WeightScheduler

LOSSES = ["student_loss", "logits_distillation", "logit_matching"]


class Watch(keras.callbacks.Callback):
    """Record the temperature, the weights and the loss of every step and every epoch."""

    def __init__(self):
        super().__init__()
        self.steps, self.epochs = [], []

    def _now(self):
        model = self.model
        return (model.temperature, model.student_loss_weight, *model.distillation_loss_weights)

    def on_train_batch_begin(self, batch, logs=None):
        self.steps.append(self._now())

    def on_epoch_end(self, epoch, logs=None):
        self.epochs.append((self._now(), dict(logs)))


@pytest.fixture
def distiller(mlp):
    losses = [kd.losses.LogitsDistillation(3.0), kd.losses.LogitMatching()]
    distiller = kd.Distiller(mlp(16), mlp(4), losses, [0.5, 0.25])
    distiller.compile("sgd", "sparse_categorical_crossentropy", fidelity=True, run_eagerly=True)
    return distiller


def fit(distiller, data, callbacks, epochs=3, **kwargs):
    watch = Watch()
    distiller.fit(*data, batch_size=32, epochs=epochs, callbacks=[*callbacks, watch], verbose=0, **kwargs)
    return watch


@pytest.mark.parametrize("unit", ["epoch", "step"])
def test_each_weight_follows_its_own_schedule(distiller, data, unit):
    schedules = {loss: kd.schedules.linear(0.0, 0.2 * end, 7) for end, loss in enumerate(LOSSES, start=1)}
    callbacks = [WeightScheduler(schedule, loss, unit) for loss, schedule in schedules.items()]
    position = [step // 3 if unit == "epoch" else step for step in range(9)]
    wanted = [[3.0, *(schedule(each) for schedule in schedules.values())] for each in position]
    np.testing.assert_allclose(fit(distiller, data, callbacks).steps, wanted, rtol=1e-6)


def test_the_loss_uses_the_weights(distiller, data):
    """With one batch per epoch, the loss is the sum of the logged terms times the weights of the last execution."""
    callbacks = [
        WeightScheduler(kd.schedules.linear(0.2, 0.8, 2)),
        WeightScheduler(kd.schedules.restarts(kd.schedules.linear(2.0, 1.0, 2), 2), "logit_matching"),
        TemperatureScheduler(keras.optimizers.schedules.ExponentialDecay(8.0, 1, 0.5)),
    ]
    for values, logs in fit(distiller, (data[0][:32], data[1][:32]), callbacks).epochs:
        temperature, hard, soft, relations = values
        assert logs["temperature"] == temperature
        wanted = soft * logs["logits_distillation"] + relations * logs["logit_matching"]
        assert logs["loss"] == pytest.approx(hard * logs["student_loss"] + (1.0 - hard) * wanted, rel=1e-5)
    assert (temperature, hard, soft, relations) == (2.0, 0.8, 0.5, 2.0)


def test_driven_by_what_was_measured(distiller, data):
    gap = kd.schedules.driven("val_agreement", lambda agreement: 1.0 + 4.0 * (1.0 - agreement))
    share = kd.schedules.driven("loss", lambda loss: 1.0 / (1.0 + loss))
    callbacks = [TemperatureScheduler(gap), WeightScheduler(share)]
    watch = fit(distiller, data, callbacks, validation_data=data)
    assert watch.steps[0][:2] == (3.0, 0.5)  # No measurement yet.
    for values, logs in watch.epochs:  # A measured value applies from the end of its epoch.
        np.testing.assert_allclose(values[:2], [5.0 - 4.0 * logs["val_agreement"], 1 / (1 + logs["loss"])], rtol=1e-6)
    np.testing.assert_allclose(watch.steps[3], watch.epochs[0][0])


def test_driven_by_every_step(distiller, data):
    positions, losses = [], []

    def schedule(position, logs):
        positions.append(position)
        losses.append(float(logs["loss"]))
        return 1.0 + losses[-1] if position % 2 else None

    steps = fit(distiller, data, [TemperatureScheduler(schedule, unit="step")], epochs=1).steps
    assert positions == [1, 2, 3]
    np.testing.assert_allclose([step[0] for step in steps], [3.0, 1.0 + losses[0], 1.0 + losses[0]], rtol=1e-6)


def test_an_epoch_without_validation_changes_nothing(distiller, data):
    schedule = kd.schedules.driven("val_agreement", lambda agreement: 7.0)
    watch = fit(distiller, data, [TemperatureScheduler(schedule)], validation_data=data, validation_freq=2)
    assert [values[0] for values, _ in watch.epochs] == [3.0, 7.0, 7.0]


@pytest.mark.parametrize("position", [0, 2])
@pytest.mark.parametrize(
    "make, message",
    [
        (
            lambda f: TemperatureScheduler(f, "step"),
            r"a finite temperature > 0 from the schedule at step {}\. Received: ",
        ),
        (
            lambda f: WeightScheduler(f, "student_loss", "step"),
            r"the weight of 'student_loss' from the .* at step {} to ",
        ),
        (
            lambda f: WeightScheduler(f, "logit_matching", "step"),
            r"the weight of 'logit_matching' from the schedule at step {} to be ",
        ),
    ],
)
@pytest.mark.parametrize(
    "bad", [-1.0, float("nan"), float("inf"), None, "2", keras.ops.convert_to_tensor(-1.0)], ids=str
)
def test_a_value_out_of_range_stops_at_the_step(distiller, make, message, bad, position):
    scheduler = make(lambda step: bad if step == position else 1.0)
    scheduler.set_model(distiller)
    distiller.optimizer.build(distiller.trainable_variables)
    scheduler.on_train_begin()
    for step in range(position + 1):
        distiller.optimizer.iterations.assign(step)
        if step < position:
            scheduler.on_train_batch_begin(step)
    with pytest.raises(ValueError, match=f"^Expected {message.format(position)}"):
        scheduler.on_train_batch_begin(position)


def test_fit_stops_at_the_epoch(distiller, data):
    with pytest.raises(ValueError, match=r"^Expected a finite temperature > 0 .* at epoch 1\. Received: .*nan"):
        fit(distiller, data, [TemperatureScheduler(lambda epoch: 2.0 if epoch == 0 else float("nan"))])


@pytest.mark.parametrize(
    "make, message",
    [
        (lambda: WeightScheduler(0.5), "Expected a schedule, a function position -> value"),
        (lambda: WeightScheduler(kd.schedules.constant(1.0), unit="batch"), "Expected unit to be one of epoch, step"),
    ],
)
def test_refused_at_creation(make, message):
    with pytest.raises(ValueError, match=f"^{message}"):
        make()


def test_refused_when_training_begins(distiller, mlp):
    scheduler = WeightScheduler(kd.schedules.constant(1.0), "logits_matching")
    scheduler.set_model(distiller)
    with pytest.raises(
        ValueError,
        match=r"^Expected loss to be one of logit_matching, logits_distillation, student_loss.*'logit_matching'\?$",
    ):
        scheduler.on_train_begin()
    scheduler.set_model(mlp())
    with pytest.raises(ValueError, match=r"^Expected a Distiller\. Received: Sequential\."):
        scheduler.on_train_begin()


def test_weights_survive_a_file(distiller, data, tmp_path):
    """A weight that depends on the logs keeps its value after loading, until the next measurement."""
    share = kd.schedules.driven("loss", lambda loss: 1.0 / (1.0 + loss))
    callbacks = [WeightScheduler(share), WeightScheduler(kd.schedules.linear(1.0, 0.0, 4), "logit_matching")]
    watch = fit(distiller, data, callbacks, epochs=2)
    distiller.save(tmp_path / "distiller.keras")
    loaded = keras.models.load_model(tmp_path / "distiller.keras")
    again = fit(loaded, data, callbacks, epochs=1)
    np.testing.assert_allclose(again.steps[0], (3.0, watch.epochs[1][0][1], 0.5, 0.5), rtol=1e-6)


def test_one_execution_of_several_steps_has_one_weight(distiller, data):
    distiller.compile("sgd", "sparse_categorical_crossentropy", steps_per_execution=3)
    steps = fit(distiller, data, [WeightScheduler(kd.schedules.linear(0.0, 0.6, 6), unit="step")], epochs=2).steps
    np.testing.assert_allclose([step[1] for step in steps], [0.0, 0.3], rtol=1e-6)
