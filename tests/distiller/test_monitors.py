"""Callbacks that monitor a log with `mode="auto"` find the direction in which it improves."""

import keras
import numpy as np
import pytest
from keras import layers, ops

import keras_distill as kd
from keras_distill.stages import MutualLearning

X = np.random.default_rng(0).normal(size=(16, 6)).astype("float32")
Y = np.arange(16) % 3
SPARSE = "sparse_categorical_crossentropy"


def network(outputs=("kind",)):
    inputs = keras.Input((6,))
    heads = [layers.Dense(3, name=name)(inputs) for name in outputs]
    return keras.Model(inputs, heads if len(heads) > 1 else heads[0])


UP, DOWN = ops.greater, ops.less
TOP = keras.metrics.SparseTopKCategoricalAccuracy


def one_output():
    own = [kd.metrics.TeacherDivergence(name="divergence"), kd.metrics.BrierScore(name="brier")]
    distiller = kd.Distiller(network(), network(), ["kd", "dkd"])
    metrics = ["accuracy", "acc", SPARSE, TOP(2, name="top"), *own]
    distiller.compile(
        "adam", SPARSE, metrics=metrics, weighted_metrics=["accuracy", "acc"], fidelity=True, run_eagerly=True
    )
    higher = ["accuracy", "acc", "top", "weighted_accuracy", "weighted_acc", "agreement"]
    lower = ["loss", "student_loss", "distillation_loss", "total_loss", "kd", "dkd", SPARSE, "divergence", "brier"]
    return distiller, Y, {**dict.fromkeys(higher, UP), **dict.fromkeys(lower, DOWN)}


def two_outputs():
    distiller = kd.Distiller(network(("kind", "colour")), network(("kind", "colour")), "kd")
    metrics = {"kind": ["accuracy", TOP(2, name="top")], "colour": ["acc"]}
    distiller.compile("adam", SPARSE, metrics=metrics, weighted_metrics={"kind": ["accuracy"]}, run_eagerly=True)
    higher = ["kind_accuracy", "kind_top", "colour_acc", "kind_weighted_accuracy"]
    return distiller, [Y, Y], {**dict.fromkeys(higher, UP), **dict.fromkeys(["loss", "kind_loss", "colour_loss"], DOWN)}


def mutual():
    students = MutualLearning([network(), network()])
    students.compile("adam", SPARSE, metrics=["accuracy"], run_eagerly=True)
    directions = {"loss": DOWN, "student_1_loss": DOWN, "student_2_student_loss": DOWN}
    return students, Y, {**directions, "student_1_accuracy": UP, "student_2_accuracy": UP}


@pytest.mark.parametrize("make", [one_output, two_outputs, mutual])
def test_every_log_has_its_direction(make, tmp_path):
    model, labels, directions = make()
    names = [name for log in directions for name in (log, f"val_{log}")]
    kinds = [
        lambda name: keras.callbacks.EarlyStopping(name, patience=9),
        lambda name: keras.callbacks.ReduceLROnPlateau(name, patience=9),
        lambda name: keras.callbacks.ModelCheckpoint(
            tmp_path / f"{name}.weights.h5", name, save_best_only=True, save_weights_only=True
        ),
    ]
    if make is mutual:
        del kinds[1]  # It has no single optimizer.
    watching = {name: kinds[place % len(kinds)](name) for place, name in enumerate(names)}
    options = {"sample_weight": np.ones(len(X)), "callbacks": [*watching.values()], "verbose": 0}
    logs = model.fit(X, labels, validation_data=(X, labels, np.ones(len(X))), **options).history
    assert set(names) <= set(logs)
    found = {name: callback.monitor_op for name, callback in watching.items()}
    assert found == {name: directions[name.removeprefix("val_")] for name in names}


def test_training_stops_where_the_best_accuracy_was():
    distiller, labels, _ = one_output()
    distiller.optimizer.learning_rate = 0.0
    stop = keras.callbacks.EarlyStopping("val_agreement", patience=2)
    logs = distiller.fit(X, labels, epochs=9, validation_data=(X, labels), callbacks=[stop], verbose=0).history
    assert len(logs["loss"]) == 3


def test_a_log_that_improves_in_no_known_direction_is_refused_by_keras():
    class Distance(kd.metrics.FidelityMetric):
        def per_sample(self, teacher_outputs, student_outputs, temperature=None):
            return ops.max(ops.abs(teacher_outputs - student_outputs), axis=-1)

    distiller = kd.Distiller(network(), network(), "kd")
    distiller.compile("adam", SPARSE, metrics=[Distance(name="distance")], run_eagerly=True)
    for name in ("distance", "temperature", "nothing"):
        with pytest.raises(ValueError, match="isn't able"):
            distiller.fit(X, Y, callbacks=[keras.callbacks.EarlyStopping(name)], verbose=0)
