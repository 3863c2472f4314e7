"""Every metric of outputs against scikit-learn and SciPy: streamed, masked, weighted, saved and compiled."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from scipy.special import softmax
from scipy.stats import entropy, spearmanr
from sklearn.calibration import calibration_curve
from sklearn.metrics import accuracy_score, brier_score_loss, log_loss, recall_score

import keras_distill as kd
from keras_distill import metrics

CLASSES = 6


def spearman(teacher, student):
    def row(one, other):
        rest = np.arange(CLASSES) != one.argmax()
        return spearmanr(one[rest], other[rest]).statistic

    return np.mean([row(one, other) for one, other in zip(teacher, student, strict=True)])


def divergence(temperature):
    def compute(teacher, student):
        return entropy(softmax(teacher / temperature, -1), softmax(student / temperature, -1), axis=-1).mean()

    return compute


def macro_agreement(teacher, student):
    answers = teacher.argmax(-1)
    return recall_score(answers, student.argmax(-1), labels=np.unique(answers), average="macro")


def calibration_error(labels, outputs):
    confidence, hits = softmax(outputs, -1).max(-1), outputs.argmax(-1) == labels
    accuracies, confidences = calibration_curve(hits, confidence, n_bins=15)
    counts = np.bincount(np.searchsorted(np.linspace(0, 1, 16)[1:-1], confidence), minlength=15)
    return np.sum(np.abs(accuracies - confidences) * counts[counts > 0]) / counts.sum()


FIDELITY = {
    "agreement": (metrics.Agreement, lambda t, s: accuracy_score(t.argmax(-1), s.argmax(-1)), metrics.agreement),
    "class_agreement": (
        lambda **given: metrics.ClassAgreement(CLASSES, **given),
        macro_agreement,
        lambda t, s: np.nanmean(metrics.class_agreement(t, s)),
    ),
    "teacher_divergence": (metrics.TeacherDivergence, divergence(1.0), metrics.teacher_divergence),
    "at_4": (
        lambda **given: metrics.TeacherDivergence(4.0, **given),
        divergence(4.0),
        lambda t, s: metrics.teacher_divergence(t, s, temperature=4.0),
    ),
    "training_divergence": (
        lambda **given: metrics.TeacherDivergence("training", **given),
        divergence(2.5),
        lambda t, s: metrics.teacher_divergence(t, s, temperature=2.5),
    ),
    "dark_knowledge": (metrics.DarkKnowledgeCorrelation, spearman, metrics.dark_knowledge_correlation),
}
LABELLED = {
    "calibration": (metrics.ExpectedCalibrationError, calibration_error, metrics.expected_calibration_error),
    "brier": (
        metrics.BrierScore,
        lambda y, s: brier_score_loss(y, softmax(s, -1), labels=range(CLASSES), scale_by_half=False),
        metrics.brier_score,
    ),
    "likelihood": (
        metrics.NegativeLogLikelihood,
        lambda y, s: log_loss(y, softmax(s, -1), labels=range(CLASSES)),
        metrics.negative_log_likelihood,
    ),
}
ALL = {**FIDELITY, **LABELLED}
EVERY = pytest.mark.parametrize("name", ALL)
OF_LABELS = pytest.mark.parametrize("name", LABELLED)
RUNS = {"eager": lambda f: f, "graph": tf.function, "xla": lambda f: tf.function(f, jit_compile=True)}


def sample(name, *rows, seed=0):
    """Return what a metric receives: a teacher's outputs, or labels, and a student's outputs, some of them tied."""
    generator = np.random.default_rng(seed)
    teacher, student = generator.normal(size=(2, *rows, CLASSES)) * 3.0
    student[::2] = np.round(student[::2])
    return generator.integers(0, CLASSES, rows) if name in LABELLED else np.round(teacher, 1), student


def make(row, **given):
    metric = ALL[row][0](**given)
    arguments = {"temperature": 2.5} if row in FIDELITY else {}

    def update(first, student, weights=None):
        metric.update_state(first, student, weights, **arguments)

    return metric, update


def wanted(name, first, student):
    rows = student.reshape(-1, CLASSES)
    return ALL[name][1](first.reshape(len(rows)) if name in LABELLED else first.reshape(rows.shape), rows)


@EVERY
@pytest.mark.parametrize("rows", [(60,), (2,), (12, 5), (3, 4, 5)], ids=str)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_value(name, rows, dtype):
    first, student = sample(name, *rows)
    first = first.astype(dtype) if name in FIDELITY else first
    metric, update = make(name, dtype=dtype)
    update(first, student.astype(dtype))
    tolerance = {"float32": 2e-6, "float64": 1e-12}[dtype]
    value = wanted(name, first, student.astype(dtype).astype("float64"))
    np.testing.assert_allclose(float(metric.result()), value, rtol=tolerance, atol=tolerance)
    np.testing.assert_allclose(ALL[name][2](first, student.astype(dtype)), value, rtol=tolerance, atol=tolerance)


@EVERY
@pytest.mark.parametrize("run", ["eager", "xla"])
def test_unequal_batches_equal_one_batch(name, run):
    first, student = sample(name, 61)
    metric, update = make(name)
    update = RUNS[run](update)
    for rows in (slice(0, 25), slice(25, 36), slice(36, 61)):
        update(tf.constant(first[rows]), tf.constant(student[rows], "float32"))
    np.testing.assert_allclose(metric.result(), wanted(name, first, student), rtol=2e-6, atol=2e-6)
    metric.reset_state()
    assert float(metric.result()) == 0.0 and not any(np.any(variable) for variable in metric.variables)


@EVERY
@pytest.mark.parametrize("rank", [1, 2])
def test_weights_count_samples_several_times(name, rank):
    first, student = sample(name, 40)
    times = np.random.default_rng(1).integers(0, 4, 40)
    student[times == 0] = np.nan
    metric, update = make(name)
    update(first, student, times.reshape((-1,) + (1,) * (rank - 1)).astype("float32"))
    value = wanted(name, first.repeat(times, axis=0), student.repeat(times, axis=0))
    np.testing.assert_allclose(metric.result(), value, rtol=2e-6, atol=2e-6)


@EVERY
@pytest.mark.parametrize("weighted", [False, True])
def test_masks_leave_out_positions(name, weighted):
    first, student = sample(name, 8, 5)
    mask = np.random.default_rng(2).uniform(size=(8, 5)) < 0.6
    weights = np.arange(8) % 3 if weighted else np.ones(8, int)
    student[~mask] = np.nan
    outputs = tf.constant(student, "float32")
    outputs._keras_mask = tf.constant(mask)
    metric, update = make(name)
    update(first, outputs, weights if weighted else None)
    times = (mask * weights[:, None]).ravel()
    first = first.reshape(40, *first.shape[2:])
    value = wanted(name, first.repeat(times, axis=0), student.reshape(40, CLASSES).repeat(times, axis=0))
    np.testing.assert_allclose(metric.result(), value, rtol=2e-6, atol=2e-6)


@EVERY
def test_config_round_trip(name):
    metric, _ = make(name, name="other", dtype="float64")
    again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(metric))
    assert type(again) is type(metric) and again.get_config() == metric.get_config()
    assert (again.name, again.dtype) == ("other", "float64")
    assert [tuple(variable.shape) for variable in again.variables] == [tuple(v.shape) for v in metric.variables]


@pytest.mark.parametrize("run", ["graph", "xla"])
def test_sums_do_not_drift(run):
    metric, logits = metrics.BrierScore(), tf.zeros((1, 4))  # A score of 0.75 for each.

    def stream():
        for _ in tf.range(2000):
            metric.update_state([0], logits)

    metric.update_state([0], [[0.0, 0.0]], [2.0**25])  # Adding 1 to this sum has no effect in plain float32.
    RUNS[run](stream)()
    total, weight = np.sum(np.array(metric.variables), axis=0, dtype="float64")
    assert weight == 2.0**25 + 2000 and total == 2.0**24 + 1500


def test_extreme_logits():
    outputs = np.array([[0.0, 1000.0], [0.0, 20.0], [0.0, -np.inf]], "float32")
    assert metrics.negative_log_likelihood([0], outputs[:1]) == 1000.0
    np.testing.assert_allclose(metrics.negative_log_likelihood([1], outputs[1:2]), np.log1p(np.exp(-20.0)), rtol=1e-6)
    assert metrics.negative_log_likelihood([0], outputs[2:]) == 0.0
    assert np.isfinite(metrics.negative_log_likelihood([1], outputs[2:]))
    assert metrics.brier_score([0], outputs[:1]) == 2.0 and metrics.expected_calibration_error([0], outputs[:1]) == 1.0
    assert metrics.teacher_divergence(outputs[:1], -outputs[:1]) == pytest.approx(1000.0)
    assert metrics.negative_log_likelihood([0], keras.activations.softmax(tf.constant(outputs[:1]))) == 1000.0
    metric, probabilities = metrics.NegativeLogLikelihood(from_logits=False), np.array([[0.0, 1.0]])
    metric.update_state([0], probabilities.astype("float32"))
    assert float(metric.result()) == pytest.approx(-np.log(np.finfo("float32").tiny))


@pytest.mark.parametrize("name", FIDELITY)
def test_a_student_equal_to_its_teacher(name):
    teacher, _ = sample(name, 30)
    perfect = 0.0 if "divergence" in name or name == "at_4" else 1.0
    assert ALL[name][2](teacher, teacher) == pytest.approx(perfect, abs=1e-15)


@OF_LABELS
@pytest.mark.parametrize("form", ["column", "one-hot", "float"])
def test_forms_of_labels(name, form):
    labels, student = sample(name, 40)
    forms = {"column": labels[:, None], "one-hot": np.eye(CLASSES)[labels], "float": labels.astype("float32")}
    metric, update = make(name)
    update(forms[form], student)
    np.testing.assert_allclose(metric.result(), wanted(name, labels, student), rtol=2e-6)
    assert ALL[name][2](forms[form], student) == ALL[name][2](labels, student)


@OF_LABELS
@pytest.mark.parametrize("inside", [False, True], ids=["alone", "in Labelled"])
def test_minus_one_is_no_label(name, inside):
    labels, student = sample(name, 40)
    labels[::3] = -1
    known, (metric, _) = labels >= 0, make(name)
    metric = metrics.Labelled(metric) if inside else metric
    metric.update_state(labels, student)
    value = wanted(name, labels[known], student[known])
    np.testing.assert_allclose(metric.result(), value, rtol=2e-6)
    np.testing.assert_allclose(ALL[name][2](labels, student), value, rtol=2e-6)
    assert not inside or metric._direction == "down"


@pytest.mark.parametrize("name", [*LABELLED, "teacher_divergence"])
def test_probabilities_have_to_be_declared(name):
    first, student = sample(name, 40)
    given = softmax(first, -1) if name in FIDELITY else first
    probabilities, (metric, update) = softmax(student, -1), make(name, from_logits=False)
    update(given, probabilities)
    np.testing.assert_allclose(metric.result(), wanted(name, first, student), rtol=2e-5)
    np.testing.assert_allclose(ALL[name][2](given, probabilities, from_logits=False), metric.result(), rtol=2e-5)
    message = r"^Expected logits of the \w+\. Received: probabilities\. Pass `from_logits=False` for probabilities\.$"
    for refuse in (make(name)[1], ALL[name][2]):
        with pytest.raises(ValueError, match=message):
            refuse(first, probabilities)


@pytest.mark.parametrize("name", ["teacher_divergence", "training_divergence", "dark_knowledge", "brier"])
def test_logits_are_found_under_a_softmax_head(name, mlp):
    model, (metric, update) = mlp(head="softmax", classes=CLASSES), make(name)
    head = model.layers[-1]
    head.kernel.assign(100.0 * head.kernel)  # So far apart that most probabilities are 0 in float32.
    x = np.random.default_rng(0).normal(size=(40, 4)).astype("float32")
    first, _ = sample(name, 40)
    tf.function(lambda x: update(first, model(x)))(x)
    logits = np.array(model.layers[0](x) @ head.kernel + head.bias, "float64")
    np.testing.assert_allclose(metric.result(), wanted(name, first, logits), rtol=1e-5)


@pytest.mark.parametrize("name", ["agreement", "class_agreement", "teacher_divergence"])
def test_teachers_with_stored_top_k_classes(name):
    teacher, student = sample(name, 40)
    teacher = (teacher + np.linspace(0.0, 0.01, CLASSES)).astype("float32")  # No ties.
    order = np.argsort(-teacher, axis=-1)
    values = np.take_along_axis(teacher, order, axis=-1)
    metric, update = make(name)
    # The rest is a single class, so no information is lost.
    update(kd.targets.TopK(order[:, :-1], values[:, :-1], values[:, -1:], classes=CLASSES), student.astype("float32"))
    np.testing.assert_allclose(metric.result(), wanted(name, teacher, student), rtol=1e-5)


def test_teachers_that_change_with_the_temperature():
    teacher, student = (tf.constant(each, "float32") for each in sample("teacher_divergence", 10))
    hot = kd.answers.TemperedLogits(teacher, lambda temperature: temperature * tf.ones_like(teacher))
    metric = metrics.TeacherDivergence("training")
    metric.update_state(hot, student, temperature=2.0)
    assert float(metric.result()) == pytest.approx(divergence(2.0)(np.ones((10, CLASSES)), student.numpy()), rel=1e-5)


@pytest.mark.slow
def test_metrics_of_a_compiled_distiller(mlp, data, tmp_path):
    x, y = data
    partly = np.where(np.arange(96) % 3 == 0, -1, y)
    distiller = kd.Distiller(mlp(16), mlp(4, head="softmax"), "kd")
    chosen = [metrics.NegativeLogLikelihood(), metrics.BrierScore(), metrics.ExpectedCalibrationError(bins=5)]
    distiller.compile("sgd", "sparse_categorical_crossentropy", metrics=chosen)
    stop = keras.callbacks.EarlyStopping("val_negative_log_likelihood")
    distiller.fit(x, partly, validation_data=(x, partly), callbacks=[stop], verbose=0)
    distiller.save(tmp_path / "distiller.keras")
    probabilities = distiller.predict(x, verbose=0)
    expected = [
        metrics.negative_log_likelihood(partly, probabilities, from_logits=False),
        metrics.brier_score(partly, probabilities, from_logits=False),
        metrics.expected_calibration_error(partly, probabilities, bins=5, from_logits=False),
    ]
    for each in (distiller, keras.saving.load_model(tmp_path / "distiller.keras")):
        logs = each.evaluate(x, partly, batch_size=32, return_dict=True, verbose=0)
        np.testing.assert_allclose([logs[metric.name] for metric in chosen], expected, rtol=1e-5)


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda: metrics.agreement(np.ones((2, 3)), np.ones((3, 3))), "outputs of one shape"),
        (
            lambda: metrics.Agreement().update_state(np.ones((2, 3)), np.ones((2, 1))),
            "outputs of one shape, with at least",
        ),
        (lambda: metrics.dark_knowledge_correlation(*np.ones((2, 4, 2))), "at least 3 classes"),
        (lambda: metrics.ClassAgreement(3).update_state(*np.ones((2, 4, 2))), "outputs of 3 classes"),
        (lambda: metrics.ClassAgreement(0), "classes to be a whole number >= 1"),
        (lambda: metrics.ExpectedCalibrationError(bins=2.5), "bins to be a whole number >= 1"),
        (lambda: metrics.reliability_curve([0], [[0.0, 1.0]], bins=0), "bins to be a whole number >= 1"),
        (lambda: metrics.brier_score([-1, -1], np.zeros((2, 3))), "a label from 0 to 2"),
        (lambda: metrics.brier_score([0, 3], np.zeros((2, 3))), "a label from 0 to 2"),
        (lambda: metrics.TeacherDivergence(0.0), "a finite temperature > 0"),
        (lambda: metrics.TeacherDivergence("hot"), "a finite temperature > 0"),
        (lambda: metrics.TeacherDivergence("training").update_state(*np.ones((2, 4, 2))), "the temperature of the tra"),
    ],
)
def test_refused(call, message):
    with pytest.raises(ValueError, match=rf"^Expected .*{message}.*Received: "):
        call()
