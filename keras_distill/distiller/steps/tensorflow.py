"""Training on TensorFlow: the step under a gradient tape; the optimizer is built before the first trace."""

import contextlib
import warnings
from typing import Any

import tensorflow as tf

from keras_distill._core import guards
from keras_distill._core.batches import batch_size
from keras_distill._core.models import Untracked
from keras_distill.distiller.steps.finite import changed_by_forward_pass, check_gradients, check_statistics
from keras_distill.distiller.steps.record import StepRecord
from keras_distill.distribution.training import DistributedTraining, weigh_by_share
from keras_distill.features.taps import FINAL_OUTPUT


class Steps(DistributedTraining):
    """Train the `Distiller` on TensorFlow.

    A batch that makes the loss, a gradient or a moving statistic NaN changes nothing. An assertion stops the step;
    where XLA compiles it, and drops assertions, the variables keep their values from that step on, and the record of
    the steps tells it to the host.
    """

    def __init__(self, **kwargs: Any):
        super().__init__(**kwargs)
        self._record = Untracked(None)

    @property
    def step_record(self) -> StepRecord:
        """The `StepRecord` of this training."""
        if self._record.content is None:
            with tf.init_scope():
                self._record.content = StepRecord()
        return self._record.content

    def train_step(self, data: Any) -> Any:
        moving = [] if self._is_distributed else changed_by_forward_pass(self)
        before = _values(moving)
        with self._collecting() as checks:
            batch = self._ask_teacher(data)  # Outside the tape: none of it is differentiated.
            with tf.GradientTape() as tape:
                loss = self.optimizer.scale_loss(weigh_by_share(self._loss_to_minimise(batch), batch_size(batch.x)))
            variables = self.trainable_variables
            gradients = tape.gradient(loss, variables)
            check_gradients(self.optimizer, gradients, batch.x)
            check_statistics(moving)
        if self._by_xla:
            self._apply_and_record(gradients, variables, checks, moving, before)
        else:
            with tf.control_dependencies(_stop_unless_passed(checks, moving, before)):
                self._apply(gradients, variables)
        return self.compute_metrics(batch.x, batch.y, batch.student_outputs[FINAL_OUTPUT], batch.sample_weight)

    def _apply(self, gradients, variables):
        if variables:
            self.optimizer.apply_gradients(zip(gradients, variables, strict=True))
        else:
            warnings.warn("The student has no trainable weights: nothing is trained.", stacklevel=2)
        if not self._is_distributed:
            self.step_record.steps.assign_add(1)

    @property
    def _by_xla(self):
        return bool(self.jit_compile) and not self.run_eagerly and not self._is_distributed

    def _collecting(self):
        return guards.collected() if self._by_xla else guards.collected([FloatingPointError])

    def _apply_and_record(self, gradients, variables, checks, moving, before):
        """Update, and take it back if a check has failed, in this step or before: XLA makes one loop of both."""
        if variables and not self.optimizer.built:
            with tf.init_scope():
                self.optimizer.build(variables)
        steps = self.step_record.steps
        changing = [*moving, *(each for each in (*variables, *self.optimizer.variables, steps))]
        before = [*before, *_values(changing[len(moving) :])]
        passed = self.step_record.note(checks)
        self._apply(gradients, variables)
        for variable, value in zip(changing, before, strict=True):
            variable.assign(tf.where(passed, tf.convert_to_tensor(variable), value))

    @contextlib.contextmanager
    def _checked(self):
        """Check a step of an evaluation."""
        if not self._by_xla:
            yield
            return
        with guards.collected() as checks:
            yield
        self.step_record.note(checks)

    def raise_failed_step(self) -> None:
        """Raise the error of a failed step that XLA has compiled. Waits for the device."""
        if self._record.content is not None and self._by_xla:
            self._record.content.raise_failed()

    def begin_epoch(self) -> None:
        """Count the steps from zero."""
        if not self._is_distributed:
            self.step_record.steps.assign(0)

    def completed_steps(self) -> Any:
        """Return the number of steps of this epoch that have passed, `None` where they are not counted."""
        return None if self._is_distributed else int(self.step_record.steps.numpy())

    def _prepare_steps(self):
        """Create the record now: variables that the first trace makes would cost a second trace of the step."""
        if not self._is_distributed:
            self.step_record  # noqa: B018

    def _build_optimizer(self):
        """Build the optimizer now: variables that the first trace makes would cost a second trace of the step."""
        if self.compiled and self.student.built and not self.optimizer.built:
            with self.distribute_strategy.scope():
                self.optimizer.build(self.trainable_variables)


def _values(variables):
    return [tf.convert_to_tensor(variable) for variable in variables]


def _stop_unless_passed(checks, moving, before):
    """Return the operation that stops the step at a failed check, after the forward pass is taken back."""
    if not checks:
        return []

    def stop() -> Any:
        for variable, value in zip(moving, before, strict=True):
            variable.assign(value)
        guards.assert_passed(checks)
        return tf.constant(False)

    return [tf.cond(guards.all_passed(checks), lambda: tf.constant(True), stop)]
