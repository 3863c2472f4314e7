"""The logs of a `Distiller`: which there are, in which order, and the check that none of them is NaN."""

from typing import Any

import keras
from keras import ops

from keras_distill._core import guards
from keras_distill._core.backend import replicas
from keras_distill._core.batches import batch_size
from keras_distill._core.messages import expected
from keras_distill._core.models import ModelMixin, Untracked, accepts
from keras_distill.distiller.directions import Directions, compiled_directions, known_directions
from keras_distill.distiller.naming import arrange
from keras_distill.distiller.outputs import drop
from keras_distill.losses.logits.top_k import is_top_k
from keras_distill.metrics.agreement import Agreement
from keras_distill.metrics.base import FidelityMetric
from keras_distill.metrics.heads import heads_by_output


class Logs(ModelMixin):
    """Keep the logs of the `Distiller`: losses, temperature, the user's metrics, agreement."""

    def __init__(self, **kwargs: Any):
        super().__init__(**kwargs)
        self.agreement = Agreement()
        self._fidelity_metrics = Untracked([])
        self._directions = Untracked(Directions(self.log_directions))

    @property
    def fidelity_metrics(self) -> Any:
        """The metrics in `compile(metrics=...)` that compare the student with its teacher."""
        return list(self._fidelity_metrics.content)

    @property
    def output_names(self) -> list[str]:
        """Names of the student's outputs, by which Keras finds losses and names logs; absent if they have none."""
        return self.student.output_names

    @property
    def metrics(self) -> Any:
        metrics = super().metrics
        own = [*self.objective.trackers.values(), *self.fidelity_metrics]
        others = [metric for metric in metrics if not any(metric is mine for mine in (*own, self.agreement))]
        return [*others, *own, self._directions.content] if self.compiled else [*own, *others]

    def log_directions(self) -> dict[str, str]:
        """Return `"up"` or `"down"` for each log of which it is known whether more or less of it is better."""
        losses = ("loss", "total_loss", *self.objective.trackers, *self._output_losses())
        measured = known_directions((metric.name, metric) for metric in self.fidelity_metrics)
        return {**dict.fromkeys(losses, "down"), **compiled_directions(self._compile_metrics), **measured}

    def compute_metrics(self, x: Any, y: Any, y_pred: Any, sample_weight: Any = None) -> Any:
        """Update the user's metrics if there are labels; return all logs."""
        if y is None:
            return self.get_metrics_result()
        y, sample_weight = (arrange(values, y_pred, self.student) for values in (y, sample_weight))
        return super().compute_metrics(x, y, y_pred, sample_weight)

    def get_metrics_result(self) -> Any:
        """Return the logs of a training step, in order."""
        logs: dict[str, Any] = {}
        for metric in self.metrics:
            if getattr(metric, "built", True):  # The user's metrics are built by the first labels they see.
                result = metric.result()
                # The logs of the distillation come last: an output named "student" has a `student_loss` of its own.
                logs.update(result if isinstance(result, dict) else {metric.name: result})
        logs["total_loss"] = logs["loss"]  # The name that `keras.distillation` gives it.
        # Copies, since the next step on JAX reuses the memory of the variables.
        temperatures = {name: ops.copy(value) for name, value in self._temperatures_by_log().items()}
        hidden = {"student_loss"} if self._compile_loss is None else set()
        if len(self.objective.names) == 1:
            hidden.update(self.objective.names)
        return self.in_order({name: value for name, value in {**logs, **temperatures}.items() if name not in hidden})

    def measured(self, logs: Any, labels: Any, teacher: Any) -> Any:
        """Drop from the logs of an evaluation what needs labels, or the teacher, if there were none."""
        soft = {*self.objective.trackers, *self._temperatures_by_log(), *self._fidelity_names()} - {"student_loss"}
        missing = (set() if labels else {"student_loss", *self._output_losses()}) | (set() if teacher else soft)
        return {name: value for name, value in logs.items() if name not in missing}

    def in_order(self, logs: Any) -> Any:
        """Sort logs: losses, temperature, the user's metrics, fidelity; then the validation logs likewise."""
        losses = ("loss", "student_loss", "distillation_loss", "total_loss", *self.objective.names)
        losses += tuple(self._output_losses())
        ranks = {name: rank for rank, name in enumerate((*losses, *self._temperatures_by_log()))}

        def rank(item: Any) -> Any:
            name = item[0].removeprefix("val_")
            return name != item[0], name in self._fidelity_names(), ranks.get(name, len(ranks))

        return dict(sorted(logs.items(), key=rank))

    def _flatten_metrics_in_order(self, logs):
        """Return the list of `evaluate`: what Keras returns for the student alone, then the logs of a distillation."""
        ours = {"student_loss", "distillation_loss", "total_loss", *self.objective.names, *self._fidelity_names()}
        ours |= self._temperatures_by_log().keys()
        plain = super()._flatten_metrics_in_order({name: value for name, value in logs.items() if name not in ours})
        plain = plain if isinstance(plain, list) else [plain]
        return [*plain, *self.in_order({name: value for name, value in logs.items() if name in ours}).values()]

    def details(self) -> Any:
        """Return the names of the logs that break down another log."""
        return [*self.objective.names, *list(self._temperatures_by_log())[1:]]

    def _output_losses(self):
        return [metric.name for metric in self._compile_loss.metrics] if self._compile_loss is not None else []

    def _fidelity_names(self):
        return [metric.name for metric in self.fidelity_metrics]

    def _temperatures_by_log(self):
        temperatures = {**self.objective.current_temperatures(), **self.objective.learned_temperatures()}
        if not temperatures:
            return {}
        several = (
            {f"{name}_temperature": value for name, value in temperatures.items()} if len(temperatures) > 1 else {}
        )
        return {"temperature": next(iter(temperatures.values())), **several}

    def _record_loss(self, loss, x):
        self._loss_tracker.update_state(loss * replicas(), sample_weight=batch_size(x))

    def _record_fidelity(self, teacher_outputs, student_outputs, sample_weight):
        weight = None if keras.tree.is_nested(sample_weight) else sample_weight
        temperature = next(iter(self._temperatures_by_log().values()), None)
        teacher_outputs, student_outputs = (drop(each, self._differing) for each in (teacher_outputs, student_outputs))
        heads = heads_by_output(self.loss, student_outputs)
        for metric in self.fidelity_metrics:
            pairs = _by_output(teacher_outputs, student_outputs)
            for (teacher, student), head in zip(pairs, heads, strict=True):
                told = {"head": head} if accepts(metric.update_state, "head") else {}
                metric.update_state(teacher, student, weight, temperature=temperature, **told)


