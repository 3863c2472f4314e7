"""What single metrics report beyond one number: bins, classes, and the ranks of the classes behind the first."""

import numpy as np
import pytest
from scipy.stats import spearmanr
from sklearn.calibration import calibration_curve

from keras_distill import metrics


def binary(samples=500):
    generator = np.random.default_rng(3)
    outputs = generator.normal(size=(samples, 4)) * 2.0
    return generator.integers(0, 4, samples), outputs.astype("float32")


@pytest.mark.parametrize("bins", [1, 7, 15])
def test_reliability_curve(bins):
    labels, outputs = binary()
    confidence = np.exp(outputs.astype("float64"))
    confidence = (confidence / confidence.sum(-1, keepdims=True)).max(-1)
    accuracy, mean_confidence = calibration_curve(outputs.argmax(-1) == labels, confidence, n_bins=bins)
    metric = metrics.ExpectedCalibrationError(bins)
    for start in range(0, 500, 130):
        metric.update_state(labels[start : start + 130], outputs[start : start + 130])
    for curve in (metrics.reliability_curve(labels, outputs, bins), metric.curve()):
        filled = curve.weight > 0
        np.testing.assert_allclose(curve.accuracy[filled], accuracy, rtol=1e-6)
        np.testing.assert_allclose(curve.confidence[filled], mean_confidence, rtol=1e-6)
        assert np.isnan(curve.accuracy[~filled]).all() and curve.weight.sum() == 500 and len(curve.weight) == bins


def test_a_calibrated_model():
    outputs = np.log(np.array([[0.75, 0.25]] * 4, "float32"))
    assert metrics.expected_calibration_error([0, 0, 0, 1], outputs) == pytest.approx(0.0, abs=1e-7)
    assert metrics.expected_calibration_error([1, 1, 1, 1], outputs) == pytest.approx(0.75)


def test_class_agreement_by_class():
    teacher, student = np.eye(4)[[0, 0, 0, 1, 1, 3]], np.eye(4)[[0, 0, 2, 1, 0, 0]]
    wanted = [2 / 3, 1 / 2, np.nan, 0.0]
    np.testing.assert_allclose(metrics.class_agreement(teacher, student), wanted)
    metric = metrics.ClassAgreement(4)
    metric.update_state(teacher[:2], student[:2])
    metric.update_state(teacher[2:], student[2:])
    np.testing.assert_allclose(metric.per_class(), wanted, rtol=1e-6)
    assert float(metric.result()) == pytest.approx(np.nanmean(wanted))


def test_correlation_leaves_out_the_labelled_class():
    generator = np.random.default_rng(4)
    teacher, student = generator.normal(size=(2, 20, 5))
    labels = generator.integers(-1, 5, 20)
    rows = [
        spearmanr(np.delete(one, label), np.delete(other, label)).statistic
        for one, other, label in zip(teacher, student, labels, strict=True)
        if label >= 0
    ]
    value = metrics.dark_knowledge_correlation(teacher, student, labels)
    assert value == pytest.approx(np.mean(rows), abs=1e-12)
    assert value == metrics.dark_knowledge_correlation(teacher, student, labels[:, None])


def test_correlation_where_nothing_is_ranked():
    silent, ranked = [[5.0, 1.0, 1.0, 1.0]], [[5.0, 1.0, 2.0, 3.0]]
    assert np.isnan(metrics.dark_knowledge_correlation(silent, ranked))
    assert metrics.dark_knowledge_correlation(ranked, silent) == 0.0
    metric = metrics.DarkKnowledgeCorrelation()
    metric.update_state(np.concatenate([silent, ranked, ranked]), np.concatenate([ranked, ranked, silent]))
    assert float(metric.result()) == 0.5


@pytest.mark.parametrize("classes", [3, 4, 100, 1000])
def test_correlation_of_many_classes_with_ties(classes):
    generator = np.random.default_rng(classes)
    teacher = np.round(generator.normal(size=(3, classes)), 1)
    student = np.round(teacher + generator.normal(size=(3, classes)), 1)
    rest = [np.arange(classes) != row.argmax() for row in teacher]
    rows = [
        spearmanr(one[keep], other[keep]).statistic for one, other, keep in zip(teacher, student, rest, strict=True)
    ]
    kept = [value for value in rows if not np.isnan(value)]
    assert metrics.dark_knowledge_correlation(teacher, student) == pytest.approx(np.mean(kept), abs=1e-6)


def test_correlation_depends_only_on_the_order():
    teacher = np.random.default_rng(5).normal(size=(10, 8))
    assert metrics.dark_knowledge_correlation(teacher, np.tanh(teacher) * 0.1) == pytest.approx(1.0)
    assert metrics.dark_knowledge_correlation(teacher, -teacher) == pytest.approx(-1.0)
