"""Weights of classes over `tf.data`, where a label is missing or void, equal those that Keras gives arrays."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import keras_distill as kd

X = np.random.default_rng(0).normal(size=(48, 4)).astype("float32")
WEIGHTS = {0: 2.0, 2: 0.5}  # Class 1 has no weight.
COMPLETE = np.arange(48) % 3
MISSING = np.where(np.arange(48) % 4 == 0, -1, COMPLETE)
VOID = keras.losses.SparseCategoricalCrossentropy(True, ignore_class=255)
CASES = {
    "complete": (COMPLETE, "sparse_categorical_crossentropy"),
    "column": (COMPLETE[:, None], "sparse_categorical_crossentropy"),
    "floats": (COMPLETE.astype("float32"), "sparse_categorical_crossentropy"),
    "one-hot": (np.eye(3, dtype="float32")[COMPLETE], "categorical_crossentropy"),
    "missing": (MISSING, "sparse_categorical_crossentropy"),
    "missing in a column": (MISSING[:, None], "sparse_categorical_crossentropy"),
    "void": (np.where(MISSING < 0, 255, MISSING).astype("uint8"), VOID),
}


def trained(x, y, loss, weights=WEIGHTS):
    keras.utils.set_random_seed(0)
    models = [keras.Sequential([keras.Input((4,)), keras.layers.Dense(w), keras.layers.Dense(3)]) for w in (8, 4)]
    distiller = kd.Distiller(*models, "kd")
    distiller.compile(keras.optimizers.SGD(0.1), loss, weighted_metrics=["accuracy"], run_eagerly=True)
    history = distiller.fit(x, y, batch_size=None if y is None else 16, shuffle=False, class_weight=weights, verbose=0)
    return history.history, distiller.student.get_weights()


@pytest.mark.parametrize("case, extras", [*((case, False) for case in CASES), ("missing", True)])
def test_data_sets_equal_arrays(case, extras):
    y, loss = CASES[case]
    if extras:
        dataset = tf.data.Dataset.from_tensor_slices((X, y, {"index": np.arange(48)})).batch(16)
        dataset = dataset.map(lambda x, y, more: (x, y, None, more))
    else:
        dataset = tf.data.Dataset.from_tensor_slices((X, y)).batch(16)
    (found, weights), (wanted, expected) = trained(dataset, None, loss), trained(X, y, loss)
    assert found.keys() == wanted.keys()
    np.testing.assert_allclose(list(found.values()), list(wanted.values()), rtol=1e-5)
    for one, other in zip(weights, expected, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize(
    "data, message",
    [((X, COMPLETE, np.ones(48)), "class_weight or sample weights"), ((X, {"a": COMPLETE}), "labels of one output")],
)
def test_refused(data, message):
    with pytest.raises(ValueError, match=rf"Expected {message}"):
        trained(tf.data.Dataset.from_tensor_slices(data).batch(16), None, "sparse_categorical_crossentropy")
