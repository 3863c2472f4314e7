"""What TensorFlow says when another worker is gone, in a line that tells what to do."""

import contextlib
import re

from keras_distill._core.messages import expected
from keras_distill.distribution.strategies import is_multiworker

_TASK = re.compile(r"/job:(\w+)/(?:replica:\d+/)?task:(\d+)")
_FIX = (
    "Start all of them again. With keras.callbacks.BackupAndRestore they go on after the last epoch that was saved; "
    "without, from the beginning."
)


@contextlib.contextmanager
def explained(strategy):
    """Raise a `ConnectionError` that names the worker where a step fails because another one is gone.

    Args:
        strategy: The `tf.distribute.Strategy` of the step.
    """
    import tensorflow as tf

    try:
        yield
    except tf.errors.OpError as error:
        if not is_multiworker(strategy) or not _is_of_a_peer(error):
            raise
        addresses = strategy.cluster_resolver.cluster_spec().as_dict()
        gone = {(role, int(index)) for role, index in _TASK.findall(str(error)) if int(index) < len(addresses[role])}
        gone -= {(strategy.cluster_resolver.task_type, strategy.cluster_resolver.task_id)}
        named = ", ".join(f"{role} {index} at {addresses[role][index]}" for role, index in sorted(gone))
        count = sum(map(len, addresses.values()))
        raise ConnectionError(expected(f"all {count} workers to go on", f"{named or 'one'} gone", _FIX)) from error


def _is_of_a_peer(error):
    """Tell whether an error of TensorFlow is that of a collective operation, rather than of the step itself."""
    import tensorflow as tf

    return isinstance(error, tf.errors.UnavailableError) or "Collective ops is aborted" in str(error)
