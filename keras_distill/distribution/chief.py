"""Roles of the workers: only the chief writes files, and all workers start from its state.

Only the chief reads checkpoints, too, and sends their weights to the others, so the folder does not have to be shared.
"""

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np

from keras_distill.distribution.strategies import is_chief, is_multiworker

WRITERS = (
    keras.callbacks.BackupAndRestore,
    keras.callbacks.CSVLogger,
    keras.callbacks.ModelCheckpoint,
    keras.callbacks.TensorBoard,
)
"""Callbacks that run only on the chief."""


def worker_callbacks(callbacks: list[Any], strategy: Any) -> list[Any]:
    """Return the callbacks of this worker, without those that write files unless it is the chief.

    Args:
        callbacks: List of callbacks.
        strategy: The `tf.distribute.Strategy` of the training.

    Returns:
        A list. With several workers, it ends with a callback that gives all workers the state of the chief.
    """
    if not is_multiworker(strategy):
        return callbacks
    own = callbacks if is_chief(strategy) else [each for each in callbacks if not isinstance(each, WRITERS)]
    return [*own, StartFromChief()]


class StartFromChief(keras.callbacks.Callback):
    """Start a training on every worker with the chief's weights and epoch, which may come from a backup.

    It has to be the last callback, so that the others have finished `on_train_begin`.
    """

    def on_train_begin(self, logs: Any = None) -> None:
        model: Any = self.model
        # The state of metrics is local to each replica and is reset with each epoch.
        variables = [*model.variables, *model.optimizer.variables]
        variables = [each for each in variables if each.synchronization != "on_read"]
        values = [keras.ops.convert_to_numpy(variable) for variable in variables]
        epoch = np.array(model._initial_epoch or 0)
        *received, epoch = broadcast_from_chief([*values, epoch], model.distribute_strategy)
        for variable, value in zip(variables, received, strict=True):
            variable.assign(value)
        model._initial_epoch = int(epoch)


def broadcast_from_chief(arrays: Sequence[np.ndarray], strategy: Any) -> list[np.ndarray]:
    """Return the chief's arrays on every worker.

    Args:
        arrays: List of NumPy arrays. On the other workers only their shapes and dtypes matter.
        strategy: The `tf.distribute.Strategy`.
    """
    import tensorflow as tf

    @tf.function(autograph=False)
    def broadcast(numbers: Any) -> Any:
        def send(numbers: Any) -> Any:
            context = tf.distribute.get_replica_context()
            is_first = tf.equal(context.replica_id_in_sync_group, 0)
            return context.all_reduce("SUM", tf.where(is_first, numbers, tf.zeros_like(numbers)))

        return strategy.run(send, args=(numbers,))

    # One message of integers, whatever the dtypes: adding zeros then preserves every bit.
    content = b"".join(array.tobytes() for array in arrays)
    numbers = np.frombuffer(content + bytes(-len(content) % 4), "int32")
    received = strategy.experimental_local_results(broadcast(tf.constant(numbers)))[0].numpy().tobytes()
    ends = np.cumsum([array.nbytes for array in arrays])
    return [
        np.frombuffer(received[end - array.nbytes : end], array.dtype).reshape(array.shape)
        for array, end in zip(arrays, ends, strict=True)
    ]