def _by_output(teacher_outputs, student_outputs):
    """Return the pairs of teacher and student outputs; a stored answer is a single output."""
    if is_top_k(teacher_outputs):
        return [(teacher_outputs, student_outputs)]
    return zip(keras.tree.flatten(teacher_outputs), keras.tree.flatten(student_outputs), strict=True)


def split_fidelity(metrics: Any) -> Any:
    """Split the metrics given to `compile` into those that compare student and teacher, and the others."""
    if isinstance(metrics, FidelityMetric):
        return [metrics], None
    if not isinstance(metrics, (list, tuple)):
        nested = [metric for metric in keras.tree.flatten(metrics) if isinstance(metric, FidelityMetric)]
        if nested:
            received = f"{nested[0].name!r} in a {type(metrics).__name__}"
            raise ValueError(expected("fidelity metrics in a flat list", received))
        return [], metrics
    fidelity = [metric for metric in metrics if isinstance(metric, FidelityMetric)]
    return fidelity, [metric for metric in metrics if not isinstance(metric, FidelityMetric)]


class Bookkeeping(keras.callbacks.Callback):
    """Count epochs, sort logs, and stop at a term that is not finite.

    It runs before all other callbacks, so that what they save at the end of an epoch counts that epoch, and the logs
    they show are in order (Keras sorts logs by name). The steps check their terms themselves.
    """

    async_safe = True

    def on_epoch_begin(self, epoch: Any, logs: Any = None) -> None:
        self._saw_a_batch = False
        self.model.objective.begin_epoch(int(self.model.epochs_trained.numpy()))

    def on_train_batch_end(self, batch: Any, logs: Any = None) -> None:
        self._saw_a_batch = True
        self._tidy(logs, check=False)

    def on_test_batch_end(self, batch: Any, logs: Any = None) -> None:
        self._tidy(logs, check=False)

    def on_test_end(self, logs: Any = None) -> None:
        self._tidy(logs)

    def on_epoch_end(self, epoch: Any, logs: Any = None) -> None:
        if not self._saw_a_batch:
            raise ValueError(expected("data with at least one sample", f"none in epoch {epoch}"))
        self.model.epochs_trained.assign_add(1)
        self._tidy(logs)

    def _tidy(self, logs, check=True):
        model = self._model  # On JAX, reading Keras's property would sync the state of a running step.
        ordered = model.in_order(logs)
        if check:
            guards.check_finite_logs(ordered, ("student_loss", *model.objective.names, "distillation_loss", "loss"))
        logs.clear()
        logs.update(ordered)
