"""Checks inside the compiled training step whose failure reads like any other error of the package.

A check is one assertion in the graph, next to free. TensorFlow reports its failure with a stack trace of its own;
`explained` turns that back into the exception and the message that were meant.
"""

import contextlib
import re

import keras
from keras import ops

from keras_distill._messages import expected

_ERRORS = {"ValueError": ValueError, "FloatingPointError": FloatingPointError}
_MARK = re.compile(r"<keras_distill (\w+)>(.*?)</keras_distill>(.*)", re.DOTALL)


def check(condition, message, values=(), error=ValueError):
    """Stop the step with `message` unless `condition` holds.

    Args:
        condition: Bool scalar tensor.
        message: What was expected, without the `Received` part.
        values: Tensors to show after `Received:`. Defaults to none.
        error: Exception to raise, `ValueError` or `FloatingPointError`. Defaults to `ValueError`.
    """
    if keras.backend.backend() != "tensorflow":
        return
    import tensorflow as tf

    tf.debugging.Assert(condition, [f"<keras_distill {error.__name__}>{message}</keras_distill>", *values])


def check_finite(name, value):
    """Stop training when a term of the loss is NaN or infinite, and name the term."""
    message = f"a finite {name} in every training step"
    check(ops.all(ops.isfinite(value)), message, [value], FloatingPointError)


def check_labels(labels, classes, ignored=None):
    """Stop when a sparse label is no class; `ignored` is a label that stands for none."""
    labels = ops.cast(labels, "int64")
    valid = ops.logical_and(labels >= 0, labels < classes)
    if ignored is not None:
        valid = ops.logical_or(valid, labels == ignored)
    check(ops.all(valid), f"labels from 0 to {classes - 1}", [ops.min(labels), ops.max(labels)])


@contextlib.contextmanager
def explained():
    """Re-raise a failed check as the error it stands for."""
    try:
        yield
    except Exception as error:
        found = _MARK.search(getattr(error, "message", ""))
        if found is None:
            raise
        kind, message, values = found.groups()
        received = " to ".join(re.findall(r"\[([^\[\]]*)\]", values)) or "otherwise"
        raise _ERRORS[kind](expected(message, received)) from None


def check_finite_logs(logs, names):
    """Raise for a NaN or infinite term in the logs of an epoch, where XLA has dropped the checks of its steps."""
    for name in names:
        value = float(logs.get(name, 0.0))
        if value - value != 0.0:
            raise FloatingPointError(expected(f"a finite {name} in every training step", value))
