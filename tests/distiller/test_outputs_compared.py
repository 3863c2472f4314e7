"""Which outputs are compared: one in a nest against a tensor, and outputs of other shapes that no loss needs."""

import functools

import keras
import numpy as np
import pytest
from numpy.testing import assert_allclose

import keras_distill as kd

GENERATOR = np.random.default_rng(0)
X, Y = GENERATOR.normal(size=(12, 4)).astype("float32"), GENERATOR.integers(0, 3, 12)
FORMS = {"tensor": lambda head: head, "dict": lambda head: {"logits": head}, "list": lambda head: [head]}
LOSSES = {
    "kd": lambda: kd.losses.LogitsDistillation(temperature=2.0),
    "dkd": lambda: kd.losses.DKD(),
    "mse": lambda: kd.losses.FeatureDistillation("mse"),
}


def single(width, form="tensor"):
    keras.utils.set_random_seed(width)
    inputs = keras.Input((4,))
    hidden = keras.layers.Dense(width)(inputs)
    return keras.Model(inputs, FORMS[form](keras.layers.Dense(3, name="head")(hidden)))


def several(width, form=dict, classes=3):
    """A model whose second output is as wide as its hidden layer."""
    keras.utils.set_random_seed(width)
    inputs = keras.Input((4,))
    hidden = keras.layers.Dense(width, name="hidden")(inputs)
    head = keras.layers.Dense(classes, name="head")(hidden)
    return keras.Model(inputs, {"a": head, "b": hidden} if form is dict else [head, hidden])


def evaluated(teacher, student, loss, hard="sparse_categorical_crossentropy", y=Y, metrics=("accuracy",)):
    distiller = kd.Distiller(teacher, student, loss)
    distiller.compile(keras.optimizers.SGD(0.1), hard, metrics=metrics, fidelity=True, run_eagerly=True)
    first = distiller.fit(X, y, batch_size=12, verbose=0).history
    return {name: values[0] for name, values in first.items()}, distiller.evaluate(X, y, verbose=0, return_dict=True)


@functools.cache
def evaluated_tensors(loss):
    return evaluated(single(8), single(3), LOSSES[loss]())


@pytest.mark.parametrize(
    "teacher, student, loss",
    [
        ("dict", "tensor", "kd"),
        ("dict", "tensor", "dkd"),
        ("dict", "tensor", "mse"),
        ("tensor", "dict", "dkd"),
        ("dict", "list", "kd"),
        ("list", "tensor", "mse"),
    ],
)
def test_one_output_in_any_structure(teacher, student, loss):
    wanted = evaluated_tensors(loss)
    labels = {"logits": Y} if loss == "dkd" else Y  # Labels by name go with any structure too.
    found = evaluated(single(8, teacher), single(3, student), LOSSES[loss](), y=labels)
    for one, other in zip(found, wanted, strict=True):
        assert one.keys() == other.keys()
        assert_allclose(list(one.values()), list(other.values()), rtol=1e-6)


COMPARED = {
    "kd": lambda form: kd.losses.LogitsDistillation(temperature=2.0),
    "dkd": lambda form: kd.losses.DKD(),
    "kd by entry": lambda form: kd.losses.LogitsDistillation(
        loss={"a": "kl_divergence", "b": None} if form is dict else ["kl_divergence", None], temperature=2.0
    ),
    "mse by entry": lambda form: kd.losses.FeatureDistillation(
        {"a": "mse", "b": None} if form is dict else ["mse", None]
    ),
}


@pytest.mark.parametrize("form", [dict, list])
@pytest.mark.parametrize("loss", COMPARED)
def test_an_output_without_a_loss_may_have_another_width(loss, form):
    cross_entropy = "sparse_categorical_crossentropy"
    hard = {"a": cross_entropy} if form is dict else [cross_entropy, None]
    metrics = {"a": ["accuracy"]} if form is dict else [["accuracy"], None]
    teacher, student = several(8, form), several(3, form)
    for width, model in ((8, teacher), (3, student)):  # Seeded by their widths.
        assert_allclose(model.get_weights()[0], single(width).get_weights()[0])
    wanted = evaluated_tensors({"kd by entry": "kd", "mse by entry": "mse"}.get(loss, loss))
    labels = Y if loss == "kd" else {"a" if form is dict else "head": Y}
    found = evaluated(teacher, student, COMPARED[loss](form), hard, labels, metrics)
    for one, other in zip(found, wanted, strict=True):
        one = {name.removeprefix("a_").removeprefix("head_"): value for name, value in one.items()}
        for name, value in other.items():
            assert_allclose(one[name], value, rtol=1e-5, err_msg=name)


@pytest.mark.parametrize("form", [dict, list])
@pytest.mark.parametrize("hard", [None, "mse", "both"])
def test_an_output_with_a_loss_may_not(form, hard):
    hard = {dict: {"a": "mse", "b": "mse"}, list: ["mse", "mse"]}[form] if hard == "both" else hard
    distiller = kd.Distiller(several(8, form), several(3, form), "kd")
    with pytest.raises(
        ValueError, match=r"^Expected teacher and student outputs of the same shapes\. Received: .*None"
    ):
        distiller.compile("sgd", hard)


@pytest.mark.parametrize(
    "teacher, student, loss",
    [
        (several(8), several(3), kd.losses.FeatureDistillation({"a": None, "b": "mse"})),
        (several(8), several(8, classes=5), kd.losses.FeatureDistillation({"a": "mse", "b": None})),
        (several(8), several(3, classes=5), "kd"),
        (several(8), single(3), "kd"),
        (several(8), several(8, list), "kd"),
    ],
    ids=["the compared one", "the compared one of two", "both", "one more", "other structure"],
)
def test_nothing_else_may_differ(teacher, student, loss):
    with pytest.raises(ValueError, match=r"^Expected teacher and student outputs of the same shapes\. Received: "):
        kd.Distiller(teacher, student, loss)
