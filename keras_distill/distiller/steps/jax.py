"""Training on JAX: the step is a function of the state and of the teacher's weights."""

import contextlib
import warnings
from typing import Any

import jax
import keras
from keras import ops

from keras_distill._core import guards
from keras_distill._core.batches import unpack
from keras_distill._core.messages import expected
from keras_distill._core.models import ModelMixin
from keras_distill._core.tensors import mask_of, set_mask
from keras_distill.distiller.steps.finite import changed_by_forward_pass, check_gradients, check_statistics
from keras_distill.features.taps import FINAL_OUTPUT

# By the names that Keras has for them, in its order; a step of an evaluation has no optimizer.
_STATE = ("trainable_variables", "non_trainable_variables", "optimizer_variables", "metrics_variables")
_TEST_STATE = ("trainable_variables", "non_trainable_variables", "metrics_variables")


class _Running:
    """The state of the running steps.

    Attributes:
        teacher: Values of the teacher's variables in the step that is being traced, `None` outside a step.
        before: Whether all steps before the one that is being traced have passed, `True` outside a step.
        checks: Whether the last step passed its checks, the checks, and `steps`; `None` once they were looked at.
        passed: Whether the last step and all before it have passed, on the device; `None` before the first.
        steps: Number of steps of this epoch that have begun.
        looked_at: Number of steps of this epoch that are known to have passed.
    """

    teacher = None
    before: Any = True
    checks: Any = None
    passed: Any = None
    steps = 0
    looked_at = 0


