"""Losses, labels, metrics and weights by the names of the student's outputs: the logs and the values of plain Keras."""

import keras
import numpy as np
import pytest
from keras import layers

import keras_distill as kd

rng = np.random.default_rng(0)
X = rng.normal(size=(32, 6)).astype("float32")
KIND, COLOUR = rng.integers(0, 3, 32), rng.integers(0, 5, 32)
SPARSE, W_KIND, W_COLOUR = "sparse_categorical_crossentropy", rng.random(32), rng.random(32)

LABELS = {"list": [KIND, COLOUR], "dict": {"colour": COLOUR, "kind": KIND}}
WEIGHTS = {"list": [W_KIND, W_COLOUR], "dict": {"colour": W_COLOUR, "kind": W_KIND}}
BY_NAME = {"kind": SPARSE, "colour": SPARSE}

CASES = {
    "one loss": {"loss": SPARSE},
    "a list": {"loss": [SPARSE, SPARSE]},
    "a dict": {"loss": BY_NAME},
    "a function": {"loss": [keras.losses.sparse_categorical_crossentropy] * 2},
    "list of metrics": {"loss": [SPARSE, SPARSE], "metrics": ["accuracy", "accuracy"]},
    "list of lists": {"loss": BY_NAME, "metrics": [["acc", "sparse_categorical_accuracy"], ["acc"]]},
    "dict of metrics": {"loss": BY_NAME, "metrics": {"kind": "accuracy"}},
    "weighted metrics": {
        "loss": BY_NAME,
        "metrics": {"kind": ["accuracy"], "colour": ["accuracy"]},
        "weighted_metrics": {"colour": ["acc"], "kind": ["accuracy"]},
    },
    "dict of loss weights": {"loss": BY_NAME, "loss_weights": {"colour": 0.5, "kind": 2.0}},
    "list of loss weights": {"loss": [SPARSE, SPARSE], "loss_weights": [2.0, 0.5]},
}


def network(width, outputs, names=("kind", "colour")):
    inputs = keras.Input((6,))
    hidden = layers.Dense(width)(inputs)
    kind, colour = (layers.Dense(size, "softmax", name=name)(hidden) for size, name in zip((3, 5), names, strict=True))
    nest = {"list": [kind, colour], "tuple": (kind, colour), "dict": dict(zip(names, (kind, colour), strict=True))}
    return keras.Model(inputs, nest[outputs])


class Subclassed(keras.Model):
    """A student whose outputs have no names."""

    def __init__(self):
        super().__init__()
        self.heads = [layers.Dense(size, "softmax") for size in (3, 5)]

    def call(self, inputs):
        return [head(inputs) for head in self.heads]


def both(make, x, labels, weights=None, **arguments):
    """Return the logs of the student and those of its distiller."""
    keras.utils.set_random_seed(1)
    student, teacher = make(), make()
    logs = []
    for model in (kd.Distiller(teacher, student, "kd"), student):
        model.compile("sgd", run_eagerly=True, **arguments)
        logs.append(model.evaluate(x, labels, sample_weight=weights, return_dict=True, verbose=0))
    return logs


def assert_the_same(ours, keras_own):
    assert set(ours) - set(keras_own) == {"student_loss", "total_loss"}
    assert {name: ours[name] for name in keras_own} == pytest.approx(keras_own, rel=1e-6)


FORMS = [("list", "dict", case) for case in CASES] + [("tuple", "list", case) for case in list(CASES)[::3]]
FORMS += [("dict", "dict", case) for case in CASES if not isinstance(CASES[case]["loss"], list)]


@pytest.mark.parametrize("outputs, labels, case", FORMS)
def test_logs_have_the_names_and_the_values_of_keras(outputs, labels, case):
    assert_the_same(*both(lambda: network(4, outputs), X, LABELS[labels], **CASES[case]))


