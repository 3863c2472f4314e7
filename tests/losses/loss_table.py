"""The table of losses for the common tests: how to create each loss, and its value and gradient in NumPy."""

import dataclasses
from collections.abc import Callable

import numpy as np
from keras import ops

import keras_distill as kd
from tests import gradients
from tests.gradients import as_arrays, masked

TEMPERATURE = 4.0


@dataclasses.dataclass(frozen=True)
class Row:
    """A loss, and the oracle of one position: `(v, z) -> (value, gradient with respect to z)`."""

    make: Callable
    oracle: Callable
    zero_at_teacher: bool = True
    shift_invariant: bool = True


def softmax(logits):
    """Softmax over the last axis."""
    powers = np.exp(logits - logits.max(-1, keepdims=True))
    return powers / powers.sum(-1, keepdims=True)


def _kl(v, z):
    p, q = softmax(v / TEMPERATURE), softmax(z / TEMPERATURE)
    return TEMPERATURE**2 * np.sum(p * np.log(p / q), -1), TEMPERATURE * (q - p)


def _cross_entropy(v, z):
    p, q = softmax(v / TEMPERATURE), softmax(z / TEMPERATURE)
    return -(TEMPERATURE**2) * np.sum(p * np.log(q), -1), TEMPERATURE * (q - p)


def _squared(v, z):
    return np.mean((z - v) ** 2, -1), 2 * (z - v) / z.shape[-1]


def _absolute(v, z):
    return np.mean(np.abs(z - v), -1), np.sign(z - v) / z.shape[-1]


def _matching(v, z):
    centred = (z - v) - (z - v).mean(-1, keepdims=True)
    return 0.5 * np.mean(centred**2, -1), centred / z.shape[-1]


LOSSES = {
    "kl": Row(lambda: kd.losses.LogitsDistillation(TEMPERATURE), _kl),
    "cross_entropy": Row(
        lambda: kd.losses.LogitsDistillation(TEMPERATURE, "categorical_crossentropy"),
        _cross_entropy,
        zero_at_teacher=False,
    ),
    # T² times the squared error of logits over T is the squared error of the logits.
    "tempered_mse": Row(lambda: kd.losses.LogitsDistillation(TEMPERATURE, "mse"), _squared, shift_invariant=False),
    "matching": Row(kd.losses.LogitMatching, _matching),
    "feature_mse": Row(kd.losses.FeatureDistillation, _squared, shift_invariant=False),
    "feature_mae": Row(lambda: kd.losses.FeatureDistillation("mae"), _absolute, shift_invariant=False),
}


def value_and_gradient(loss, teacher, student, sample_weight=None, mask=None, jit=gradients.JAX or None):
    """Return the loss and its gradient with respect to the student's output, as NumPy arrays.

    `jit` selects the mode: `True` for XLA, `False` for a graph, `None` for eager operations. The default is eager on
    TensorFlow, and XLA on JAX, which would otherwise compile each operation separately.
    """

    def compute(teacher, student):
        return _differentiated(loss, teacher, student, sample_weight, mask)

    if jit is not None:
        compute = gradients.compiled(compute, xla=jit)
    return as_arrays(compute(*map(ops.convert_to_tensor, (teacher, student))))


def compiled(loss, teacher, student, mask=None, unknown=0):
    """Return the results of `value_and_gradient` from a graph, and from the same graph compiled by XLA.

    The first `unknown` sizes are unknown in the graph. JAX knows all sizes and has only XLA.
    """
    if gradients.JAX:
        return [value_and_gradient(loss, teacher, student, mask=mask, jit=True)]
    import tensorflow as tf

    shape = (*[None] * unknown, *teacher.shape[unknown:])

    @tf.function(input_signature=[tf.TensorSpec(shape)] * 2)
    def graph(teacher, student):
        return _differentiated(loss, teacher, student, mask=mask)

    by_xla = tf.function(lambda *outputs: graph(*outputs), jit_compile=True)
    return [as_arrays(run(tf.constant(teacher), tf.constant(student))) for run in (graph, by_xla)]


def _differentiated(loss, teacher, student, sample_weight=None, mask=None):
    def value(student):
        return loss.compute_loss(teacher, masked(student, mask), sample_weight=sample_weight)

    return gradients.value_and_gradient(value, student)


def pair(*shape, seed=0, dtype="float32", spread=3.0):
    """Return random teacher and student outputs, exact in bfloat16."""
    draws = np.random.default_rng(seed).uniform(-spread, spread, (2, *shape))
    return tuple((np.round(draws * 16) / 16).astype(dtype))