class Steps(ModelMixin):
    """Train the `Distiller` on JAX.

    The teacher's weights are not part of the state, which Keras saves and donates to the step, but an argument beside
    it. As constants of the compiled step, they would never change.
    """

    def __init__(self, **kwargs: Any):
        super().__init__(**kwargs)
        self._running = _Running()

    # The step as a function -----------------------------------------------------------------------------------------

    def train_step(self, state: Any, data: Any) -> Any:
        with self._stateless(state), guards.collected() as of_teacher:
            batch = self._ask_teacher(data)

        def loss_of(trainable: Any) -> Any:
            with self._stateless([trainable, *state[1:]]) as scope, guards.collected() as checks:
                loss = self.optimizer.scale_loss(self._loss_to_minimise(batch))
            y_pred = batch.student_outputs[FINAL_OUTPUT]
            masks = [mask_of(output) for output in keras.tree.flatten(y_pred)]
            return loss, (y_pred, masks, self._values(scope), checks)

        gradients, (y_pred, masks, found, checks) = jax.grad(loss_of, has_aux=True)(state[0])
        for output, mask in zip(keras.tree.flatten(y_pred), masks, strict=True):
            set_mask(output, mask)  # `jax.grad` has returned other tensors.
        with self._stateless([state[0], found[1], *state[2:]]), guards.collected() as of_results:
            check_gradients(self.optimizer, gradients, batch.x)
            check_statistics([ops.convert_to_tensor(each) for each in changed_by_forward_pass(self)])
        passed = self._running.before
        for each in (of_teacher, checks, of_results):
            guards.hand_on(each)
            passed = ops.logical_and(passed, guards.all_passed(each))
        if not state[0]:
            warnings.warn("The student has no trainable weights: nothing is trained.", stacklevel=2)
        trainable, optimizer = self.optimizer.stateless_apply(state[2], gradients, state[0])
        with self._stateless([trainable, found[1], optimizer, found[3]]) as scope:
            logs = self.compute_metrics(batch.x, batch.y, y_pred, batch.sample_weight)
        # A batch that fails a check changes nothing, nor do those that run before the host has seen it.
        return logs, jax.tree.map(lambda new, old: ops.where(passed, new, old), self._values(scope), tuple(state))

    def _stateless_test_step(self, state, data):
        trainable, non_trainable, metrics = state
        with self._stateless([trainable, non_trainable, None, metrics]) as scope:
            logs = self.test_step(data)
        values = dict(zip(_STATE, self._values(scope), strict=True))
        return logs, tuple(values[name] for name in _TEST_STATE)

    def _stateless(self, state):
        """Return a scope in which the variables have the values of a state, and the teacher the weights of the step."""
        pairs = [*zip(self._teacher_variables(), self._running.teacher or (), strict=False)]
        for variables, values in zip(self._state_variables(), state, strict=True):
            pairs += zip(variables, values or (), strict=False)
        return keras.StatelessScope(pairs, collect_losses=True)

    def _values(self, scope):
        return tuple([scope.get_current_value(each) for each in variables] for variables in self._state_variables())

    def _state_variables(self):
        return self.trainable_variables, self.non_trainable_variables, self.optimizer.variables, self.metrics_variables

    def _teacher_variables(self):
        own = {id(variable) for variable in self.variables}  # Teacher and student may share layers.
        return [variable for variable in self.teacher.variables if id(variable) not in own]

    train_function: Any
    test_function: Any

    # Called by Keras's loops ------------------------------------------------------------------------------------------

    def make_train_function(self, force: bool = False) -> None:
        if self.train_function is None or force:
            self.train_function = self._make_function(self._executed(self.train_step, _STATE))

    def make_test_function(self, force: bool = False) -> None:
        if self.test_function is None or force:
            self.test_function = self._make_function(self._executed(self._stateless_test_step, _TEST_STATE))

    def _executed(self, step, names):
        """Return a step as Keras runs it: compiled, with the teacher's current weights, stopped by a failed check."""
        teacher, trains = self._teacher_variables(), names == _STATE

        def with_teacher(state: Any, values: Any, data: Any, before: Any) -> Any:
            self._running.teacher, self._running.before = values, before
            try:
                with guards.collected() as checks:
                    logs, state = step(state, data)
            finally:
                self._running.teacher, self._running.before = None, True
            passed = guards.all_passed(checks)
            return logs, state, (passed, checks), ops.logical_and(before, passed)

        if self.jit_compile and not self.run_eagerly:
            with_teacher = jax.jit(with_teacher, donate_argnums=0, out_shardings=self._shardings(names, teacher))

        def execute(state: Any, data: Any) -> Any:
            try:
                before = self._all_passed(state, trains)
                values = [variable.value for variable in teacher]
                logs, state, checks, passed = with_teacher(state, values, data, before)
                # Look at the checks of the step before while this one runs, so that the device never waits.
                self._running.steps += trains
                due, self._running.checks = self._running.checks, (checks, self._running.steps)
                self._running.passed = passed if trains else None
                self._look_at(due or self._running.checks)
            except Exception:
                self._reattach(names, state)
                raise
            return logs, state

        return execute

    def _all_passed(self, state, trains):
        """Return whether all steps of the training so far have passed, a scalar on the devices of the training."""
        if trains and self._running.passed is not None:
            return self._running.passed
        passed = jax.numpy.ones((), bool)
        if keras.distribution.distribution() is None:
            return passed
        counter = next(leaf for leaf in jax.tree.leaves(state) if leaf.ndim == 0)
        return jax.device_put(passed, counter.sharding)

    def _look_at(self, due):
        (passed, checks), steps = due
        if not bool(passed):
            guards.raise_failed(checks)
        self._running.looked_at = steps

    def _shardings(self, names, teacher):
        distribution = keras.distribution.distribution()
        if distribution is None:
            return None
        local = [each for each in (*self.variables, *teacher) if len(each.value.sharding.device_set) == 1]
        if local and distribution.device_mesh.devices.size > 1:
            fix = "Call keras.distribution.set_distribution before you make or load the models."
            raise ValueError(expected("teacher and student on all devices", f"{local[0].path!r} on one", fix))
        shardings = dict(zip(_STATE, self._get_state_sharding_spec(), strict=True))
        return None, tuple(shardings[name] for name in names), None, None

    def _reattach(self, names, state):
        """Give the variables their values back: Keras has taken them out and would lose them."""
        self._running.checks = self._running.passed = None
        self._jax_state, self._jax_state_synced = dict(zip(names, state, strict=True)), False
        super().jax_state_sync()

    def jax_state_sync(self) -> None:
        """Assign the current state to the variables. See `keras.Model.jax_state_sync`."""
        super().jax_state_sync()
        due, self._running.checks = self._running.checks, None
        if due is not None:
            self._look_at(due)

    # Called by the `Distiller` ---------------------------------------------------------------------------------------

    def begin_epoch(self) -> None:
        """Count the steps from zero."""
        self._running.steps = self._running.looked_at = 0

    def completed_steps(self) -> Any:
        """Return the number of steps of this epoch that have passed."""
        return self._running.looked_at

    def raise_failed_step(self) -> None:
        """Do nothing: the next step raises, or whoever reads the weights."""

    def _checked(self):
        """Return a context for a step of an evaluation: its checks are collected around it."""
        return contextlib.nullcontext()

    def _symbolic_build(self, iterator=None, data_batch=None):
        # Keras expects batches of three parts.
        if iterator is not None:
            iterator = ((*ends, (unpack(batch)[:3] for batch in batches)) for *ends, batches in iterator)
        try:
            super()._symbolic_build(iterator=iterator, data_batch=data_batch)
        except StopIteration as error:  # There is no first batch.
            raise ValueError(expected("data with at least one sample", "none")) from error

    def _compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        # Keras calls this to build the hard loss; the soft terms need no building.
        return super()._compute_loss(x, y, y_pred, sample_weight, training) if self._has_hard_labels(y) else None

    def _prepare_steps(self):
        """Do nothing: the state of the steps is no variable."""

    def _build_optimizer(self):
        """Do nothing: Keras builds the optimizer before the first step."""
