"""Trust in a teacher: which soft targets count, and what becomes of those that contradict the label."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import ops
from numpy.testing import assert_allclose, assert_array_equal
from scipy.special import softmax

from keras_distill.teachers import Ensemble, Trust, corrected, trust_weights

P = np.array([[0.7, 0.2, 0.1], [0.4, 0.35, 0.25], [0.1, 0.3, 0.6], [0.5, 0.3, 0.2]])
LOGITS = np.log(P) + 3.0
LABELS = np.array([0, 1, 0, -1])
ALL, FIRST_AND_THIRD = [1.0, 1.0, 1.0, 1.0], [1.0, 0.0, 1.0, 0.0]


@pytest.mark.parametrize(
    ("settings", "labels", "expected"),
    [
        ({}, LABELS, ALL),
        ({"contradicting": "replace"}, LABELS, ALL),
        ({"contradicting": "ignore"}, LABELS, [1.0, 0.0, 0.0, 1.0]),
        ({"contradicting": "ignore"}, None, ALL),
        ({"contradicting": "ignore"}, np.full(4, -1), ALL),
        ({"min_confidence": 0.55}, None, FIRST_AND_THIRD),
        ({"min_confidence": 0.55}, LABELS, FIRST_AND_THIRD),
        ({"min_confidence": 0.8, "low_confidence": "weigh"}, None, [0.875, 0.5, 0.75, 0.625]),
        ({"min_confidence": 0.55, "contradicting": "ignore"}, LABELS, [1.0, 0.0, 0.0, 0.0]),
        ({"min_confidence": 0.8, "low_confidence": "weigh", "contradicting": "ignore"}, LABELS, [0.875, 0, 0, 0.625]),
        ({"min_confidence": 1.0}, None, [0.0, 0.0, 0.0, 0.0]),
    ],
)
def test_weights(settings, labels, expected):
    assert_allclose(trust_weights(LOGITS, labels, **settings), expected, rtol=1e-12)
    assert_allclose(Trust(**settings).weights(LOGITS, labels), expected, rtol=1e-12)
    assert trust_weights(LOGITS.astype("float32"), labels, **settings).dtype == "float32"


def test_one_hot_labels():
    one_hot = np.eye(3)[[0, 1, 0, 2]]
    assert_array_equal(trust_weights(LOGITS, one_hot, contradicting="ignore"), [1.0, 0.0, 0.0, 0.0])
    assert_allclose(corrected(LOGITS, one_hot), corrected(LOGITS, np.array([0, 1, 0, 2])))


def test_corrected_exchanges_two_probabilities_and_no_others():
    expected = P.copy()
    expected[1], expected[2] = [0.35, 0.4, 0.25], [0.6, 0.3, 0.1]
    for temperature in (1.0, 4.0):
        p = expected ** (1 / temperature)
        q = softmax(corrected(LOGITS, LABELS) / temperature, axis=-1)
        assert_allclose(q, p / p.sum(axis=-1, keepdims=True), rtol=1e-12)
    assert_array_equal(np.array(corrected(LOGITS, LABELS))[[0, 3]], LOGITS[[0, 3]])


def test_correct_follows_the_setting():
    assert Trust().correct(LOGITS, LABELS) is LOGITS
    assert Trust(contradicting="ignore").correct(LOGITS, LABELS) is LOGITS
    assert Trust(contradicting="replace").correct(LOGITS) is LOGITS
    assert_array_equal(Trust(contradicting="replace").correct(LOGITS, LABELS), corrected(LOGITS, LABELS))
    assert [Trust(contradicting=each).needs_labels for each in ("keep", "replace", "ignore")] == [False, True, True]


@pytest.mark.parametrize("positions", [(3,), (2, 3)], ids=["sequences", "maps"])
def test_every_position_is_a_sample(positions):
    generator = np.random.default_rng(0)
    z, labels = generator.normal(size=(4, *positions, 5)), generator.integers(-1, 5, size=(4, *positions))
    weights = trust_weights(z, labels, 0.4, "ignore")
    p = softmax(z, axis=-1)
    wrong = (labels >= 0) & (z.argmax(axis=-1) != labels)
    assert_array_equal(weights, ((p.max(axis=-1) >= 0.4) & ~wrong).astype("float64"))
    fixed = np.array(corrected(z, labels))
    assert_array_equal(fixed.argmax(axis=-1)[labels >= 0], labels[labels >= 0])
    assert_array_equal(np.sort(fixed, axis=-1), np.sort(z, axis=-1))
    assert_array_equal(fixed[~wrong], z[~wrong])


def test_a_correction_holds_at_every_temperature(picks):
    z = 3.0 * np.random.default_rng(0).normal(size=(40, 3, 5))
    labels = np.random.default_rng(1).integers(-1, 5, size=40)
    outputs = Ensemble(picks(dtype="float64")).answer(z)
    fixed = corrected(outputs, labels)
    best = np.where(labels >= 0, np.array(outputs.logits).argmax(axis=-1), labels)
    for temperature in (1.0, 4.0):
        before, after = (np.array(each.at(temperature)) for each in (outputs, fixed))
        for row, (label, top) in enumerate(zip(labels, best, strict=True)):
            expected = before[row].copy()
            if label >= 0:
                expected[[label, top]] = expected[[top, label]]
            assert_array_equal(after[row], expected)


@pytest.mark.parametrize("jit_compile", [False, True])
def test_compiled(jit_compile):
    trust = Trust(0.55, "replace")
    call = tf.function(lambda z, y: (trust.weights(z, y), trust.correct(z, y)), jit_compile=jit_compile)
    weights, logits = call(tf.constant(LOGITS), tf.constant(LABELS))
    assert_array_equal(weights, FIRST_AND_THIRD)
    assert_allclose(logits, corrected(LOGITS, LABELS))


def test_a_softmax_head_is_looked_under():
    z = ops.convert_to_tensor(LOGITS)
    probabilities = keras.activations.softmax(z)
    assert_array_equal(corrected(probabilities, LABELS), corrected(z, LABELS))
    assert_array_equal(trust_weights(probabilities, min_confidence=0.55), FIRST_AND_THIRD)


def test_extreme_logits_in_float32():
    z = np.array([[1000.0, -1000.0, 0.0], [0.0, 0.0, -np.inf]], "float32")
    assert_array_equal(trust_weights(z, min_confidence=0.9), [1.0, 0.0])
    assert_array_equal(corrected(z[:1], np.array([1])), [[-1000.0, 1000.0, 0.0]])


def test_settings_are_serialised():
    trust = Trust(0.3, "replace", "weigh")
    loaded = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(trust))
    assert isinstance(loaded, Trust) and loaded.get_config() == trust.get_config()
    assert repr(loaded) == "Trust(min_confidence=0.3, contradicting='replace', low_confidence='weigh')"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"min_confidence": 1.5}, "min_confidence to be a number from 0 to 1"),
        ({"min_confidence": -0.1}, "min_confidence to be a number from 0 to 1"),
        ({"min_confidence": np.nan}, "min_confidence to be a number from 0 to 1"),
        ({"contradicting": "ignored"}, "contradicting to be one of ignore, keep, replace.*Did you mean 'ignore'"),
        ({"low_confidence": "drop"}, "low_confidence to be one of ignore, weigh"),
    ],
)
def test_bad_settings(arguments, message):
    with pytest.raises(ValueError, match=message):
        Trust(**arguments)


def test_labels_of_another_shape():
    with pytest.raises(ValueError, match="one label, sparse or one-hot"):
        corrected(LOGITS, np.zeros((4, 2, 2)))
