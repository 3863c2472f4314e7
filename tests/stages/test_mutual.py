"""Students that teach each other: a step computed by hand, no gradient to a peer, and the logs of `fit`."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from numpy.testing import assert_allclose

import keras_distill as kd
from keras_distill.stages import MutualLearning, momentum_teacher

HARD = "sparse_categorical_crossentropy"


def copy_of(model):
    copy = keras.models.clone_model(model)
    copy.set_weights(model.get_weights())
    return copy


def assert_same_weights(model, other, **tolerance):
    for one, two in zip(model.get_weights(), other.get_weights(), strict=True):
        assert_allclose(one, two, **{"rtol": 1e-5, "atol": 1e-6, **tolerance})


def softmax(z):
    z = np.exp(z - z.max(-1, keepdims=True))
    return z / z.sum(-1, keepdims=True)


def distil(teacher, student, data):
    distiller = kd.Distiller(teacher, student, "kd", student_loss_weight=0.3)
    distiller.compile(keras.optimizers.SGD(0.5), HARD, run_eagerly=True)
    return distiller.fit(*data, batch_size=len(data[0]), verbose=0).history


@pytest.mark.parametrize("jit_compile", [False, True])
def test_a_step_is_one_step_of_each_distiller(mlp, data, jit_compile):
    first, second = mlp(8), mlp(4)
    by_hand = copy_of(first), copy_of(second)
    mutual = MutualLearning([first, second], student_loss_weight=0.3)
    mutual.compile(keras.optimizers.SGD(0.5), HARD, jit_compile=jit_compile)
    logs = mutual.fit(*data, batch_size=len(data[0]), verbose=0).history
    one = distil(copy_of(by_hand[1]), by_hand[0], data)
    two = distil(copy_of(by_hand[0]), by_hand[1], data)  # Taught by the first student after its step.
    assert_same_weights(first, by_hand[0])
    assert_same_weights(second, by_hand[1])
    assert_allclose(logs["student_1_loss"], one["loss"], rtol=1e-5)
    assert_allclose(logs["student_2_distillation_loss"], two["distillation_loss"], rtol=1e-5)
    assert_allclose(logs["loss"][0], one["loss"][0] + two["loss"][0], rtol=1e-5)


def test_each_of_three_learns_from_the_mean_of_the_divergences(mlp, data):
    students, temperature = [mlp(8), mlp(4), mlp(6)], 3.0
    x, _ = data
    v, w, z = (10 * student.predict(x, verbose=0) for student in students)
    for student in students:
        student.layers[-1].kernel.assign(10 * student.layers[-1].kernel)  # The peers disagree.
    last = students[2].layers[-1]
    before = last.kernel.numpy()
    hidden = np.maximum(x @ students[2].layers[0].kernel.numpy(), 0.0)
    mutual = MutualLearning(students, kd.losses.LogitsDistillation(temperature))
    mutual.compile([keras.optimizers.SGD(rate) for rate in (0.0, 0.0, 0.1)], run_eagerly=True)
    mutual.fit(x, batch_size=len(x), verbose=0)
    p, r, q = (softmax(logits / temperature) for logits in (v, w, z))
    gradient = temperature * ((q - p) + (q - r)) / 2 / len(x)  # That of the mean of T^2 KL(p || q), T^2 KL(r || q).
    assert np.abs(gradient).max() > 1e-4
    assert_allclose(last.kernel.numpy(), before - 0.1 * hidden.T @ gradient, atol=1e-6)


@pytest.mark.parametrize("still", [0, 2])
def test_every_student_moves_by_its_own_optimizer_alone(mlp, data, still):
    students = [mlp(8), mlp(4), mlp(6)]
    before = [copy_of(student) for student in students]
    mutual = MutualLearning(students)
    optimizers = [keras.optimizers.SGD(0.0 if index == still else 0.5) for index in range(3)]
    mutual.compile(optimizers, HARD, run_eagerly=True)
    mutual.fit(*data, batch_size=96, verbose=0)
    for index, (student, old) in enumerate(zip(students, before, strict=True)):
        changes = [np.abs(a - b).max() for a, b in zip(student.get_weights(), old.get_weights(), strict=True)]
        assert max(changes) == 0.0 if index == still else min(changes) > 0.0


def test_no_gradient_reaches_a_peer(mlp, data):
    mutual = MutualLearning([mlp(8), mlp(4)])
    mutual.compile("sgd", HARD)
    with tf.GradientTape() as tape:
        loss = mutual.distillers[0].compute_loss(*data)
    peer = mutual.students[1].trainable_variables
    assert len(peer) == 4 and tape.gradient(loss, [variable.value for variable in peer]) == [None] * 4


def test_only_layers_that_were_frozen_stay_frozen(mlp):
    first, second = mlp(8), mlp(4)
    first.layers[0].trainable = False
    mutual = MutualLearning([first, second])
    assert [first.trainable, first.layers[0].trainable, first.layers[1].trainable] == [True, False, True]
    assert [len(distiller.trainable_variables) for distiller in mutual.distillers] == [2, 4]
    assert len(mutual.trainable_variables) == 6


def with_statistics():
    layers = [keras.layers.Dense(8), keras.layers.BatchNormalization(), keras.layers.Dense(3)]
    return keras.Sequential([keras.Input((4,)), *layers])


def test_statistics_move_once_in_a_step(data):
    students = with_statistics(), with_statistics()
    hidden = students[0].layers[0](data[0]).numpy().mean(0)
    mutual = MutualLearning(students)
    mutual.compile("sgd", HARD, run_eagerly=True)
    mutual.fit(*data, batch_size=len(data[0]), verbose=0)
    assert_allclose(students[0].layers[1].moving_mean, 0.01 * hidden, rtol=1e-4, atol=1e-7)


@pytest.mark.slow
def test_students_learn_and_logs_are_in_order(mlp, data):
    mutual = MutualLearning([mlp(16), mlp(8)])
    mutual.compile(keras.optimizers.Adam(0.05), HARD, metrics=["accuracy"], fidelity=True, jit_compile=False)
    logs = mutual.fit(*data, validation_data=data, epochs=12, verbose=0).history
    own = ["loss", "student_loss", "distillation_loss", "total_loss", "temperature", "accuracy", "agreement"]
    names = ["loss"] + [f"student_{number}_{name}" for number in (1, 2) for name in own]
    assert list(logs) == [*names, *(f"val_{name}" for name in names)]
    assert min(logs[f"val_student_{number}_accuracy"][-1] for number in (1, 2)) > 0.85
    evaluated = mutual.evaluate(*data, verbose=0, return_dict=True)
    assert list(evaluated) == names
    assert_allclose(evaluated["student_2_accuracy"], logs["val_student_2_accuracy"][-1])
    labels = np.argmax(mutual(data[0])[1], axis=-1)
    assert_allclose(evaluated["student_2_accuracy"], np.mean(labels == data[1]), rtol=1e-6)
    assert mutual.evaluate(*data, verbose=0) == pytest.approx(list(evaluated.values()))


def test_metric_objects_are_copied_for_each_student(mlp, data):
    mutual = MutualLearning([mlp(8), mlp(4)])
    mutual.compile("sgd", HARD, metrics=[keras.metrics.SparseCategoricalAccuracy(name="hits")], run_eagerly=True)
    logs = mutual.evaluate(*data, verbose=0, return_dict=True)
    for number, student in enumerate(mutual.students, 1):
        hits = np.mean(np.argmax(student.predict(data[0], verbose=0), axis=-1) == data[1])
        assert_allclose(logs[f"student_{number}_hits"], hits, rtol=1e-6)


def test_callbacks_see_epochs_and_temperatures(mlp, data, tmp_path):
    mutual = MutualLearning([mlp(8), mlp(4)])
    mutual.compile("sgd", HARD, steps_per_execution=3, jit_compile=False)
    schedule = kd.schedules.linear(8.0, 4.0, steps=4)
    callbacks = [
        kd.callbacks.TemperatureScheduler(schedule),
        keras.callbacks.ModelCheckpoint(
            tmp_path / "best.weights.h5", "val_student_2_loss", mode="min", save_weights_only=True
        ),
        keras.callbacks.EarlyStopping("val_loss", patience=9),
        keras.callbacks.TensorBoard(tmp_path, write_graph=False),
    ]
    logs = mutual.fit(*data, validation_data=data, epochs=3, callbacks=callbacks, verbose=0).history
    assert logs["student_1_temperature"] == logs["student_2_temperature"] == [8.0, 7.0, 6.0]
    assert [int(distiller.epochs_trained) for distiller in mutual.distillers] == [3, 3]
    assert (tmp_path / "best.weights.h5").exists()


def test_losses_with_adapters_are_trained_for_each_student(mlp, data):
    losses = [
        kd.losses.LogitsDistillation(2.0),
        kd.losses.FeatureDistillation(teacher_layer_name="hidden", student_layer_name="hidden"),
    ]
    mutual = MutualLearning([mlp(8), mlp(4)], losses, distillation_loss_weights=[1.0, 0.5])
    mutual.compile("sgd", HARD, run_eagerly=True)
    adapters = [distiller.objective.adapters[1] for distiller in mutual.distillers]
    before = [[weight.numpy() for weight in adapter.trainable_variables] for adapter in adapters]
    mutual.fit(*data, batch_size=96, verbose=0)
    assert [weights[0].shape for weights in before] == [(8, 4), (4, 8)]
    for adapter, old in zip(adapters, before, strict=True):
        assert np.abs(adapter.trainable_variables[0].numpy() - old[0]).max() > 0.0


def test_a_saved_model_continues_its_training(mlp, data, tmp_path):
    losses = [["kd"], ["kd", "forward_kl"]]
    mutual = MutualLearning([mlp(8), mlp(4)], losses.__getitem__, student_loss_weight=0.3)
    optimizers = [keras.optimizers.SGD(rate, momentum=0.9) for rate in (0.1, 0.2)]
    mutual.compile(optimizers, HARD, metrics=["accuracy"], run_eagerly=True)
    mutual.fit(*data, batch_size=96, verbose=0)
    mutual.save(tmp_path / "mutual.keras")
    loaded = keras.saving.load_model(tmp_path / "mutual.keras")
    assert [len(distiller.distillation_losses) for distiller in loaded.distillers] == [1, 2]
    for student, other in zip(mutual.students, loaded.students, strict=True):
        assert_same_weights(student, other, rtol=0, atol=0)
    one, two = (each.fit(*data, batch_size=96, verbose=0).history for each in (mutual, loaded))
    assert list(one) == list(two)
    assert_allclose(list(one.values()), list(two.values()), rtol=1e-5)
    for student, other in zip(mutual.students, loaded.students, strict=True):
        assert_same_weights(student, other)


class Interrupt(keras.callbacks.Callback):
    def on_epoch_begin(self, epoch, logs=None):
        if epoch == 2:
            raise KeyboardInterrupt


def test_training_resumes_from_a_backup(mlp, data, tmp_path):
    def train(folder, *callbacks):
        mutual = MutualLearning([momentum_teacher(student) for student in students])
        mutual.compile("adam", HARD, run_eagerly=True)
        backup = keras.callbacks.BackupAndRestore(tmp_path / folder)
        mutual.fit(*data, batch_size=96, epochs=3, callbacks=[backup, *callbacks], verbose=0)
        return mutual

    students = [mlp(8), mlp(4)]
    with pytest.raises(KeyboardInterrupt):
        train("stopped", Interrupt())
    resumed, whole = train("stopped"), train("whole")
    assert [int(distiller.optimizer.iterations) for distiller in resumed.distillers] == [3, 3]
    for student, other in zip(resumed.students, whole.students, strict=True):
        assert_same_weights(student, other)


def test_a_term_that_is_not_finite_stops(mlp, data):
    mutual = MutualLearning([mlp(8), mlp(4)])
    mutual.compile("sgd", HARD, run_eagerly=True)
    with pytest.raises(FloatingPointError, match="finite"):
        mutual.fit(np.where(np.arange(96)[:, None] == 3, np.nan, data[0]), data[1], verbose=0)


def test_bad_input(mlp):
    student = mlp(4)
    with pytest.raises(ValueError, match=r"Expected students to be a list of at least 2\. Received: students=\["):
        MutualLearning([student])
    with pytest.raises(ValueError, match="students that are different models"):
        MutualLearning([student, student])
    with pytest.raises(ValueError, match="each student to be a keras.Model"):
        MutualLearning([student, "other"])
    with pytest.raises(ValueError, match="outputs of the same shapes"):
        MutualLearning([student, mlp(4, classes=5)])
    mutual = MutualLearning([student, mlp(4)])
    with pytest.raises(ValueError, match="2 optimizers, a separate one for each student. Received: SGD"):
        mutual.compile([keras.optimizers.SGD(name="SGD")], jit_compile=False)
    adam = keras.optimizers.Adam()
    with pytest.raises(ValueError, match="2 optimizers, a separate one for each student"):
        mutual.compile([adam, adam], jit_compile=False)
    assert student.trainable
