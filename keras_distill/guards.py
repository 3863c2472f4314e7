"""Checks inside the compiled training step whose failure reads like any other error of the package.

A check is one assertion in the graph, next to free. TensorFlow reports its failure with a stack trace of its own;
`explained` turns that back into the exception and the message that were meant.
"""

import contextlib
import functools
import re

import keras
from keras import ops

from keras_distill._messages import expected

_ERRORS = {"ValueError": ValueError, "FloatingPointError": FloatingPointError, "RuntimeError": RuntimeError}
# The values stand in brackets in a graph and on lines of their own outside; notes on them begin with a tab or a colour.
_MARK = re.compile(r"<keras_distill (\w+)>(.*?)</keras_distill>[\]'\"]([^\t\x1b]*)", re.DOTALL)


def check(condition, message, values=(), error=ValueError, then=None):
    """Stop the step with `message` unless `condition` holds.

    Args:
        condition: Bool scalar tensor.
        message: What was expected, without the `Received` part; without values, the whole message.
        values: Tensors to show after `Received:`. Defaults to none.
        error: Exception to raise, `ValueError` or `FloatingPointError`. Defaults to `ValueError`.
        then: Tensor that must not be used before the check has passed. Defaults to `None`.

    Returns:
        `then`, behind the check.
    """
    if keras.backend.backend() != "tensorflow":
        return then
    import tensorflow as tf

    marked = f"<keras_distill {error.__name__}>{message}</keras_distill>"
    assertion = tf.debugging.Assert(condition, [marked, *values])
    if then is None or assertion is None:
        return then
    with tf.control_dependencies([assertion]):
        return tf.identity(then)


def check_finite(name, value):
    """Stop training when a term of the loss is NaN or infinite, and name the term."""
    message = f"a finite {name} in every training step"
    check(ops.all(ops.isfinite(value)), message, [value], FloatingPointError)


def check_labels(labels, classes, ignored=None):
    """Return sparse labels once each is known to be a class, or `ignored`, a label that stands for none."""
    integers = ops.cast(labels, "int64")
    valid = ops.logical_and(integers >= 0, integers < classes)
    if ignored is not None:
        valid = ops.logical_or(valid, integers == ignored)
    # TensorFlow has an assertion of its own in the loss; ours must be the first to speak.
    message, seen = f"labels from 0 to {classes - 1}", [ops.min(integers), ops.max(integers)]
    return check(ops.all(valid), message, seen, then=labels)


def marked(function):
    """Return a function whose errors `explained` finds in what TensorFlow and Keras make of them.

    For what runs in `tf.numpy_function`, and for the `call` of a layer.
    """

    @functools.wraps(function)
    def run(*arguments):
        try:
            return function(*arguments)
        except tuple(_ERRORS.values()) as error:
            kind = next(name for name, kind in _ERRORS.items() if isinstance(error, kind))
            # The tab ends the values, of which there are none: what TensorFlow adds are notes.
            raise _ERRORS[kind](f"<keras_distill {kind}>{error}</keras_distill>]\t") from error

    return run


@contextlib.contextmanager
def explained():
    """Re-raise a failed check as the error it stands for."""
    try:
        yield
    except Exception as error:
        found = _MARK.search(str(getattr(error, "message", None) or error))
        if found is None:
            raise
        kind, message, values = found.groups()
        received = " to ".join(value for value in re.split(r"[\[\]\n]+", values) if value.strip())
        raise _ERRORS[kind](expected(message, received) if received else message) from None


def check_finite_logs(logs, names):
    """Raise for a NaN or infinite term in the logs of an epoch, where XLA has dropped the checks of its steps."""
    for name in names:
        value = float(logs.get(name, 0.0))
        if value - value != 0.0:
            raise FloatingPointError(expected(f"a finite {name} in every training step", value))
