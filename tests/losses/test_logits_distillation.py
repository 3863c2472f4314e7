"""`LogitsDistillation`: forms of the loss, temperatures, outputs left out, refusals."""

import math

import keras
import numpy as np
import pytest
import tensorflow as tf
from loss_table import pair, softmax, value_and_gradient

import keras_distill as kd

KL = ["kl_divergence", "kld", "KLD", "KLDivergence", keras.losses.kl_divergence, keras.losses.KLDivergence()]
CROSS_ENTROPY = [
    "categorical_crossentropy",
    "CategoricalCrossentropy",
    keras.losses.categorical_crossentropy,
    keras.losses.CategoricalCrossentropy(),
    keras.losses.CategoricalCrossentropy(from_logits=True),
]


def closed_form(teacher, student, temperature, cross_entropy=False):
    p, q = softmax(teacher.astype("float64") / temperature), softmax(student.astype("float64") / temperature)
    ratio = 1 / q if cross_entropy else p / q
    gradient = temperature * (q - p) / len(student)
    return temperature**2 * np.mean(np.sum(p * np.log(ratio), -1)), gradient


@pytest.mark.parametrize("temperature", [0.5, 3])
@pytest.mark.parametrize("spelling", [*KL, *CROSS_ENTROPY], ids=range(len(KL + CROSS_ENTROPY)))
def test_every_spelling(spelling, temperature):
    teacher, student = pair(5, 10, spread=8.0)
    loss = kd.losses.LogitsDistillation(temperature, spelling)
    cross_entropy = any(spelling is each for each in CROSS_ENTROPY)
    copy = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(loss))
    for each in (loss, copy):
        value, gradient = value_and_gradient(each, teacher, student)
        wanted_value, wanted_gradient = closed_form(teacher, student, temperature, cross_entropy)
        np.testing.assert_allclose(value, wanted_value, rtol=1e-5)
        np.testing.assert_allclose(gradient, wanted_gradient, rtol=1e-5, atol=1e-6)


def test_default_is_the_exact_divergence():
    teacher, student = pair(5, 10, spread=8.0)
    np.testing.assert_allclose(
        kd.losses.LogitsDistillation().compute_loss(teacher, student), closed_form(teacher, student, 3.0)[0], rtol=1e-5
    )
    assert kd.losses.LogitsDistillation(2.0, "mse").loss == "mse"


@pytest.mark.parametrize(
    "temperature, jit", [(0.5, None), (1.0, None), (4.0, None), (20.0, None), (1000.0, None), (4.0, True)]
)
def test_gradient_is_temperature_times_difference_of_probabilities(temperature, jit):
    teacher, student = pair(6, 10, spread=20.0)
    _, gradient = value_and_gradient(kd.losses.LogitsDistillation(temperature), teacher, student, jit=jit)
    wanted = closed_form(teacher, student, temperature)[1]
    np.testing.assert_allclose(gradient, wanted, rtol=0, atol=1e-5 * np.abs(wanted).max())


def test_tends_to_logit_matching():
    teacher, student = pair(6, 10)
    limit = value_and_gradient(kd.losses.LogitMatching(), teacher, student)
    hot = value_and_gradient(kd.losses.LogitsDistillation(1e4), teacher, student)
    np.testing.assert_allclose(hot[0], limit[0], rtol=1e-3)
    np.testing.assert_allclose(hot[1], limit[1], rtol=0, atol=1e-3 * np.abs(limit[1]).max())


def test_gradient_keeps_its_size_as_the_temperature_grows():
    teacher, student = pair(6, 10)
    norms = [
        np.linalg.norm(value_and_gradient(kd.losses.LogitsDistillation(T), teacher, student)[1])
        for T in (20.0, 100.0, 1000.0)
    ]
    np.testing.assert_allclose(norms, norms[-1], rtol=0.1)


