"""Training on TensorFlow: the step under a gradient tape, the optimizer ready before the first trace."""

import tensorflow as tf

from keras_distill._core.batches import batch_size, unpack
from keras_distill.distribution.training import DistributedTraining, by_share
from keras_distill.features.taps import FINAL_OUTPUT


class Steps(DistributedTraining):
    """The part of the `Distiller` that trains it on TensorFlow."""

    def train_step(self, data):
        x, y, sample_weight, extras = unpack(data)
        teacher_outputs = self._teacher_says(x, extras)  # Outside the tape: nothing of it is differentiated.
        with tf.GradientTape() as tape:
            student_outputs = self.student_outputs(x, training=True)
            y_pred = student_outputs[FINAL_OUTPUT]
            self._check_first_batch(teacher_outputs[FINAL_OUTPUT], y_pred)
            loss = self._loss_of_step(x, y, sample_weight, True, teacher_outputs, student_outputs, extras)
            loss = self.optimizer.scale_loss(by_share(loss, batch_size(x)))
        variables = self.trainable_variables
        self.optimizer.apply_gradients(zip(tape.gradient(loss, variables), variables, strict=True))
        return self.compute_metrics(x, y, y_pred, sample_weight)

    def _build_optimizer(self):
        """Make the optimizer's variables now: those that the first trace makes cost a second trace of the step."""
        if self.compiled and self.student.built and not self.optimizer.built:
            with self.distribute_strategy.scope():
                self.optimizer.build(self.trainable_variables)
