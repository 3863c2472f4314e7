"""Every mistake we can see coming has a message of one form, before or on the first batch."""

import re

import keras
import numpy as np
import pytest
import tensorflow as tf

import keras_distill as kd
import keras_distill.features

FORM = re.compile(r"^Expected .+\. Received: .+\.", re.DOTALL)


def logits(temperature=4.0, **kwargs):
    return kd.losses.LogitsDistillation(temperature, **kwargs)


class Nothing(keras.Model):
    def call(self, x):
        return x


CONSTRUCTION = {
    "teacher is no model": (lambda m: kd.Distiller(3, m(), logits()), "teacher to be a keras.Model, a path"),
    "student is no model": (lambda m: kd.Distiller(m(), None, logits()), "student to be a keras.Model"),
    "one model as both": (lambda m: (lambda model: kd.Distiller(model, model, logits()))(m()), "two models"),
    "inputs differ": (lambda m: kd.Distiller(m(features=5), m(), logits()), r"inputs of the same shapes.*5.*4"),
    "classes differ": (lambda m: kd.Distiller(m(classes=5), m(), logits()), r"outputs of the same shapes.*5.*3"),
    "no loss": (lambda m: kd.Distiller(m(), m(), None), "distillation losses"),
    "empty losses": (lambda m: kd.Distiller(m(), m(), []), "at least one distillation loss"),
    "a Keras loss": (lambda m: kd.Distiller(m(), m(), keras.losses.KLDivergence()), "distillation losses"),
    "unknown method": (lambda m: kd.Distiller(m(), m(), ["kd", "dkdd"]), "Did you mean 'dkd'"),
    "too few weights": (lambda m: kd.Distiller(m(), m(), [logits(), logits()], [1.0]), "2 distillation_loss_weights"),
    "negative weight": (lambda m: kd.Distiller(m(), m(), logits(), [-1.0]), "finite number >= 0"),
    "NaN weight": (lambda m: kd.Distiller(m(), m(), logits(), [np.nan]), "finite number >= 0"),
    "hard weight above 1": (lambda m: kd.Distiller(m(), m(), logits(), student_loss_weight=1.5), "from 0 to 1"),
    "hard weight of text": (lambda m: kd.Distiller(m(), m(), logits(), student_loss_weight="1"), "from 0 to 1"),
    "temperature 0": (lambda m: logits(0), "finite temperature > 0"),
    "temperature -1": (lambda m: logits(-1.0), "finite temperature > 0"),
    "temperature NaN": (lambda m: logits(np.nan), "finite temperature > 0"),
    "temperature inf": (lambda m: logits(np.inf), "finite temperature > 0"),
    "temperature text": (lambda m: logits("4"), "finite temperature > 0"),
    "unknown loss": (lambda m: logits(loss="kl_divergense"), "Did you mean 'kl_divergence'"),
    "label smoothing": (
        lambda m: logits(loss=keras.losses.CategoricalCrossentropy(label_smoothing=0.1)),
        "without label smoothing",
    ),
    "a loss on labels": (lambda m: logits(loss="binary_crossentropy"), "compares two distributions"),
    "unknown teacher layer": (
        lambda m: kd.Distiller(m(), m(), kd.losses.FeatureDistillation("mse", "hiden", "hidden")),
        "teacher_layer_name.*Did you mean 'hidden'",
    ),
    "unknown student layer": (
        lambda m: kd.Distiller(m(), m(), kd.losses.FeatureDistillation("mse", "hidden", "hiden")),
        "student_layer_name.*Did you mean 'hidden'",
    ),
    "layers of a subclassed model": (
        lambda m: kd.Distiller(Nothing(), m(), kd.losses.FeatureDistillation("mse", "hidden", "hidden")),
        "a built teacher",
    ),
    "schedule is no function": (lambda m: kd.callbacks.TemperatureScheduler(4.0), "a schedule"),
    "unknown unit": (lambda m: kd.callbacks.TemperatureScheduler(lambda p: p, unit="batch"), "one of epoch, step"),
}


@pytest.mark.parametrize("case", CONSTRUCTION)
def test_at_construction(mlp, case):
    build, message = CONSTRUCTION[case]
    with pytest.raises(ValueError, match=message) as caught:
        build(mlp)
    assert FORM.match(str(caught.value))


def empty_generator():
    return tf.data.Dataset.from_tensor_slices((np.ones((4, 4)), np.ones(4))).filter(lambda x, y: False).batch(2)


