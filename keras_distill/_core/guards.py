"""Checks inside the compiled training step, whose failures read like any other error of the package.

On TensorFlow a check is an assertion in the graph, which costs next to nothing. TensorFlow reports a failure with its
own stack trace; `explained` turns it back into the intended exception and message. A step that JAX compiles cannot
stop: it returns its checks as `collected`, and `raise_failed` raises after the step.
"""

import contextlib
import functools
import re
import threading
from typing import Any

import keras
from keras import ops

from keras_distill._core.messages import expected
from keras_distill._core.tensors import is_eager, whole_numbers

_ERRORS = {"ValueError": ValueError, "FloatingPointError": FloatingPointError, "RuntimeError": RuntimeError}
# TensorFlow prints the values in brackets in a graph, else on separate lines; it adds notes after a tab or a colour.
_MARK = re.compile(r"<keras_distill (\w+)>(.*?)</keras_distill>[\]'\"]([^\t\x1b]*)", re.DOTALL)


def check(condition: Any, message: str, values: Any = (), error: Any = ValueError, then: Any = None) -> Any:
    """Stop the step with `message` unless `condition` holds.

    Args:
        condition: Bool scalar tensor.
        message: What was expected, without the `Received` part; without values, the whole message.
        values: Tensors to show after `Received:`. Defaults to none.
        error: Exception to raise, `ValueError` or `FloatingPointError`. Defaults to `ValueError`.
        then: Tensor that is available only after the check has passed. Defaults to `None`.

    Returns:
        `then`, after the check.
    """
    if keras.backend.backend() != "tensorflow" or _is_collected(condition, error):
        _collect((error.__name__, message), condition, list(values))
        return then
    import tensorflow as tf

    marked = f"<keras_distill {error.__name__}>{message}</keras_distill>"
    # In a graph, TensorFlow's own function adds a branch, which costs ten times as much as the assertion.
    asserts = tf.debugging.Assert if tf.executing_eagerly() else _assertion
    assertion = asserts(condition, [marked, *values])
    if then is None or assertion is None:
        return then
    with tf.control_dependencies([assertion]):
        return tf.identity(then)


def _assertion(condition, data):
    import tensorflow as tf

    data = [tf.convert_to_tensor(each) for each in data]
    return tf.raw_ops.Assert(condition=tf.convert_to_tensor(condition), data=data, summarize=3)


class _Collections(threading.local):
    """The collections that are open in this thread, the innermost last, and what TensorFlow collects in each."""

    def __init__(self):
        self.open = []
        self.taken = []


_COLLECTIONS = _Collections()


@contextlib.contextmanager
def collected(errors: Any = (Exception,)) -> Any:
    """Collect the checks of a step while it is traced, in a dict for the step to return.

    Args:
        errors: On TensorFlow, the types of the errors whose checks are collected; others stop the step where they
            fail. Defaults to all.
    """
    checks: dict[Any, Any] = {}
    _COLLECTIONS.open.append(checks)
    _COLLECTIONS.taken.append((tuple(errors), _graph()))
    try:
        yield checks
    finally:
        _COLLECTIONS.open.pop()
        _COLLECTIONS.taken.pop()


def _graph():
    """Return the graph of TensorFlow that is being traced, `None` outside one."""
    if keras.backend.backend() != "tensorflow":
        return None
    import tensorflow as tf

    return None if tf.executing_eagerly() else tf.compat.v1.get_default_graph()


def _is_collected(condition, error):
    if not _COLLECTIONS.open:
        return False
    errors, graph = _COLLECTIONS.taken[-1]
    # The condition within a loop or a branch has no value outside it.
    return issubclass(error, errors) and (graph is None or getattr(condition, "graph", graph) is graph)


def assert_passed(checks: Any) -> None:
    """Stop the step of TensorFlow that is being traced at the first check of a collection that failed."""
    for (_, kind, message), (condition, values) in checks.items():
        check(condition, message, values, _ERRORS[kind])


def all_passed(checks: Any) -> Any:
    """Return a bool scalar tensor: whether every check of a collection has passed."""
    return functools.reduce(ops.logical_and, [condition for condition, _ in checks.values()], True)


def hand_on(checks: Any) -> None:
    """Move the checks of a collection to the one around it; without one, raise for those that failed, if they ran."""
    for (_, *key), (condition, values) in checks.items():
        _collect(tuple(key), condition, values)


def raise_failed(checks: Any) -> None:
    """Raise for the first failed check of a collection. Waits for the step."""
    for (_, kind, message), (condition, values) in checks.items():
        if not bool(condition):
            received = " to ".join(str(ops.convert_to_numpy(value)) for value in values)
            raise _ERRORS[kind](expected(message, received) if received else message)


def _collect(key, condition, values):
    if not _COLLECTIONS.open:
        if is_eager(condition):
            raise_failed({(0, *key): (condition, values)})
        return
    checks = _COLLECTIONS.open[-1]
    # Numbered, since JAX sorts what a step returns, and the first failure is the one to report.
    key = next((each for each in checks if each[1:] == key), (len(checks), *key))
    if key in checks:
        before, shown = checks[key]
        values = [ops.where(before, value, old) for value, old in zip(values, shown, strict=True)]
        condition = ops.logical_and(before, condition)
    checks[key] = (condition, values)


def check_finite(name: Any, value: Any) -> None:
    """Stop training if a term of the loss is NaN or infinite, and name the term."""
    message = f"a finite {name} in every training step"
    check(ops.all(ops.isfinite(value)), message, [value], FloatingPointError)


def check_labels(labels: Any, classes: int, ignored: Any = None) -> Any:
    """Return sparse labels after a check that each is a class, or `ignored`, which marks a sample without a label."""
    integers = whole_numbers(labels)
    valid = ops.logical_and(integers >= 0, integers < classes)
    if ignored is not None:
        valid = ops.logical_or(valid, integers == ignored)
    # The loss has an assertion of TensorFlow's; this one must come first.
    message, seen = f"labels from 0 to {classes - 1}", [ops.min(integers), ops.max(integers)]
    return check(ops.all(valid), message, seen, then=labels)


def marked(function: Any) -> Any:
    """Mark the errors of a function so that `explained` finds them in those of TensorFlow and Keras.

    For functions that run in `tf.numpy_function`, and for the `call` of a layer.
    """

    @functools.wraps(function)
    def run(*arguments: Any) -> Any:
        try:
            return function(*arguments)
        except tuple(_ERRORS.values()) as error:
            kind = next(name for name, kind in _ERRORS.items() if isinstance(error, kind))
            # The tab ends the list of values, which is empty: what TensorFlow appends are notes.
            raise _ERRORS[kind](f"<keras_distill {kind}>{error}</keras_distill>]\t") from error

    return run


@contextlib.contextmanager
def explained() -> Any:
    """Re-raise a failed check as the error that was meant."""
    try:
        yield
    except Exception as error:
        found = _MARK.search(str(getattr(error, "message", None) or error))
        if found is None:
            raise
        kind, message, values = found.groups()
        received = " to ".join(value for value in re.split(r"[\[\]\n]+", values) if value.strip())
        raise _ERRORS[kind](expected(message, received) if received else message) from None


def check_finite_logs(logs: Any, names: Any) -> None:
    """Raise for a NaN or infinite term in the logs of an epoch, for steps whose checks XLA has dropped."""
    for name in names:
        value = float(logs.get(name, 0.0))
        if value - value != 0.0:
            raise FloatingPointError(expected(f"a finite {name} in every training step", value))
