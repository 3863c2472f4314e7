"""The list that `evaluate` returns begins with what plain Keras returns for the student, in its order."""

import keras
import numpy as np
import pytest

import keras_distill as kd

X, Y = np.random.default_rng(0).normal(size=(12, 4)).astype("float32"), np.arange(12) % 3
ENTROPY = keras.losses.SparseCategoricalCrossentropy(from_logits=True)


def single(width):
    return keras.Sequential([keras.Input((4,)), keras.layers.Dense(width), keras.layers.Dense(3)])


def several(width):
    inputs = keras.Input((4,))
    hidden = keras.layers.Dense(width)(inputs)
    # The order of the alphabet is not that of the outputs, and one name comes after those of the logs of a distillation.
    return keras.Model(inputs, {name: keras.layers.Dense(3, name=name)(hidden) for name in ("z", "a")})


BOTH = {"z": Y, "a": (Y + 1) % 3}
TOP = keras.metrics.SparseTopKCategoricalAccuracy
CASES = {
    "none": (single, ENTROPY, Y, {}),
    "one": (single, ENTROPY, Y, {"metrics": ["accuracy"]}),
    "several": (single, ENTROPY, Y, {"metrics": [lambda: TOP(2, name="z_top"), "accuracy"]}),
    "weighted": (single, ENTROPY, Y, {"metrics": ["acc"], "weighted_metrics": [lambda: TOP(2, name="a_top")]}),
    "outputs": (
        several,
        {"z": ENTROPY, "a": ENTROPY},
        BOTH,
        {"metrics": {"z": ["accuracy"], "a": ["acc", "sparse_top_k_categorical_accuracy"]}},
    ),
}


def make(metrics):
    def build(each):
        return each() if callable(each) else each

    return {name: keras.tree.map_structure(build, given) for name, given in metrics.items()}


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("fidelity", [False, True])
def test_begins_as_in_keras(case, fidelity):
    model, loss, y, metrics = CASES[case]
    distiller = kd.Distiller(model(8), model(4), "kd", student_loss_weight=1.0)
    plain = keras.models.clone_model(distiller.student)
    plain.set_weights(distiller.student.get_weights())
    distiller.compile("sgd", loss, fidelity=fidelity, run_eagerly=True, **make(metrics))
    plain.compile("sgd", loss, run_eagerly=True, **make(metrics))
    wanted = plain.evaluate(X, y, verbose=0)
    wanted = wanted if isinstance(wanted, list) else [wanted]
    found, logs = (distiller.evaluate(X, y, verbose=0, return_dict=each) for each in (False, True))
    np.testing.assert_allclose(found[: len(wanted)], wanted, rtol=1e-5)
    own = ("student_loss", "distillation_loss", "total_loss", "temperature", "agreement")
    ours = [name for name in logs if name in own]
    assert ours[:1] == ["student_loss"] and ("agreement" in ours) == fidelity
    assert found[len(wanted) :] == [logs[name] for name in ours]
    assert distiller.test_on_batch(X, y)[: len(wanted)] == pytest.approx(wanted, rel=1e-5)
    assert distiller.metrics_names[: len(plain.metrics_names)] == plain.metrics_names
