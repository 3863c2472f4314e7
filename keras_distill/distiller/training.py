"""How a `Distiller` is compiled and run: its metrics, its callbacks, and errors that read as they were raised."""

from typing import Any

import keras

from keras_distill._core import guards
from keras_distill._core.messages import expected
from keras_distill._core.models import ModelMixin, Untracked, uses_float16
from keras_distill.callbacks.input_watch import InputWatch
from keras_distill.callbacks.scheduler import Scheduler
from keras_distill.distiller import validation
from keras_distill.distiller.backups import BackupGuard
from keras_distill.distiller.class_weights import weigh_classes
from keras_distill.distiller.first_look import look_at_teacher
from keras_distill.distiller.foreign_arguments import check_no_text, refuse_foreign_arguments
from keras_distill.distiller.logs import Bookkeeping, split_fidelity
from keras_distill.distiller.objective import taps
from keras_distill.distiller.outputs import check_have_no_loss
from keras_distill.distiller.progress import StepWatch
from keras_distill.distiller.progress_bar import ProgressBar
from keras_distill.losses.hard_labels import wrap_losses
from keras_distill.losses.label_checks import check_numeric
from keras_distill.metrics.labelled import labelled_only


class Training(ModelMixin):
    """Compile, train and evaluate the `Distiller`."""

    def compile(
        self,
        optimizer: Any = "adam",
        loss: Any = None,
        *,
        fidelity: bool = False,
        auto_scale_loss: bool = True,
        jit_compile: bool | str = "auto",
        **kwargs: Any,
    ) -> None:
        """Configure the training.

        Args:
            optimizer: Optimizer of the student, by name or object. Defaults to `"adam"`.
            loss: Loss on the hard labels, or a nest with one for each output. A cross-entropy given by name is
                computed on the logits of the student if its head is linear, a softmax or a sigmoid; any other head
                returns probabilities, as in Keras. Defaults to `None`: soft targets alone.
                Samples with a sparse label of -1 count in the soft terms, not in this loss or in metrics.
            fidelity: Whether to measure agreement with the teacher, in training and in evaluation. Evaluation then
                runs the teacher and computes the whole loss, as it does for every `FidelityMetric` in `metrics`.
                Defaults to `False`.
            auto_scale_loss: Whether to scale the loss of a student in mixed float16. Defaults to `True`.
            jit_compile: As in `keras.Model.compile`. Defaults to `"auto"`.
            **kwargs: `metrics`, `weighted_metrics`, `loss_weights`, `run_eagerly`, `steps_per_execution`, as in
                `keras.Model.compile`.
        """
        refuse_foreign_arguments(kwargs)
        if loss is not None and any(getattr(each, "fuses_head", False) for each in self.distillation_losses):
            fix = "FusedVocabulary computes the loss of the hard labels too, weighted by `student_loss_weight`."
            raise ValueError(expected("no other loss with one that never holds the logits", f"loss={loss!r}", fix))
        on_outputs = [each for each in self.distillation_losses if taps(each, "student") is None]
        check_have_no_loss(self._differing, on_outputs, loss, self.student)
        self.asked_jit_compile = jit_compile
        optimizer = keras.optimizers.get(optimizer)
        scaled = isinstance(optimizer, keras.optimizers.LossScaleOptimizer)
        if auto_scale_loss and not scaled and uses_float16(self.student):
            optimizer = keras.optimizers.LossScaleOptimizer(optimizer)
        if not all(layer.supports_jit for layer in self.teacher._flatten_layers()):
            if jit_compile is True:
                raise ValueError(expected("jit_compile=False for a teacher that XLA cannot run", "jit_compile=True"))
            jit_compile = False
        self.fidelity = bool(fidelity)
        measured = [self.agreement] if fidelity else []
        for name in [name for name in ("metrics", "weighted_metrics") if name in kwargs]:
            of_fidelity, others = split_fidelity(kwargs[name])
            measured += of_fidelity
            kwargs[name] = labelled_only(others, loss)
        self._fidelity_metrics = Untracked(measured)
        super().compile(optimizer, loss=wrap_losses(loss), auto_scale_loss=False, jit_compile=jit_compile, **kwargs)
        self._prepare_steps()

    def fit(
        self,
        x: Any = None,
        y: Any = None,
        batch_size: Any = None,
        epochs: int = 1,
        verbose: Any = "auto",
        callbacks: Any = None,
        **kwargs: Any,
    ) -> Any:
        """Train the student. See `keras.Model.fit`; without `y`, on the soft targets alone."""
        validation.check_not_empty(x)
        check_numeric(y)
        check_no_text(x, student=self.student, teacher=self.teacher)
        if hasattr(x, "element_spec"):
            kwargs.setdefault("shuffle", False)  # Keras would warn that it cannot shuffle a `tf.data.Dataset`.
            if kwargs.get("class_weight") and hasattr(x, "map"):
                x = weigh_classes(x, kwargs.pop("class_weight"))
        bookkeeping, watch, steps = Bookkeeping(), InputWatch(), StepWatch()
        x = x if hasattr(x, "element_spec") else watch.watch(x)
        if isinstance(callbacks, keras.callbacks.CallbackList):
            first: list[Any] = [steps, BackupGuard(callbacks.callbacks), bookkeeping]
            callbacks.callbacks[:0] = first
            for callback in first:
                callback.set_model(self)
        else:
            # Bookkeeping comes first, so that what others save at the end of an epoch counts that epoch; then the
            # schedulers, whose temperature and weights are saved with it.
            callbacks = sorted(keras.tree.flatten(callbacks or []), key=lambda each: not isinstance(each, Scheduler))
            callbacks[:0] = [steps, BackupGuard(callbacks), bookkeeping, watch]
            if verbose != 0 and not any(isinstance(each, keras.callbacks.ProgbarLogger) for each in callbacks):
                callbacks.append(ProgressBar())
        self._build_optimizer()
        if y is not None:
            look_at_teacher(self, x, y, batch_size)
        with steps.located(), guards.explained():
            return super().fit(x, y, batch_size, epochs, verbose, callbacks, **kwargs)

    def evaluate(self, x: Any = None, *args: Any, **kwargs: Any) -> Any:
        """Evaluate the student. See `keras.Model.evaluate`."""
        validation.check_not_empty(x)
        check_numeric(args[0] if args else kwargs.get("y"))
        check_no_text(x, student=self.student, teacher=self.teacher)
        with guards.explained():
            logs = super().evaluate(x, *args, **kwargs)
        self.raise_failed_step()
        return self.in_order(logs) if isinstance(logs, dict) else logs

    def train_on_batch(self, *args: Any, **kwargs: Any) -> Any:
        """Train the student on one batch. See `keras.Model.train_on_batch`."""
        with guards.explained():
            logs = super().train_on_batch(*args, **kwargs)
        self.raise_failed_step()
        return logs