FITTING = {
    "labels too large": (lambda d, x, y: d.fit(x, y + 1, verbose=0), "labels from 0 to 2.*: 1 to 3"),
    "negative labels": (lambda d, x, y: d.fit(x, y - 2, verbose=0), "labels from 0 to 2.*: -2 to 0"),
    "labels too large, evaluated": (lambda d, x, y: d.evaluate(x, y + 1, verbose=0), "labels from 0 to 2"),
    "labels too large, one batch": (lambda d, x, y: d.train_on_batch(x, y + 1), "labels from 0 to 2"),
    "no samples": (lambda d, x, y: d.fit(x[:0], y[:0], verbose=0), "at least one sample"),
    "an empty dataset": (
        lambda d, x, y: d.fit(tf.data.Dataset.from_tensor_slices((x[:0], y[:0]))),
        "at least one sample",
    ),
    "a dataset that turns out empty": (
        lambda d, x, y: d.fit(empty_generator(), verbose=0, shuffle=False),
        "at least one sample",
    ),
    "schedule returns 0": (
        lambda d, x, y: d.fit(
            x, y, verbose=0, callbacks=[kd.callbacks.TemperatureScheduler(lambda p: 1.0 - p)], epochs=3
        ),
        "finite temperature > 0 from the schedule at epoch 1.*0.0",
    ),
    "schedule returns NaN": (
        lambda d, x, y: d.fit(x, y, verbose=0, callbacks=[kd.callbacks.TemperatureScheduler(lambda p: np.nan)]),
        "finite temperature > 0 from the schedule at epoch 0.*nan",
    ),
    "schedule returns nothing": (
        lambda d, x, y: d.fit(x, y, verbose=0, callbacks=[kd.callbacks.TemperatureScheduler(lambda p: None, "step")]),
        "finite temperature > 0 from the schedule at step 0.*None",
    ),
    "assigned temperature": (lambda d, x, y: setattr(d, "temperature", -2.0), "finite temperature > 0"),
    "assigned temperature without one": (
        lambda d, x, y: setattr(kd.Distiller(d.teacher, d.student, kd.losses.LogitMatching()), "temperature", 2.0),
        "a distillation loss that has a temperature.*logit_matching",
    ),
    "assigned weight": (lambda d, x, y: setattr(d, "student_loss_weight", 2.0), "from 0 to 1"),
    "assigned weights": (
        lambda d, x, y: setattr(d, "distillation_loss_weights", [1.0, 2.0]),
        "1 distillation_loss_weights",
    ),
}


@pytest.mark.filterwarnings("ignore:Your input ran out of data")
@pytest.mark.parametrize("case", FITTING)
def test_in_training(mlp, data, case):
    distiller = kd.Distiller(mlp(16), mlp(4), logits())
    # The checks of labels are within the step; nothing else comes so far.
    distiller.compile("adam", "sparse_categorical_crossentropy", run_eagerly="labels" not in case)
    act, message = FITTING[case]
    with pytest.raises(ValueError, match=message) as caught:
        act(distiller, *data)
    assert FORM.match(str(caught.value))


@pytest.mark.parametrize("jit_compile", [False, True])
def test_nan_stops_training_and_names_the_term(mlp, data, jit_compile):
    teacher = mlp(16)
    teacher.layers[-1].bias.assign([np.nan, 0.0, 0.0])
    distiller = kd.Distiller(teacher, mlp(4), [kd.losses.FeatureDistillation("mse", "hidden", "hidden"), logits()])
    distiller.compile("adam", "sparse_categorical_crossentropy", jit_compile=jit_compile)
    with pytest.raises(
        FloatingPointError, match="Expected a finite logits_distillation in every training step"
    ) as caught:
        distiller.fit(*data, verbose=0)
    assert FORM.match(str(caught.value))


def hidden_softmax():
    def softmax(x):
        return keras.ops.exp(x) / keras.ops.sum(keras.ops.exp(x), axis=-1, keepdims=True)

    return keras.Sequential([keras.Input((4,)), keras.layers.Dense(3, softmax, name="hidden")])


@pytest.mark.parametrize("owner", ["teacher", "student"])
@pytest.mark.parametrize("eagerly", [False, True])
@pytest.mark.parametrize("loss", [logits(), kd.losses.LogitMatching()], ids=["tempered", "matching"])
def test_probabilities_whose_logits_are_lost_are_refused(mlp, data, owner, eagerly, loss):
    models = {"teacher": mlp(16), "student": mlp(4), owner: hidden_softmax()}
    distiller = kd.Distiller(models["teacher"], models["student"], loss)
    distiller.compile("adam", "sparse_categorical_crossentropy", run_eagerly=eagerly)
    with pytest.raises(ValueError, match=f"logits from the {owner}.*End the model with a linear layer"):
        distiller.fit(*data, verbose=0)


@pytest.mark.parametrize("loss", ["sparse_categorical_crossentropy", keras.losses.SparseCategoricalCrossentropy()])
def test_hard_labels_take_them_for_probabilities_as_keras_does(mlp, data, loss):
    student = hidden_softmax()
    distiller = kd.Distiller(mlp(3), student, kd.losses.FeatureDistillation("mse", "hidden", "hidden"))
    distiller.compile("adam", loss)
    found = distiller.evaluate(*data, verbose=0, return_dict=True)["student_loss"]
    wanted = keras.losses.SparseCategoricalCrossentropy()(data[1], student(data[0]))
    np.testing.assert_allclose(found, wanted, rtol=1e-6)


def test_a_temperature_scheduler_needs_a_distiller(mlp, data):
    model = mlp()
    model.compile("sgd", "mse")
    with pytest.raises(ValueError, match="Expected a Distiller with a temperature. Received: Sequential"):
        model.fit(data[0], np.eye(3)[data[1]], callbacks=[kd.callbacks.TemperatureScheduler(lambda p: 1.0)], verbose=0)


def test_feature_maps_of_other_sizes_are_refused_without_an_adapter():
    def model(stride):
        layers = [keras.Input((8, 8, 1)), keras.layers.Conv2D(4, 3, stride, name="map"), keras.layers.Flatten()]
        return keras.Sequential([*layers, keras.layers.Dense(3)])

    distiller = kd.Distiller(model(1), model(2), kd.losses.FeatureDistillation("mse", "map", "map", None))
    distiller.compile("sgd", "sparse_categorical_crossentropy")
    with pytest.raises(ValueError, match="Expected features of the same shape.*6, 6, 4.*3, 3, 4.*adapter"):
        distiller.fit(np.ones((4, 8, 8, 1)), np.zeros(4), verbose=0)