@pytest.mark.parametrize("spelling", ["kld", "categorical_crossentropy", "mse"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_variable_as_temperature(spelling, dtype):
    teacher, student = pair(4, 3, dtype=dtype)
    temperature = keras.Variable(2.0, trainable=False)
    loss = kd.losses.LogitsDistillation(temperature, spelling)
    compute = tf.function(loss.compute_loss)
    for value in (2.0, 5.0):
        temperature.assign(value)
        wanted = kd.losses.LogitsDistillation(value, spelling).compute_loss(teacher, student)
        np.testing.assert_allclose(compute(teacher, student), wanted, rtol=1e-6)
    assert loss.temperature is temperature and loss.get_config()["temperature"] == 5.0


@pytest.mark.parametrize("spelling", ["kld", "categorical_crossentropy", "mse"])
def test_temperature_of_the_call_has_precedence(spelling):
    teacher, student = pair(4, 3)
    wanted = kd.losses.LogitsDistillation(7.0, spelling).compute_loss(teacher, student)
    got = kd.losses.LogitsDistillation(2.0, spelling).compute_loss(teacher, student, temperature=tf.constant(7.0))
    np.testing.assert_allclose(got, wanted, rtol=1e-6)


@pytest.mark.parametrize("name", ["mse", "mae", "huber", "cosine_similarity", "log_cosh"])
def test_other_losses_compare_the_tempered_logits(name):
    teacher, student = pair(4, 6, spread=8.0)
    wanted = 9.0 * np.mean(keras.losses.get(name)(teacher / 3.0, student / 3.0))
    np.testing.assert_allclose(
        kd.losses.LogitsDistillation(3.0, name).compute_loss(teacher, student), wanted, rtol=1e-5
    )


def test_a_custom_function():
    def total(teacher, student):
        return keras.ops.sum(keras.ops.abs(teacher - student), axis=-1)

    teacher, student = pair(4, 6)
    value = kd.losses.LogitsDistillation(3.0, total).compute_loss(teacher, student)
    np.testing.assert_allclose(value, 3.0 * np.mean(np.sum(np.abs(teacher - student), -1)), rtol=1e-5)


@pytest.mark.parametrize(
    "loss",
    [
        ["kld", None],
        ("kld", "mse"),
        {"a": "categorical_crossentropy", "b": None},
        {"a": None, "b": keras.losses.KLDivergence()},
        [keras.losses.MeanSquaredError(), keras.losses.kl_divergence],
    ],
    ids=range(5),
)
def test_nests_of_losses(loss):
    teacher, student = pair(4, 3), pair(4, 5, seed=1)
    teachers, students = (teacher[0], student[0]), (teacher[1], student[1])
    if isinstance(loss, dict):
        teachers, students = (dict(zip("ab", outputs, strict=True)) for outputs in (teachers, students))
    flat = list(loss.values()) if isinstance(loss, dict) else loss
    parts = [
        0.0 if each is None else kd.losses.LogitsDistillation(2.0, each).compute_loss(v, z)
        for each, v, z in zip(flat, keras.tree.flatten(teachers), keras.tree.flatten(students), strict=True)
    ]
    nested = kd.losses.LogitsDistillation(2.0, loss)
    copy = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(nested))
    for each in (nested, copy):
        each.validate_outputs(teachers, students)
        np.testing.assert_allclose(each.compute_loss(teachers, students), sum(parts), rtol=1e-6)


def test_an_output_left_out_may_have_any_shape():
    teacher, student = pair(4, 3)
    others = np.zeros((4, 1), "float32"), np.full((4, 7), np.nan, "float32")
    loss = kd.losses.LogitsDistillation(2.0, ["kld", None])
    loss.validate_outputs([teacher, others[0]], [student, others[1]])
    wanted = kd.losses.LogitsDistillation(2.0).compute_loss(teacher, student)
    assert loss.compute_loss([teacher, others[0]], [student, others[1]]) == wanted


@pytest.mark.parametrize("loss", [["kld", "kld"], {"x": "kld", "y": None}, ["kld"] * 4], ids=str)
def test_nests_that_do_not_fit_the_outputs(loss):
    outputs = dict(zip("abc", (pair(4, 3)[0],) * 3, strict=True))
    with pytest.raises(
        ValueError, match=r"^Expected one loss, or one for each of the 3 outputs\. Received: loss=.*\.$"
    ):
        kd.losses.LogitsDistillation(2.0, loss).validate_outputs(outputs, outputs)


def test_names_of_a_nest_that_are_not_those_of_the_outputs():
    outputs = dict(zip("ab", (pair(4, 3)[0],) * 2, strict=True))
    for given in (outputs, list(outputs.values())):
        with pytest.raises(ValueError, match=r"^Expected one loss, or one for each of the 2 outputs\. Received: loss="):
            kd.losses.LogitsDistillation(2.0, {"a": "kld", "c": "kld"}).validate_outputs(given, given)


@pytest.mark.parametrize(
    "temperature",
    [0, 0.0, -1.0, math.nan, math.inf, -math.inf, "3", True, None, 1j, [2.0], np.ones(2), 10**400, "abc"],
    ids=str,
)
def test_temperatures_refused(temperature):
    with pytest.raises(ValueError, match=r"(?s)^Expected a finite temperature > 0\. Received: temperature=.*\.$"):
        kd.losses.LogitsDistillation(temperature)


@pytest.mark.parametrize("value", [0.0, -1.0, math.nan])
def test_variables_refused(value):
    with pytest.raises(ValueError, match=r"(?s)^Expected a finite temperature > 0\. Received: temperature=.*\.$"):
        kd.losses.LogitsDistillation(keras.Variable(value))


@pytest.mark.parametrize("temperature", [1, 1e-6, 1e6, np.float32(3), np.int64(3), np.array(3.0), tf.constant(3.0)])
def test_temperatures_taken(temperature):
    loss = kd.losses.LogitsDistillation(temperature)
    assert loss.get_config()["temperature"] == float(temperature)
    assert type(loss.get_config()["temperature"]) is float


def test_label_smoothing_is_refused():
    with pytest.raises(ValueError, match=r"^Expected soft targets without label smoothing\. Received: loss=.*0\.1.*"):
        kd.losses.LogitsDistillation(loss=keras.losses.CategoricalCrossentropy(label_smoothing=0.1))


@pytest.mark.parametrize("kind", [kd.losses.LogitsDistillation, kd.losses.FeatureDistillation])
def test_losses_refused(kind):
    with pytest.raises(
        ValueError, match=r"^Expected loss to be one of .*\. Received: 'kl_div'\. Did you mean 'kl_dive"
    ):
        kind(loss="kl_div")
    with pytest.raises(ValueError, match=r"^Expected loss to be a Keras loss by name, .*\. Received: loss=3\.$"):
        kind(loss=3)
    for empty in (None, [None, None], []):
        with pytest.raises(ValueError, match=r"^Expected at least one loss that is not `None`\. Received: loss=.*\.$"):
            kind(loss=empty)


@pytest.mark.parametrize("kind", [kd.losses.LogitsDistillation, kd.losses.LogitMatching])
@pytest.mark.parametrize("widths", [(3, 4), (1, 1), (1, 3)])
def test_classes_that_do_not_fit(kind, widths):
    teacher, student = (np.zeros((4, width), "float32") for width in widths)
    with pytest.raises(
        ValueError, match=r"^Expected teacher and student to have the same number of classes, at least 2"
    ):
        kind().validate_outputs(teacher, student)


def test_names():
    assert kd.losses.LogitsDistillation().name == "logits_distillation"
    assert kd.losses.LogitMatching(name="limit").name == "limit"
    settings = "loss='kl_divergence', temperature=2.0, temperature_squared=True"
    assert repr(kd.losses.LogitsDistillation(2.0)) == f"LogitsDistillation({settings})"


def test_without_the_square_of_the_temperature():
    teacher, student = pair(4, 3)
    values = [
        float(kd.losses.LogitsDistillation(2.0, temperature_squared=squared).compute_loss(teacher, student))
        for squared in (True, False)
    ]
    np.testing.assert_allclose(values[0], 4.0 * values[1], rtol=1e-6)


def test_a_custom_loss():
    class Largest(kd.losses.DistillationLoss):
        def per_sample(self, teacher_output, student_output):
            return keras.ops.max(keras.ops.abs(teacher_output - student_output), axis=(1, 2))

    teacher, student = pair(3, 2, 4)
    weights = np.array([1.0, 0.0, 2.0], "float32")
    values = np.abs(teacher - student).max((1, 2))
    # One value for all positions: a mask per position has nothing to take away.
    for mask in (None, np.array([[True, False]] * 3)):
        value, _ = value_and_gradient(Largest(), teacher, student, sample_weight=weights, mask=mask)
        np.testing.assert_allclose(value, np.mean(values * weights), rtol=1e-6)
    with pytest.raises(NotImplementedError, match="must implement `per_sample"):
        kd.losses.DistillationLoss().compute_loss(teacher, student)
