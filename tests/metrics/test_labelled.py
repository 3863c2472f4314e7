"""Metrics on partly labelled batches equal those on the labelled samples; fully labelled batches pass unchanged."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import keras_distill as kd
from keras_distill.metrics.labelled import Labelled, labelled_only

GENERATOR = np.random.default_rng(0)
OUTPUTS = GENERATOR.normal(size=(8, 3)).astype("float32")
LABELS = np.array([0, -1, 2, 1, -1, 0, 0, 2])
KNOWN = LABELS >= 0
WEIGHTS = GENERATOR.uniform(0.5, 2.0, 8).astype("float32")


def total(y, p):
    return keras.ops.sum(p)


FORMS = {
    "accuracy": lambda: "accuracy",
    "acc": lambda: "acc",
    "name": lambda: "sparse_categorical_accuracy",
    "function": lambda: keras.metrics.sparse_categorical_accuracy,
    "crossentropy": lambda: keras.metrics.SparseCategoricalCrossentropy(from_logits=True, name="xent"),
    "top": lambda: keras.metrics.SparseTopKCategoricalAccuracy(2),
    "iou": lambda: keras.metrics.MeanIoU(3, sparse_y_pred=False),
}
RUNS = {"eager": lambda f: f, "graph": tf.function, "xla": lambda f: tf.function(f, jit_compile=True)}


@pytest.mark.parametrize("run", RUNS.values(), ids=RUNS)
@pytest.mark.parametrize("weights", [None, WEIGHTS, WEIGHTS[:, None]], ids=["plain", "weights", "column"])
@pytest.mark.parametrize("form", FORMS)
def test_equals_the_metric_of_the_labelled_samples(form, weights, run):
    if form == "iou" and weights is not None:
        pytest.skip("Keras casts the weights of this metric to whole numbers.")
    metric, wanted = Labelled(FORMS[form]()), Labelled(FORMS[form]())
    update = run(lambda y, p: metric.update_state(y, p, weights))
    for labels in (LABELS, LABELS[:, None]):
        update(tf.constant(labels), tf.constant(OUTPUTS))
        inner = wanted.metric
        inner.update_state(LABELS[KNOWN], OUTPUTS[KNOWN], None if weights is None else weights[KNOWN])
    np.testing.assert_allclose(metric.result(), wanted.result(), rtol=1e-6)
    metric.reset_state()
    assert all(not np.any(variable) for variable in metric.variables)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("weighted", [False, True])
def test_fully_labelled_batches_give_the_same_bits(form, masked, weighted):
    labels, outputs = GENERATOR.integers(0, 3, (5, 4)), GENERATOR.normal(size=(5, 4, 3)).astype("float32")
    if form == "iou" and weighted:
        pytest.skip("Keras casts the weights of this metric to whole numbers.")
    weights = WEIGHTS[:5, None] if weighted else None
    metric, plain = Labelled(FORMS[form]()), Labelled(FORMS[form]())
    inner = plain.metric
    for _ in range(2):
        tensor = tf.constant(outputs)
        if masked:
            tensor._keras_mask = tf.constant(labels > 0)
        metric.update_state(labels, tensor, weights)
        inner.update_state(labels, tensor, sample_weight=weights)
    assert float(metric.result()) == float(inner.result())


def test_sequences_count_each_labelled_position():
    labels, outputs = GENERATOR.integers(-1, 3, (5, 4)), GENERATOR.normal(size=(5, 4, 3)).astype("float32")
    metric = Labelled("accuracy")
    metric.update_state(labels, outputs)
    hits = (outputs.argmax(-1) == labels)[labels >= 0]
    np.testing.assert_allclose(metric.result(), hits.mean(), rtol=1e-6)


def test_one_output_and_dense_labels_pass_through():
    units, binary = OUTPUTS[:, :1], np.where(LABELS > 0, 1, -1)
    metric, hinge = Labelled(keras.metrics.Hinge()), keras.metrics.Hinge()
    metric.update_state(binary[:, None], units)
    hinge.update_state(binary[:, None], units)
    assert float(metric.result()) == float(hinge.result()) != 0.0
    metric, error = Labelled("mse"), keras.metrics.MeanSquaredError()
    metric.update_state(-OUTPUTS, OUTPUTS)
    error.update_state(-OUTPUTS, OUTPUTS)
    assert float(metric.result()) == float(error.result())


def test_a_function_of_the_whole_batch_passes_through():
    metric = Labelled(total)
    metric.update_state(LABELS, OUTPUTS)
    np.testing.assert_allclose(metric.result(), OUTPUTS.sum(), rtol=1e-5)
    assert metric.name == "total"


def test_nothing_labelled_counts_nothing():
    metric = Labelled("accuracy")
    metric.update_state(np.full(8, -1), OUTPUTS)
    assert float(metric.result()) == 0.0 and not any(np.any(variable) for variable in metric.variables)


@pytest.mark.parametrize("form", ["accuracy", "name", "function", "top"])
def test_config_round_trip(form):
    metric = Labelled(FORMS[form]())
    again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(metric))
    assert again.name == metric.name and again.get_config() == metric.get_config()
    for each in (metric, again):
        each.update_state(LABELS, OUTPUTS)
    assert float(again.result()) == float(metric.result())


def test_nests_are_kept_and_wrapped_once():
    wrapped = labelled_only({"a": ["accuracy", None], "b": "mse"})
    assert isinstance(wrapped["a"][0], Labelled) and wrapped["a"][1] is None and wrapped["b"].name == "mse"
    assert labelled_only(wrapped)["b"] is wrapped["b"]
    assert labelled_only(None) is None and labelled_only("accuracy") == "accuracy"


@pytest.mark.parametrize("eagerly", [False, True])
def test_in_a_distiller(mlp, data, eagerly):
    x, y = data
    partly = np.where(np.arange(96) % 3 == 0, -1, y)
    held, weighted = keras.metrics.SparseCategoricalAccuracy(name="held"), keras.metrics.SparseCategoricalAccuracy()
    distiller = kd.Distiller(mlp(16), mlp(4), "kd")
    distiller.compile(
        "sgd",
        "sparse_categorical_crossentropy",
        metrics=["accuracy", held],
        weighted_metrics=[weighted],
        run_eagerly=eagerly,
    )
    logs = distiller.evaluate(x, partly, batch_size=32, return_dict=True, verbose=0)
    wanted = np.mean((distiller.predict(x, verbose=0).argmax(-1) == y)[partly >= 0])
    np.testing.assert_allclose([logs["accuracy"], logs["held"], held.result()], wanted, rtol=1e-6)
    np.testing.assert_allclose(logs["sparse_categorical_accuracy"], wanted, rtol=1e-6)
    history = distiller.fit(x, partly, epochs=1, verbose=0).history
    assert {"accuracy", "held", "sparse_categorical_accuracy"} <= set(history)
    assert "Labelled" not in " ".join(history)


def test_a_compiled_distiller_is_saved_with_its_metrics(mlp, data, tmp_path):
    x, y = data
    distiller = kd.Distiller(mlp(16), mlp(4), "kd")
    distiller.compile("sgd", "sparse_categorical_crossentropy", metrics=["accuracy"])
    distiller.fit(x, np.where(np.arange(96) % 2, -1, y), verbose=0)
    distiller.save(tmp_path / "distiller.keras")
    again = keras.saving.load_model(tmp_path / "distiller.keras")
    first, second = (each.evaluate(x, y, return_dict=True, verbose=0) for each in (distiller, again))
    assert first["accuracy"] == second["accuracy"] and list(first) == list(second)


def test_metrics_of_each_output(data):
    x, y = data

    def model(width):
        inputs = keras.Input((4,))
        hidden = keras.layers.Dense(width)(inputs)
        return keras.Model(inputs, {name: keras.layers.Dense(3, name=name)(hidden) for name in "ab"})

    distiller = kd.Distiller(model(8), model(4), "kd")
    losses = dict.fromkeys("ab", "sparse_categorical_crossentropy")
    distiller.compile("sgd", losses, metrics={"a": ["accuracy"], "b": "accuracy"})
    labels = {"a": np.where(np.arange(96) % 2, -1, y), "b": y}
    logs = distiller.evaluate(x, labels, return_dict=True, verbose=0)
    outputs = distiller.predict(x, verbose=0)
    hits = {name: outputs[name].argmax(-1) == y for name in "ab"}
    np.testing.assert_allclose(logs["a_accuracy"], hits["a"][::2].mean(), rtol=1e-6)
    np.testing.assert_allclose(logs["b_accuracy"], hits["b"].mean(), rtol=1e-6)
