"""The divergences in arbitrary precision, as references for the tests of the losses."""

import functools

import mpmath
import numpy as np

_DIGITS = 80


def tempered(row, temperature):
    """Return `row / T` as a list of mpmath numbers."""
    return [mpmath.mpf(float(value)) / temperature for value in row]


def log_softmax(row):
    """Return the logarithms of softmax(row)."""
    total = mpmath.log(mpmath.fsum(mpmath.exp(value) for value in row))
    return [value - total for value in row]


def kl_divergence(teacher_row, student_row, temperature):
    """Return `KL(p, q)` of one row and its gradient `(q - p) / T` with respect to the student's logits."""
    divergence, _, gradient = _of_row(tuple(teacher_row), tuple(student_row), float(temperature))
    return divergence, gradient


def soft_cross_entropy(teacher_row, student_row, temperature):
    """Return `-sum p log q` of one row and its gradient `(q - p) / T` with respect to the student's logits."""
    _, cross_entropy, gradient = _of_row(tuple(teacher_row), tuple(student_row), float(temperature))
    return cross_entropy, gradient


def relative_error(got, wanted, negligible=1e-30):
    """Return the error relative to `wanted`, or the absolute error if `wanted` is negligible."""
    got, wanted = np.asarray(got, "float64"), np.asarray(wanted, "float64")
    size = np.max(np.abs(wanted))
    error = np.max(np.abs(got - wanted))
    return error if size < negligible else error / size


@functools.cache
def _of_row(teacher_row, student_row, temperature):
    with mpmath.workdps(_DIGITS):
        v, z = tempered(teacher_row, temperature), tempered(student_row, temperature)
        log_p, log_q = log_softmax(v), log_softmax(z)
        p, q = [mpmath.exp(each) for each in log_p], [mpmath.exp(each) for each in log_q]
        divergence = mpmath.fdot(p, [a - b for a, b in zip(log_p, log_q, strict=True)])
        gradient = [float((b - a) / temperature) for a, b in zip(p, q, strict=True)]
        return float(divergence), float(-mpmath.fdot(p, log_q)), np.array(gradient)
