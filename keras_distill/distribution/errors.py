"""Errors of distributed training that say what to do, in place of those that TensorFlow raises deep inside."""

import contextlib
import re
from collections.abc import Iterator
from typing import Any

from keras_distill._core.messages import expected
from keras_distill.distribution.strategies import is_multiworker

_TASK = re.compile(r"/job:(\w+)/(?:replica:\d+/)?task:(\d+)")
_RESTART = (
    "Restart all of them. With keras.callbacks.BackupAndRestore they resume after the last epoch that was saved, "
    "otherwise they start over."
)


def check_scope(model: Any, strategy: Any) -> None:
    """Raise a `ValueError` unless all trained variables were created in the scope of one strategy.

    Args:
        model: A compiled `keras.Model`.
        strategy: The `tf.distribute.Strategy` of its training.
    """
    groups = {"the model": model.variables, "its optimizer": model.optimizer.variables}
    for name, variables in groups.items():
        if not all(strategy.extended.variable_created_in_scope(variable.value) for variable in variables):
            received = f"{name}, created in another scope"
            fix = "Build teacher, student and distiller, and compile, within `with strategy.scope():`."
            raise ValueError(expected(f"everything in the scope of {type(strategy).__name__}", received, fix))


def check_jit(jit_compile: Any, strategy: Any) -> Any:
    """Return whether to compile with XLA; with several replicas never, because XLA cannot access their variables.

    Args:
        jit_compile: Argument of `compile`.
        strategy: The `tf.distribute.Strategy` of the training.

    Raises:
        ValueError: If `jit_compile=True` is combined with several replicas.
    """
    if strategy.num_replicas_in_sync == 1:
        return jit_compile
    if jit_compile is True:
        received = f"jit_compile=True with {strategy.num_replicas_in_sync} replicas"
        raise ValueError(expected("jit_compile=False under a strategy with several replicas", received))
    return False


@contextlib.contextmanager
def name_lost_workers(strategy: Any) -> Iterator[None]:
    """Raise a `ConnectionError` that names the lost workers if a step fails because of them.

    Args:
        strategy: The `tf.distribute.Strategy` of the step.
    """
    import tensorflow as tf

    try:
        yield
    except tf.errors.OpError as error:
        if not is_multiworker(strategy) or not _is_collective_error(error):
            raise
        addresses = strategy.cluster_resolver.cluster_spec().as_dict()
        lost = {(role, int(index)) for role, index in _TASK.findall(str(error)) if int(index) < len(addresses[role])}
        lost -= {(strategy.cluster_resolver.task_type, strategy.cluster_resolver.task_id)}
        names = ", ".join(f"{role} {index} at {addresses[role][index]}" for role, index in sorted(lost))
        count = sum(map(len, addresses.values()))
        received = f"no answer from {names or 'one of them'}"
        raise ConnectionError(expected(f"all {count} workers to keep running", received, _RESTART)) from error


def _is_collective_error(error: Any) -> bool:
    """Return whether a collective operation failed, rather than the step itself."""
    import tensorflow as tf

    return isinstance(error, tf.errors.UnavailableError) or "Collective ops is aborted" in str(error)
