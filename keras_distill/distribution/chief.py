"""Who writes where several workers train: the chief everything, the others nothing; all go on from what the chief has.

A checkpoint is read by the chief alone too, and its weights then sent to the others: the folder need be none that all
machines share.
"""

import keras
import numpy as np

from keras_distill.distribution.strategies import is_chief, is_multiworker

WRITERS = (
    keras.callbacks.BackupAndRestore,
    keras.callbacks.CSVLogger,
    keras.callbacks.ModelCheckpoint,
    keras.callbacks.TensorBoard,
)
"""The callbacks that a worker other than the chief leaves out."""


def callbacks_of_worker(callbacks, strategy):
    """Return the callbacks of this worker: those that write are the chief's alone.

    Args:
        callbacks: List of callbacks.
        strategy: The strategy of the training.

    Returns:
        A list; on several workers with one more, that begins on all of them as on the chief.
    """
    if not is_multiworker(strategy):
        return callbacks
    own = callbacks if is_chief(strategy) else [each for each in callbacks if not isinstance(each, WRITERS)]
    return [*own, BeginAsChief()]


class BeginAsChief(keras.callbacks.Callback):
    """Begin a training on every worker with the chief's weights and epoch, which it may have read from a backup.

    The last of the callbacks: what the others do when training begins is over then.
    """

    def on_train_begin(self, logs=None):
        strategy, model = self.model.distribute_strategy, self.model
        # The states of metrics are each replica's own, and begin anew with the epoch.
        variables = [*model.variables, *model.optimizer.variables]
        variables = [each for each in variables if each.synchronization != "on_read"]
        values = [keras.ops.convert_to_numpy(variable) for variable in variables]
        *received, epoch = from_chief([*values, np.array(model._initial_epoch or 0)], strategy)
        for variable, value in zip(variables, received, strict=True):
            variable.assign(value)
        model._initial_epoch = int(epoch)


def from_chief(arrays, strategy):
    """Return the chief's arrays on every worker.

    Args:
        arrays: List of NumPy arrays; on the other workers their shapes and dtypes alone count.
        strategy: The strategy.
    """
    import tensorflow as tf

    @tf.function(autograph=False)
    def added(numbers):
        def share(numbers):
            context = tf.distribute.get_replica_context()
            first = tf.equal(context.replica_id_in_sync_group, 0)
            return context.all_reduce("SUM", tf.where(first, numbers, tf.zeros_like(numbers)))

        return strategy.run(share, args=(numbers,))

    # As whole numbers, whatever they are: what is added to zeros then arrives bit for bit, in one message.
    content = b"".join(array.tobytes() for array in arrays)
    numbers = np.frombuffer(content + bytes(-len(content) % 4), "int32")
    received = strategy.experimental_local_results(added(tf.constant(numbers)))[0].numpy().tobytes()
    ends = np.cumsum([array.nbytes for array in arrays])
    return [
        np.frombuffer(received[end - array.nbytes : end], array.dtype).reshape(array.shape)
        for array, end in zip(arrays, ends, strict=True)
    ]
