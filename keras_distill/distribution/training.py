"""What a `keras.Model` needs to be trained under any strategy of `tf.distribute`."""

import keras
import tensorflow as tf

from keras_distill._core.batches import batch_size, unpack
from keras_distill._core.models import run
from keras_distill.distribution import checks, failures
from keras_distill.distribution.chief import callbacks_of_worker
from keras_distill.distribution.data import restored, without_none
from keras_distill.distribution.functions import execution


class DistributedTraining:
    """The part of a model that trains and evaluates it on several replicas; on one replica, all is Keras's own.

    Stands before `keras.Model` among the bases of a class.
    """

    @property
    def _is_distributed(self):
        return self.distribute_strategy.num_replicas_in_sync > 1

    def compile(self, *args, jit_compile="auto", **kwargs):
        """Configure the training. See `keras.Model.compile`; under a strategy, within its scope."""
        super().compile(*args, jit_compile=checks.check_jit(jit_compile, self.distribute_strategy), **kwargs)

    def fit(self, x=None, y=None, batch_size=None, epochs=1, verbose="auto", callbacks=None, **kwargs):
        """Train. See `keras.Model.fit`; of several workers only the chief writes what callbacks write."""
        if not self._is_distributed:
            return super().fit(x, y, batch_size, epochs, verbose, callbacks, **kwargs)
        strategy = self.distribute_strategy
        checks.check_scope(self, strategy)
        if "validation_data" in kwargs:
            kwargs["validation_data"] = without_none(kwargs["validation_data"])
        if isinstance(callbacks, keras.callbacks.CallbackList):
            callbacks.callbacks[:] = callbacks_of_worker(callbacks.callbacks, strategy)
            callbacks.set_model(self)
        else:
            callbacks = callbacks_of_worker(keras.tree.flatten(callbacks or []), strategy)
        with failures.explained(strategy):
            return super().fit(without_none(x), y, batch_size, epochs, verbose, callbacks, **kwargs)

    def evaluate(self, x=None, *args, **kwargs):
        """Evaluate. See `keras.Model.evaluate`."""
        if not self._is_distributed:
            return super().evaluate(x, *args, **kwargs)
        with failures.explained(self.distribute_strategy):
            return super().evaluate(without_none(x), *args, **kwargs)

    def make_train_function(self, force=False):
        """Make the function of one execution of a training."""
        if not self._is_distributed:
            return super().make_train_function(force)
        if self.train_function is None or force:
            self.train_function = execution(self, self.train_step, self.steps_per_execution)
        return self.train_function

    def make_test_function(self, force=False):
        """Make the function of one execution of an evaluation."""
        if not self._is_distributed:
            return super().make_test_function(force)
        if self.test_function is None or force:
            self.test_function = execution(self, self.test_step, self.steps_per_execution)
        return self.test_function

    def _maybe_symbolic_build(self, iterator=None, data_batch=None):
        if not self._is_distributed:
            return super()._maybe_symbolic_build(iterator, data_batch)
        if iterator is not None:
            # Keras reads a batch, and takes its mean over all replicas, which several workers cannot
            # (keras-team/keras#20585); shapes and dtypes are all that is needed.
            data_batch = keras.tree.map_structure(_of_one_replica, iterator.data_adapter.get_tf_dataset().element_spec)
        return super()._maybe_symbolic_build(data_batch=unpack(restored(data_batch))[:3])


def by_share(loss, samples):
    """Weigh the loss of a replica by its share of the batch: Keras takes each to have as many samples as the others.

    Args:
        loss: Float scalar of this replica, divided by the number of replicas.
        samples: Its number of samples.

    Returns:
        Float scalar; those of all replicas add up to the loss of the whole batch.
    """
    replicas = tf.distribute.get_strategy().num_replicas_in_sync
    if replicas == 1:
        return loss
    samples = tf.cast(samples, loss.dtype)
    return loss * replicas * samples / tf.distribute.get_replica_context().all_reduce("SUM", samples)


def _of_one_replica(spec):
    spec = tf.nest.flatten(spec, expand_composites=True)[0]
    return spec if hasattr(spec, "shape") else None


class DistributedModel(DistributedTraining, keras.Model):
    """Train a model that is an ordinary one of Keras's under a strategy, on hard labels.

    Args:
        model: A built `keras.Model`, made in the strategy's scope as this one is.

    Example:

    >>> import numpy as np
    >>> model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(1)])
    >>> whole = DistributedModel(model)
    >>> whole.compile("sgd", "mse")
    >>> history = whole.fit(np.ones((8, 4)), np.ones((8, 1)), verbose=0)
    >>> bool(np.all(whole(np.ones((1, 4))) == model(np.ones((1, 4)))))
    True
    """

    def __init__(self, model):
        super().__init__()
        self.model = model
        self.built = model.built

    def call(self, inputs, training=None):
        return run(self.model, inputs, training)

    def train_step(self, data):
        x, y, sample_weight = keras.utils.unpack_x_y_sample_weight(data)
        replicas, samples = self.distribute_strategy.num_replicas_in_sync, batch_size(x)
        with tf.GradientTape() as tape:
            y_pred = self(x, training=True)
            loss = self.compute_loss(x, y, y_pred, sample_weight, training=True)
            self._loss_tracker.update_state(loss * replicas, sample_weight=samples)
            loss = self.optimizer.scale_loss(by_share(loss, samples))
        variables = self.trainable_variables
        self.optimizer.apply_gradients(zip(tape.gradient(loss, variables), variables, strict=True))
        return self.compute_metrics(x, y, y_pred, sample_weight)

    def fit(self, *args, **kwargs):
        """Train. See `DistributedTraining.fit`."""
        if not self.optimizer.built:
            with self.distribute_strategy.scope():
                self.optimizer.build(self.trainable_variables)
        return super().fit(*args, **kwargs)
