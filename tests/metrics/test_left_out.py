"""What metrics leave out: missing class labels, the loss's void class, masked positions; never a target of a number."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import ops

import keras_distill as kd
from keras_distill.metrics.labelled import Labelled, labelled_only

RANDOM = np.random.default_rng(0)
LOSSES = keras.losses
TARGETS = np.round(RANDOM.normal(-1.0, 1.0, (64, 1)), 1).astype("float32")
OUTPUTS = RANDOM.normal(size=(64, 2)).astype("float32")
assert np.sum((TARGETS > -2.0) & (TARGETS <= -1.0)) > 20 and np.sum(TARGETS == -1.0) > 0


def gaussian(y, p):
    return ops.mean(p[:, 1:] + ops.square(ops.cast(y, p.dtype) - p[:, :1]) * ops.exp(-p[:, 1:]), -1)


def error(y, p):
    return ops.mean(ops.abs(ops.cast(y, p.dtype) - p[:, :1]), -1)


REGRESSIONS = {
    "own loss": (gaussian, error, TARGETS),
    "own loss, whole numbers": (gaussian, error, np.round(TARGETS).astype("int32")),
    "own loss, rank 1": (lambda y, p: gaussian(y[:, None], p), lambda y, p: error(y[:, None], p), TARGETS[:, 0]),
    "mse": ("mse", "mae", TARGETS),
    "a class": (LOSSES.Huber(), keras.metrics.MeanAbsoluteError(name="mae"), TARGETS),
}


def compiled(loss, metrics, units, width=2):
    def model(hidden):
        return keras.Sequential([keras.Input((4,)), keras.layers.Dense(hidden), keras.layers.Dense(units)])

    distiller = kd.Distiller(model(8), model(width), kd.losses.FeatureDistillation("mse"))
    distiller.compile("sgd", loss, metrics=metrics, run_eagerly=True)
    return distiller


@pytest.mark.parametrize("case", REGRESSIONS)
def test_targets_that_are_numbers_all_count(case):
    loss, metric, targets = REGRESSIONS[case]
    distiller, x = compiled(loss, [metric], 2), RANDOM.normal(size=(64, 4)).astype("float32")
    plain = keras.Sequential(distiller.student.layers)
    plain.compile("sgd", loss, metrics=[metric], run_eagerly=True)
    wanted = plain.evaluate(x, targets, batch_size=40, verbose=0)
    logs = distiller.evaluate(x, targets, batch_size=40, verbose=0, return_dict=True)
    name = "mae" if case in ("mse", "a class") else getattr(metric, "__name__", None)
    found = logs[next(each for each in logs if each == name or "lambda" in each)]
    np.testing.assert_allclose([logs["student_loss"], found], wanted, rtol=1e-6)


@pytest.mark.parametrize("loss", [None, gaussian])
def test_floats_alone_are_no_classes(loss):
    metric = labelled_only([error], loss)[0]
    metric.update_state(TARGETS, OUTPUTS)
    np.testing.assert_allclose(metric.result(), np.abs(TARGETS - OUTPUTS[:, :1]).mean(), rtol=1e-6)


LABELS = RANDOM.integers(0, 5, (16, 6))
VOID = RANDOM.random(LABELS.shape) < 0.3
ROWS = RANDOM.normal(size=(16, 6, 5)).astype("float32")
HITS = ROWS.argmax(-1) == LABELS


def hits(y, p):
    return ops.cast(ops.equal(ops.cast(y, "int32"), ops.cast(ops.argmax(p, -1), "int32")), "float32")


# A loss, the label that it leaves out, the dtype of the labels.
VOIDS = {
    "name": ("sparse_categorical_crossentropy", -1, "int64"),
    "by shape": ("crossentropy", -1, "int32"),
    "floats": (LOSSES.SparseCategoricalCrossentropy(True), -1, "float32"),
    "255": (LOSSES.SparseCategoricalCrossentropy(True, ignore_class=255), 255, "uint8"),
    "255 in floats": (LOSSES.SparseCategoricalCrossentropy(True, ignore_class=255), 255, "float32"),
    "wrapped": (kd.losses.hard_labels.HardLabelLoss(LOSSES.SparseCategoricalCrossentropy(True)), -1, "int8"),
    "no loss": (None, -1, "int32"),
}
METRICS = {
    "accuracy": (lambda: "accuracy", HITS),
    "own": (lambda: hits, HITS),
    "object": (lambda: keras.metrics.SparseTopKCategoricalAccuracy(5), np.ones_like(HITS)),
    "likelihood": (lambda: kd.metrics.NegativeLogLikelihood(), None),
}


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("case", VOIDS)
def test_void_labels_do_not_count(case, metric):
    loss, void, dtype = VOIDS[case]
    made, values = METRICS[metric]
    if values is None:
        values = LOSSES.SparseCategoricalCrossentropy(True, reduction=None)(LABELS, ROWS).numpy()
    each = labelled_only([made()], loss)[0]
    each.update_state(np.where(VOID, void, LABELS).astype(dtype), ROWS)
    np.testing.assert_allclose(each.result(), values[~VOID].mean(), rtol=1e-5)
    each.update_state(LABELS.astype(dtype), ROWS)
    np.testing.assert_allclose(each.result(), np.r_[values[~VOID], values.ravel()].mean(), rtol=1e-5)
    config = keras.saving.serialize_keras_object(each)
    again = keras.saving.deserialize_keras_object(config, custom_objects={"hits": hits})
    assert again.get_config() == each.get_config()


def test_each_output_follows_its_own_loss():
    sparse, void = LOSSES.SparseCategoricalCrossentropy(True), LOSSES.SparseCategoricalCrossentropy(ignore_class=9)
    for metrics, losses, wanted in (
        ({"a": ["mae", "acc"], "b": "acc"}, {"b": void, "a": gaussian}, {"a": [None, "auto"], "b": 9}),
        ([["mae"], ["mae"]], [gaussian, void], [[None], [9]]),
        ([["mae"], None], {"b": sparse, "a": gaussian}, [[-1], None]),
        (["mae", "acc", "mse"], [sparse], [-1, -1, -1]),
        (["mae", "acc", "mse"], [sparse, void], ["auto"] * 3),
        ({"a": "mae"}, [sparse, void], {"a": "auto"}),
        (("mae",), None, ("auto",)),
    ):
        wrapped = labelled_only(metrics, losses)
        found = keras.tree.map_structure(lambda each: each and each.ignore_class, wrapped)
        assert found == wanted


WEIGHTS = RANDOM.uniform(0.0, 3.0, 16).astype("float32")


@pytest.mark.parametrize("length", [6, 16], ids=["length 6", "length of the batch"])
@pytest.mark.parametrize("form", ["accuracy", "own", "one-hot", "numbers", "object"])
@pytest.mark.parametrize("partly", [False, True], ids=["whole", "partly labelled"])
def test_weights_of_masked_sequences(form, partly, length):
    random = np.random.default_rng(1)
    labels, rows = random.integers(0, 5, (16, length)), random.normal(size=(16, length, 5)).astype("float32")
    mask = np.arange(length) < random.integers(1, length + 1, 16)[:, None]
    void = (
        partly & (random.random(labels.shape) < 0.3) if form not in ("one-hot", "numbers") else np.zeros(labels.shape)
    )
    given, values = np.where(void, -1, labels), (rows.argmax(-1) == labels).astype("float32")
    if form == "one-hot":
        given = np.eye(5)[labels].astype("float32")
    if form == "numbers":
        rows, given = rows[..., :1], labels[..., None].astype("float32")
        values = np.square(rows - given)[..., 0]
    metric = {"own": hits, "numbers": "mse", "object": keras.metrics.SparseCategoricalAccuracy()}.get(form, "accuracy")
    outputs = tf.constant(rows)
    outputs._keras_mask = tf.constant(mask)
    for weights in (WEIGHTS, WEIGHTS[:, None], np.broadcast_to(WEIGHTS[:, None], labels.shape)):
        each = Labelled(metric)
        each.reset_state()
        each.update_state(given, outputs, weights)
        wanted = np.average(values, weights=WEIGHTS[:, None] * mask * (1 - void))
        np.testing.assert_allclose(each.result(), wanted, rtol=1e-5)


def test_weights_and_masks_in_a_distiller():
    x, y = RANDOM.integers(1, 9, (16, 16)) * (np.arange(16) < RANDOM.integers(2, 17, 16)[:, None]), LABELS.repeat(3, 1)
    y = y[:, :16]

    def model(width):
        return keras.Sequential(
            [keras.Input((16,)), keras.layers.Embedding(9, width, mask_zero=True), keras.layers.Dense(5)]
        )

    distiller = kd.Distiller(model(8), model(4), "kd")
    distiller.compile("sgd", "sparse_categorical_crossentropy", weighted_metrics=["accuracy"], fidelity=True)
    logs = distiller.evaluate(x, y, sample_weight=WEIGHTS, verbose=0, return_dict=True)
    first, second = (each.predict(x, verbose=0).argmax(-1) for each in (distiller.teacher, distiller.student))
    weights = WEIGHTS[:, None] * (x > 0)
    np.testing.assert_allclose(logs["accuracy"], np.average(second == y, weights=weights), rtol=1e-5)
    np.testing.assert_allclose(logs["agreement"], np.average(second == first, weights=weights), rtol=1e-5)
