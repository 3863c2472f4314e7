"""Every loss on logits, given a top-k answer, is the loss of the bucketed distributions or raises an error."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from numpy.testing import assert_allclose
from scipy.special import log_softmax, logsumexp

import keras_distill as kd
from keras_distill.distiller.objective import Objective
from keras_distill.targets import TopK

LOGITS = [name for name, method in kd.losses.METHODS.items() if method.family == "logits"]
REFUSED = {
    "dkd": "labelled class",
    "nkd": "labelled class",
    "wsld": "labelled class",
    "dist": "correlates over the classes",
    "mlkd": "class by class",
    "ctkd": "learns a temperature",
    "logit_std_kd": "the mean and the standard deviation",
    "logit_std_dkd": "the mean and the standard deviation",
}
TAKEN = [name for name in LOGITS if name not in REFUSED]
K, CLASSES, TEMPERATURE = 3, 7, 2.0


def rows(seed, shape=(4, CLASSES)):
    return 3.0 * np.random.default_rng(seed).normal(size=shape)


def top_k(logits, k=K, temperatures=(1.0, TEMPERATURE)):
    """The k largest of float64 logits, and the rest at each temperature."""
    order = np.argsort(-logits, -1)
    values = np.take_along_axis(logits, order, -1)
    with np.errstate(divide="ignore"):
        rest = [logsumexp(values[..., k:] / t, axis=-1) if k < logits.shape[-1] else -np.inf for t in temperatures]
    rest = np.stack([np.broadcast_to(each, logits.shape[:-1]) for each in rest], -1)
    return TopK(order[..., :k].astype("uint16"), values[..., :k], rest, temperatures, classes=logits.shape[-1])


def bucketed(logits, order, temperature):
    """Logits whose softmax at the temperature is that of all classes, with those beyond the k greatest as one."""
    sorted_ = tf.gather(tf.nn.log_softmax(logits / temperature), order, batch_dims=len(order.shape) - 1)
    rest = tf.reduce_logsumexp(sorted_[..., K:], axis=-1, keepdims=True)
    return temperature * tf.concat([sorted_[..., :K], rest], axis=-1)


def make(name):
    tempered = "temperature" in kd.losses.get(name).get_config()
    return kd.losses.get(name, **({"temperature": TEMPERATURE} if tempered else {}))


def value_and_slope(function, student):
    student = tf.constant(student)
    with tf.GradientTape() as tape:
        tape.watch(student)
        value = function(student)
    return value.numpy(), tape.gradient(value, student).numpy()


def test_the_table_lists_the_losses_that_need_all_classes():
    assert {name for name in LOGITS if not kd.losses.get(name).takes_top_k} == REFUSED.keys()


@pytest.mark.parametrize("name", TAKEN)
def test_it_is_the_loss_of_the_bucketed_distributions(name):
    teacher, student, loss = rows(0), rows(1), make(name)
    order = np.argsort(-teacher, -1)
    student_at = 1.0 if name in ("ttm", "wttm") else TEMPERATURE

    def wanted(student):
        sides = bucketed(teacher, order, TEMPERATURE), bucketed(student, order, student_at)
        if name != "wttm":
            return loss.compute_loss(*sides)
        weight = np.exp(log_softmax(teacher, -1) / TEMPERATURE).sum(-1)
        return tf.reduce_mean(weight * kd.losses.functional.ttm(*sides, TEMPERATURE))

    found = value_and_slope(lambda student: loss.compute_loss(top_k(teacher), student), student)
    for one, other in zip(found, value_and_slope(wanted, student), strict=True):
        assert_allclose(one, other, rtol=1e-9, atol=1e-12)
    assert np.abs(found[1]).max() > 1e-3


@pytest.mark.parametrize("name", TAKEN)
def test_all_classes_are_the_dense_loss(name):
    teacher, student, loss = rows(0), rows(1), make(name)
    found = value_and_slope(lambda student: loss.compute_loss(top_k(teacher, CLASSES), student), student)
    wanted = value_and_slope(lambda student: loss.compute_loss(teacher, student), student)
    for one, other in zip(found, wanted, strict=True):
        assert_allclose(one, other, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("name", REFUSED)
def test_other_losses_name_the_reason(name):
    given = {"labels": np.zeros(4, "int32"), "temperature": 2.0}
    with pytest.raises(ValueError, match=f"{REFUSED[name]}.*kd.targets.write"):
        kd.losses.get(name).compute_loss(top_k(rows(0)), tf.constant(rows(1)), **given)


@pytest.mark.parametrize(
    "loss",
    [
        kd.losses.LogitMatching(),
        kd.losses.LogitsDistillation(loss="mse"),
        kd.losses.FeatureDistillation("mse"),
        kd.losses.RKD(teacher_layer_name=None, student_layer_name=None),
        keras.distillation.LogitsDistillation(),
    ],
    ids=lambda loss: type(loss).__name__,
)
def test_an_objective_refuses_losses_that_need_all_classes(loss):
    objective = Objective([loss], [1.0], 0.5, lambda *_: None)
    outputs = {"final_output": top_k(rows(0))}, {"final_output": tf.constant(rows(1))}
    with pytest.raises(ValueError, match="Received: the k largest classes only"):
        objective.soft_terms(*outputs, None)


def test_masks_and_weights_count_token_by_token():
    teacher, student = rows(0, (2, 3, CLASSES)), rows(1, (2, 3, CLASSES))
    student[0, 2] = np.nan
    mask, weight = np.array([[True, True, False], [True] * 3]), np.array([[1.0], [0.5]])
    loss = make("kd")

    def masked(student):
        outputs = tf.identity(student)
        outputs._keras_mask = mask
        return loss.compute_loss(top_k(teacher), outputs, sample_weight=weight)

    value, slope = value_and_slope(masked, student)
    values = np.array(
        [[loss.compute_loss(top_k(teacher[i, j][None]), student[i, j][None]) for j in range(3)] for i in (0, 1)]
    )
    assert_allclose(value, np.sum(np.where(mask, values * weight, 0.0)) / mask.sum(), rtol=1e-9)
    assert not slope[0, 2].any() and np.isfinite(slope).all()


def test_a_softmax_head_is_replaced_by_its_logits():
    teacher, student = top_k(rows(0)), tf.constant(rows(1))
    head = keras.activations.softmax(student)
    assert_allclose(make("kd").compute_loss(teacher, head), make("kd").compute_loss(teacher, student))
