"""Training on TensorFlow: the step under a gradient tape; the optimizer is built before the first trace."""

from typing import Any

import tensorflow as tf

from keras_distill._core.batches import batch_size
from keras_distill.distribution.training import DistributedTraining, weigh_by_share
from keras_distill.features.taps import FINAL_OUTPUT


class Steps(DistributedTraining):
    """Train the `Distiller` on TensorFlow."""

    def train_step(self, data: Any) -> Any:
        batch = self._ask_teacher(data)  # Outside the tape: none of it is differentiated.
        with tf.GradientTape() as tape:
            loss = self.optimizer.scale_loss(weigh_by_share(self._loss_to_minimise(batch), batch_size(batch.x)))
        variables = self.trainable_variables
        self.optimizer.apply_gradients(zip(tape.gradient(loss, variables), variables, strict=True))
        return self.compute_metrics(batch.x, batch.y, batch.student_outputs[FINAL_OUTPUT], batch.sample_weight)

    def _build_optimizer(self):
        """Build the optimizer now: variables that the first trace makes would cost a second trace of the step."""
        if self.compiled and self.student.built and not self.optimizer.built:
            with self.distribute_strategy.scope():
                self.optimizer.build(self.trainable_variables)
