"""Helpers of the tests of losses with labels or across the batch: closed forms in NumPy, and their slopes."""

import itertools

import numpy as np
from keras import ops
from loss_table import pair

from tests.gradients import as_arrays, compiled, value_and_gradient


def log_softmax(logits):
    """Return the logarithms of softmax over the last axis."""
    shifted = logits - logits.max(-1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(-1, keepdims=True))


def kl(v, z):
    """Return `KL(softmax(v), softmax(z))` of each row."""
    return np.sum(np.exp(log_softmax(v)) * (log_softmax(v) - log_softmax(z)), -1)


def cross_entropy(v, z):
    """Return `-sum softmax(v) log softmax(z)` of each row."""
    return -np.sum(np.exp(log_softmax(v)) * log_softmax(z), -1)


def of_labels(logits, labels):
    """Return the cross-entropy of hard labels of each row."""
    return -np.take_along_axis(log_softmax(logits), labels[:, None], -1)[:, 0]


def others(logits, labels):
    """Return the logits of all classes except the labelled one."""
    rows, classes = logits.shape
    return logits[np.arange(classes) != labels[:, None]].reshape(rows, classes - 1)


def batch(rows, classes, seed=0, spread=3.0):
    """Return teacher, student and labels of rows of random logits in float64."""
    labels = np.random.default_rng(seed).integers(0, classes, rows)
    return *pair(rows, classes, seed=seed, dtype="float64", spread=spread), labels


def run(function, student):
    """Return a function's mean and its gradient as NumPy arrays."""
    return as_arrays(_value_and_gradient(function, student))


def _value_and_gradient(function, student):
    return value_and_gradient(lambda student: ops.mean(function(student)), student)


def slopes(oracle, student, step=1e-4):
    """Return the derivatives of a closed form with respect to each logit, by central differences of the second kind."""
    gradient = np.zeros_like(student)
    for index in np.ndindex(*student.shape):
        away = np.zeros_like(student)
        away[index] = step
        one, two = (oracle(student + k * away) - oracle(student - k * away) for k in (1, 2))
        gradient[index] = (8 * one - two) / (12 * step)
    return gradient


def check(function, oracle, student):
    """Compare a loss with its closed form, in float64 and in float32, with the slopes too."""
    wanted, slope = oracle(student), slopes(oracle, student)
    for dtype, rtol, atol in (("float64", 1e-9, 1e-12), ("float32", 1e-4, 1e-6)):
        value, gradient = run(function, student.astype(dtype))
        assert value.dtype == gradient.dtype == dtype
        np.testing.assert_allclose(value, wanted, rtol=rtol, atol=atol)
        np.testing.assert_allclose(gradient, slope, rtol=1e-4, atol=1e-5 * max(1.0, np.abs(slope).max()))


def at_extremes(function, rows, classes, temperatures=(0.5, 4.0, 1000.0)):
    """Assert that a loss and its gradient are finite in extreme cases, and equal in float32 and float64.

    Args:
        function: From teacher logits, student logits and temperature to the loss.
        rows: How many rows of logits.
        classes: How many logits a row has.
        temperatures: Numbers to try. Defaults to 0.5, 4 and 1000.

    Yields:
        Teacher, student, temperature, value and gradient of each edge, in float64.
    """
    compute = compiled(lambda v, z, t: _value_and_gradient(lambda student: function(v, student, t), z), xla=False)
    for sides, temperature in itertools.product(extremes(rows, classes), temperatures):
        (value, gradient), wanted = (
            as_arrays(compute(*(ops.convert_to_tensor(each, dtype) for each in (*sides, temperature))))
            for dtype in ("float32", "float64")
        )
        assert np.isfinite(value) and np.isfinite(gradient).all()
        np.testing.assert_allclose(value, wanted[0], rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(gradient, wanted[1], rtol=1e-3, atol=1e-5 * max(1.0, np.abs(wanted[1]).max()))
        yield *sides, temperature, *wanted


def extremes(rows, classes):
    """Yield extreme teacher and student logits: far apart, confident, flat, or the same in all rows."""
    v, z = pair(rows, classes, dtype="float64")
    first, last = np.zeros((rows, classes)), np.zeros((rows, classes))
    first[:, 0] = last[:, -1] = 1000.0
    flat = np.zeros((rows, classes))
    yield from [
        (first, last),
        (last, first),
        (first, first),
        (first, z),
        (v, first),
        (flat, flat),
        (flat, z),
        (v, flat),
    ]
    yield from [(np.repeat(v[:1], rows, 0), z), (v, np.repeat(z[:1], rows, 0)), (v, v), (1e4 + v, z - 1e4)]


SHAPES = [(6, 5), (3, 2), (1, 9)]
TEMPERATURES = [0.5, 1.0, 20.0]