@pytest.mark.parametrize("outputs, form", [("list", "list"), ("tuple", "list"), ("dict", "dict")])
def test_weights_of_samples(outputs, form):
    case = CASES["weighted metrics"]
    assert_the_same(*both(lambda: network(4, outputs), X, LABELS[form], WEIGHTS[form], **case))


# Keras 3.15 raises a KeyError for a list of outputs and weights with labels by name, so the lists are the reference.
@pytest.mark.parametrize("weights", ["one", "each"])
def test_weights_by_name_are_those_of_the_list(weights):
    case = CASES["weighted metrics"]
    given = {form: WEIGHTS[form] if weights == "each" else W_KIND for form in ("list", "dict")}
    keras_own = both(lambda: network(4, "list"), X, LABELS["list"], given["list"], **case)[1]
    keras.utils.set_random_seed(1)
    student = network(4, "list")
    distiller = kd.Distiller(network(4, "list"), student, "kd")
    distiller.compile("sgd", run_eagerly=True, **case)
    ours = distiller.evaluate(X, LABELS["dict"], sample_weight=given["dict"], return_dict=True, verbose=0)
    assert_the_same(ours, keras_own)


def test_weights_by_name_reach_the_soft_terms_of_their_output():
    def soft(names, weights, labels):
        keras.utils.set_random_seed(1)
        distiller = kd.Distiller(network(8, "list", names), network(4, "list", names), kd.losses.LogitsDistillation())
        distiller.compile(keras.optimizers.SGD(0.0), SPARSE, run_eagerly=True)
        return distiller.fit(X, labels, 32, sample_weight=weights, verbose=0).history["distillation_loss"]

    assert soft(("kind", "colour"), WEIGHTS["dict"], LABELS["dict"]) == pytest.approx(
        soft(("kind", "colour"), WEIGHTS["list"], LABELS["list"]), rel=1e-6
    )


class OwnLoss(keras.losses.Loss):
    def call(self, y_true, y_pred):
        return keras.losses.sparse_categorical_crossentropy(y_true, y_pred)


def own_function(y_true, y_pred):
    return keras.losses.sparse_categorical_crossentropy(y_true, y_pred)


@pytest.mark.parametrize(
    "loss, name",
    [
        (SPARSE, SPARSE),
        (own_function, "own_function"),
        (lambda y_true, y_pred: own_function(y_true, y_pred), "lambda"),
        (OwnLoss(name="own"), "own"),
    ],
)
def test_outputs_without_names_are_named_by_their_losses(loss, name):
    ours, own = both(Subclassed, X, LABELS["list"], loss=[loss, loss])
    assert own.keys() == {"loss", f"{name}_loss"}
    assert own.keys() <= ours.keys()


def test_training_logs_the_outputs():
    distiller = kd.Distiller(network(8, "list"), network(4, "list"), "kd")
    distiller.compile("adam", BY_NAME, metrics={"kind": ["accuracy"], "colour": ["accuracy"]})
    logs = distiller.fit(X, LABELS["dict"], validation_data=(X, LABELS["dict"]), verbose=0).history
    named = ["kind_loss", "colour_loss", "kind_accuracy", "colour_accuracy"]
    assert {name for name in logs if not name.startswith("val_")} == {
        *("loss", "student_loss", "distillation_loss", "total_loss", "temperature", *named)
    }
    assert {f"val_{name}" for name in named} <= set(logs)
    assert not {"kind_loss", "colour_loss"} & distiller.evaluate(X, return_dict=True, verbose=0).keys()


def test_an_output_named_like_a_term_leaves_the_log_of_the_term():
    distiller = kd.Distiller(*(network(4, "list", ("student", "colour")) for _ in range(2)), "kd")
    distiller.compile("sgd", SPARSE, run_eagerly=True)
    logs = distiller.evaluate(X, LABELS["list"], return_dict=True, verbose=0)
    assert logs["student_loss"] == pytest.approx(logs["loss"]) and logs["student_loss"] > logs["colour_loss"]
