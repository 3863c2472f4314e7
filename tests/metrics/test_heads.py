"""Metrics under heads of one output, of several labels and of classes, against NumPy, SciPy and scikit-learn."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from scipy.special import expit
from scipy.stats import entropy
from sklearn.metrics import brier_score_loss, log_loss, recall_score

import keras_distill as kd
from keras_distill import metrics
from keras_distill.metrics.heads import find_head, head_of_loss, heads_by_output

TEACHER, STUDENT = np.random.default_rng(0).normal(size=(2, 30, 4)).astype("float32") * 2
SHAPES = {"one": (120, 1), "one of a sequence": (30, 4, 1), "labels": (30, 4), "labels of a sequence": (10, 3, 4)}
NAN = np.float32(np.nan)


def as_logits(logits):
    return tf.constant(logits)


def as_sigmoid(logits):
    return keras.activations.sigmoid(tf.constant(logits))


def as_array(logits):
    return expit(logits)


def two_way(logits):
    return np.stack([1 - expit(logits.astype("float64")), expit(logits.astype("float64"))], -1)


# What teacher and student are, and whether the metric has to be told what several outputs decide.
PAIRS = {
    "sigmoid": (as_sigmoid, as_sigmoid, False),
    "teacher of logits": (as_logits, as_sigmoid, False),
    "student of logits": (as_sigmoid, as_logits, False),
    "logits": (as_logits, as_logits, True),
    "probabilities": (as_array, as_array, True),
}


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
@pytest.mark.parametrize("pair", PAIRS)
def test_agreement_of_decisions(pair, shape):
    teacher_form, student_form, told = PAIRS[pair]
    teacher, student = TEACHER.reshape(shape), STUDENT.reshape(shape)
    head = "labels" if told and shape[-1] > 1 else None
    given = teacher_form(teacher), student_form(student)
    wanted = ((teacher > 0) == (student > 0)).mean()
    assert 0.3 < wanted < 0.7
    metric = metrics.Agreement(head=head)
    metric.update_state(*given)
    np.testing.assert_allclose(metric.result(), wanted, rtol=1e-6)
    np.testing.assert_allclose(metrics.agreement(*given, head=head), wanted, rtol=1e-6)
    by_class = [(student > 0)[teacher > 0].mean()]
    by_class = [(student <= 0)[teacher <= 0].mean(), *by_class]
    if shape[-1] > 1:
        yes = (teacher > 0).reshape(-1, 4), (student > 0).reshape(-1, 4)
        by_class = [recall_score(*(each[:, label] for each in yes)) for label in range(4)]
    metric = metrics.ClassAgreement(len(by_class), head=head)
    metric.update_state(*given)
    np.testing.assert_allclose(metric.per_class(), by_class, rtol=1e-6)
    np.testing.assert_allclose(metrics.class_agreement(*given, head=head), by_class, rtol=1e-6)


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
@pytest.mark.parametrize("pair", PAIRS)
def test_divergence_of_decisions(pair, shape):
    teacher_form, student_form, told = PAIRS[pair]
    teacher, student = TEACHER.reshape(shape), STUDENT.reshape(shape)
    given = teacher_form(teacher), student_form(student)
    options = {"head": "labels" if told and shape[-1] > 1 else None, "from_logits": pair != "probabilities"}
    for temperature in (1.0, 3.0):
        wanted = entropy(two_way(teacher / temperature), two_way(student / temperature), axis=-1).mean()
        metric = metrics.TeacherDivergence(temperature, **options)
        metric.update_state(*given)
        np.testing.assert_allclose(metric.result(), wanted, rtol=2e-5)
        np.testing.assert_allclose(metrics.teacher_divergence(*given, temperature, **options), wanted, rtol=2e-5)


SCORES = {
    "nll": (metrics.NegativeLogLikelihood, metrics.negative_log_likelihood, lambda y, p: log_loss(y, p)),
    "brier": (metrics.BrierScore, metrics.brier_score, lambda y, p: 2 * brier_score_loss(y, p)),
    "ece": (metrics.ExpectedCalibrationError, metrics.expected_calibration_error, None),
}


def calibration_error(labels, yes):
    confidence, hits = np.maximum(yes, 1 - yes), (yes > 0.5) == labels
    in_bin = np.searchsorted(np.linspace(0, 1, 16)[1:-1], confidence)
    return sum(abs((hits[in_bin == b] - confidence[in_bin == b]).sum()) for b in range(15)) / len(yes)


@pytest.mark.parametrize("form", ["whole", "unlabelled", "weighted", "smoothed"])
@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
@pytest.mark.parametrize("score", SCORES)
def test_scores_of_decisions(score, shape, form):
    made, function, wanted = SCORES[score]
    labels = (TEACHER > 0).astype("int32").reshape(shape)
    labels = np.where(np.arange(120).reshape(shape) % 5 == 0, -1, labels) if form == "unlabelled" else labels
    times = np.arange(shape[0]) % 3 if form == "weighted" else np.ones(shape[0], int)
    each = np.repeat(times, 120 // shape[0]) * (labels.ravel() >= 0)
    y, yes = labels.ravel().repeat(each), expit(STUDENT.ravel()).astype("float64").repeat(each)
    value = (wanted or calibration_error)(y, yes)
    given = np.where(labels > 0, 0.95, 0.05) if form == "smoothed" else labels
    for outputs, from_logits in ((as_sigmoid(STUDENT.reshape(shape)), True), (expit(STUDENT.reshape(shape)), False)):
        head = None if from_logits else "labels"
        metric = made(from_logits=from_logits, head=head)
        weights = times.astype("float32") if form == "weighted" else None
        metric.update_state(given, outputs, weights)
        np.testing.assert_allclose(metric.result(), value, rtol=2e-5)
        if form != "weighted":
            np.testing.assert_allclose(function(given, outputs, from_logits=from_logits, head=head), value, rtol=2e-5)
    if shape[-1] == 1:  # One label for each sample, without an axis for it.
        metric = made()
        metric.update_state(given[..., 0], tf.constant(STUDENT.reshape(shape)), weights)
        np.testing.assert_allclose(metric.result(), value, rtol=2e-5)


@pytest.mark.parametrize(
    "row, run",
    [([2.0, NAN, 1.0], "eager"), ([NAN], "eager"), pytest.param([NAN], "xla", marks=pytest.mark.slow)],
)
def test_outputs_that_are_nan_are_never_perfect(row, run):
    run = tf.function(jit_compile=True) if run == "xla" else lambda update: update
    outputs, teacher = np.array([row, [1.0] * len(row)], "float32"), np.ones((2, len(row)), "float32")
    scores = [metrics.NegativeLogLikelihood(), metrics.BrierScore(), metrics.ExpectedCalibrationError()]
    fidelity = [metrics.TeacherDivergence(), metrics.Agreement()]

    def update(student):
        for metric in scores:
            metric.update_state([0, 0], student)
        for metric in fidelity:
            metric.update_state(tf.constant(teacher), student)

    run(update)(tf.constant(outputs))
    assert np.isnan([metric.result() for metric in [*scores, fidelity[0]]]).all()
    assert float(fidelity[1].result()) == 0.5  # A student that predicts nothing agrees with nothing.
    functions = (metrics.negative_log_likelihood, metrics.brier_score, metrics.expected_calibration_error)
    assert all(np.isnan(function([0, 0], outputs)) for function in functions)
    assert np.isnan(metrics.teacher_divergence(teacher, outputs)) and metrics.agreement(teacher, outputs) == 0.5


def test_ranks_of_nan():
    teacher = np.array([[9.0, 1.0, 2.0, 3.0]] * 2, "float32")
    student = np.array([[5.0, 2.0, 3.0, NAN], [5.0, 2.0, 3.0, 4.0]], "float32")
    assert metrics.dark_knowledge_correlation(teacher, student) == 0.5
    assert metrics.dark_knowledge_correlation(student, teacher) == 1.0


HEADS = {
    "sigmoid unit": (1, "sigmoid", "binary_crossentropy"),
    "linear unit": (1, None, "binary_crossentropy"),
    "linear labels": (3, None, keras.losses.BinaryCrossentropy(from_logits=True)),
    "softmax": (3, "softmax", "sparse_categorical_crossentropy"),
}


@pytest.mark.parametrize("head", HEADS)
def test_of_a_compiled_distiller(head):
    units, activation, loss = HEADS[head]
    keras.utils.set_random_seed(0)
    x = np.random.default_rng(0).normal(size=(64, 4)).astype("float32")
    y = (x[:, :units] > 0).astype("int32") if activation != "softmax" else np.arange(64) % 3

    def model(width):
        return keras.Sequential(
            [keras.Input((4,)), keras.layers.Dense(width, "relu"), keras.layers.Dense(units, activation)]
        )

    teacher, student = model(16), model(4)
    distiller = kd.Distiller(teacher, student, kd.losses.FeatureDistillation("mse"))
    distiller.compile("sgd", loss, metrics=[metrics.NegativeLogLikelihood()], fidelity=True)
    logs = distiller.evaluate(x, y, batch_size=40, verbose=0, return_dict=True)
    first, second = (each.predict(x, verbose=0) for each in (teacher, student))
    if activation == "softmax":
        agreement = (first.argmax(-1) == second.argmax(-1)).mean()
        likelihood = keras.losses.sparse_categorical_crossentropy(y, second)
    else:
        level = 0.5 if activation else 0.0
        agreement = ((first > level) == (second > level)).mean()
        likelihood = keras.losses.binary_crossentropy(y, second, from_logits=activation is None)
    np.testing.assert_allclose(logs["agreement"], agreement, rtol=1e-6)
    np.testing.assert_allclose(logs["negative_log_likelihood"], np.mean(likelihood), rtol=1e-5)


def test_the_loss_tells_the_head():
    losses = keras.losses
    told = {
        "labels": ["binary_crossentropy", losses.BinaryCrossentropy(), losses.binary_focal_crossentropy],
        "classes": ["categorical_crossentropy", losses.SparseCategoricalCrossentropy()],
    }
    for head, each in told.items():
        assert {head_of_loss(loss) for loss in each} == {head}
    assert head_of_loss("mse") is None and head_of_loss(None) is None
    outputs = {"b": np.ones((2, 3)), "a": np.ones((2, 3))}
    assert heads_by_output({"b": "binary_crossentropy"}, outputs) == [None, "labels"]
    assert heads_by_output(["mse", "binary_crossentropy"], list(outputs.values())) == [None, "labels"]
    assert heads_by_output("binary_crossentropy", outputs) == ["labels"] * 2
    assert heads_by_output(["mse"], outputs) == [None] * 2
    assert find_head(TEACHER, STUDENT) == "classes" and find_head(TEACHER[:, :1]) == "labels"


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda: metrics.Agreement(head="softmax"), "head to be"),
        (lambda: metrics.agreement(TEACHER, STUDENT, head="yes"), "head to be"),
        (lambda: metrics.BrierScore(head="labels").update_state([0] * 30, STUDENT), "a label of 0 or 1 for each"),
        (lambda: metrics.brier_score([0] * 30, STUDENT, head="labels"), "a label of 0 or 1 for each"),
        (lambda: metrics.brier_score([2] * 30, STUDENT[:, :1]), "a label from 0 to 1"),
        (lambda: metrics.ClassAgreement(3).update_state(TEACHER[:, :1], STUDENT[:, :1]), "outputs of 3 classes"),
        (lambda: metrics.ClassAgreement(2, head="labels").update_state(TEACHER, STUDENT), "outputs of 2 classes"),
    ],
)
def test_refused(call, message):
    with pytest.raises(ValueError, match=rf"^Expected .*{message}.*Received: "):
        call()
