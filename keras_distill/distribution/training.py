"""Training of a `keras.Model` under any strategy of `tf.distribute`."""

from typing import Any

import keras
import tensorflow as tf

from keras_distill._core.batches import batch_size, unpack
from keras_distill._core.models import run
from keras_distill.distribution import errors
from keras_distill.distribution.chief import worker_callbacks
from keras_distill.distribution.data import remove_none, restore_none
from keras_distill.distribution.execution import make_execution


class DistributedTraining(keras.Model):
    """A `keras.Model` that trains and evaluates on several replicas; on a single replica it behaves like Keras.

    With another subclass of `keras.Model` among the bases of a class, it has to come first.
    """

    train_function: Any
    test_function: Any

    @property
    def _is_distributed(self) -> bool:
        return self.distribute_strategy.num_replicas_in_sync > 1

    def compile(self, *args: Any, jit_compile: Any = "auto", **kwargs: Any) -> None:
        """Configure the training. See `keras.Model.compile`; call it within the scope of the strategy."""
        super().compile(*args, jit_compile=errors.check_jit(jit_compile, self.distribute_strategy), **kwargs)

    def fit(
        self,
        x: Any = None,
        y: Any = None,
        batch_size: int | None = None,
        epochs: int = 1,
        verbose: Any = "auto",
        callbacks: Any = None,
        **kwargs: Any,
    ) -> Any:
        """Train. See `keras.Model.fit`; with several workers, callbacks write files only on the chief."""
        if not self._is_distributed:
            return super().fit(x, y, batch_size, epochs, verbose, callbacks, **kwargs)
        strategy = self.distribute_strategy
        errors.check_scope(self, strategy)
        if "validation_data" in kwargs:
            kwargs["validation_data"] = remove_none(kwargs["validation_data"])
        if isinstance(callbacks, keras.callbacks.CallbackList):
            callbacks.callbacks[:] = worker_callbacks(callbacks.callbacks, strategy)
            callbacks.set_model(self)
        else:
            callbacks = worker_callbacks(keras.tree.flatten(callbacks or []), strategy)
        with errors.name_lost_workers(strategy):
            return super().fit(remove_none(x), y, batch_size, epochs, verbose, callbacks, **kwargs)

    def evaluate(self, x: Any = None, *args: Any, **kwargs: Any) -> Any:
        """Evaluate. See `keras.Model.evaluate`."""
        if not self._is_distributed:
            return super().evaluate(x, *args, **kwargs)
        with errors.name_lost_workers(self.distribute_strategy):
            return super().evaluate(remove_none(x), *args, **kwargs)

    def make_train_function(self, force: bool = False) -> Any:
        """Create the function of one execution of a training."""
        if not self._is_distributed:
            return super().make_train_function(force)
        if self.train_function is None or force:
            self.train_function = make_execution(self, self.train_step, self.steps_per_execution)
        return self.train_function

    def make_test_function(self, force: bool = False) -> Any:
        """Create the function of one execution of an evaluation."""
        if not self._is_distributed:
            return super().make_test_function(force)
        if self.test_function is None or force:
            self.test_function = make_execution(self, self.test_step, self.steps_per_execution)
        return self.test_function

    def _maybe_symbolic_build(self, iterator=None, data_batch=None):
        if not self._is_distributed:
            return super()._maybe_symbolic_build(iterator, data_batch)
        if iterator is not None:
            # Keras reads a batch and takes its mean over all replicas, which fails with several workers
            # (keras-team/keras#20585). Only shapes and dtypes are needed.
            data_batch = keras.tree.map_structure(_first_replica, iterator.data_adapter.get_tf_dataset().element_spec)
        return super()._maybe_symbolic_build(data_batch=unpack(restore_none(data_batch))[:3])


def weigh_by_share(loss: Any, samples: Any) -> Any:
    """Weigh the loss of a replica by its share of the batch; Keras assumes that all replicas have equal shares.

    Args:
        loss: Float scalar of this replica, divided by the number of replicas.
        samples: Number of samples of this replica.

    Returns:
        Float scalar. The sum over all replicas is the loss of the whole batch.
    """
    replicas = tf.distribute.get_strategy().num_replicas_in_sync
    if replicas == 1:
        return loss
    samples = tf.cast(samples, loss.dtype)
    return loss * replicas * samples / tf.distribute.get_replica_context().all_reduce("SUM", samples)


def _first_replica(spec: Any) -> Any:
    spec = tf.nest.flatten(spec, expand_composites=True)[0]
    return spec if hasattr(spec, "shape") else None


class DistributedModel(DistributedTraining):
    """Train an ordinary Keras model under a strategy, on hard labels.

    Args:
        model: A built `keras.Model`, created in the scope of the strategy, like this one.

    Example:

    >>> import numpy as np
    >>> model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(1)])
    >>> whole = DistributedModel(model)
    >>> whole.compile("sgd", "mse")
    >>> history = whole.fit(np.ones((8, 4)), np.ones((8, 1)), verbose=0)
    >>> bool(np.all(whole(np.ones((1, 4))) == model(np.ones((1, 4)))))
    True
    """

    def __init__(self, model: keras.Model):
        super().__init__()
        self.model = model
        self.built = model.built

    def call(self, inputs: Any, training: bool | None = None) -> Any:
        return run(self.model, inputs, training)

    def train_step(self, data: Any) -> Any:
        x, y, sample_weight = keras.utils.unpack_x_y_sample_weight(data)
        replicas, samples = self.distribute_strategy.num_replicas_in_sync, batch_size(x)
        with tf.GradientTape() as tape:
            y_pred = self(x, training=True)
            loss = self.compute_loss(x, y, y_pred, sample_weight, training=True)
            self._loss_tracker.update_state(loss * replicas, sample_weight=samples)
            loss = self.optimizer.scale_loss(weigh_by_share(loss, samples))
        variables = self.trainable_variables
        self.optimizer.apply_gradients(zip(tape.gradient(loss, variables), variables, strict=True))
        return self.compute_metrics(x, y, y_pred, sample_weight)

    def fit(self, *args: Any, **kwargs: Any) -> Any:
        """Train. See `DistributedTraining.fit`."""
        if not self.optimizer.built:
            with self.distribute_strategy.scope():
                self.optimizer.build(self.trainable_variables)
        return super().fit(*args, **kwargs)
