"""Students that teach each other while they learn."""

import contextlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import keras

from keras_distill._core import guards
from keras_distill._core.backend import check_tensorflow
from keras_distill._core.checked import checked
from keras_distill._core.deprecation import renamed_arguments
from keras_distill._core.messages import expected
from keras_distill._core.models import Untracked, run
from keras_distill.distiller import validation
from keras_distill.distiller.backups import BackupGuard, WholeSaves
from keras_distill.distiller.directions import Directions
from keras_distill.distiller.model import Distiller
from keras_distill.stages.chain import check_students, copy_losses
from keras_distill.stages.logs import MutualBookkeeping, join_logs, merge_logs, select_shared_logs, split_logs
from keras_distill.teachers.ensemble import Ensemble


@keras.saving.register_keras_serializable(package="keras_distill")
class MutualLearning(WholeSaves, keras.Model):
    """Train several students at once, each taught by the others.

    Each student has a `Distiller` and an optimizer of its own; its teacher is the other student, or the `Ensemble` of
    the others (the mean of their probabilities). A batch is one step of each distiller in turn, as in the paper's
    algorithm: a student learns from the students before it as this step has updated them. The soft targets of its
    peers are constants, computed in inference mode. For each student, a step runs all others forward.

    The paper averages the KL divergences to each of several peers. This average differs from the KL divergence to the
    mean of the peers' probabilities by a number that does not depend on the student, so both have the same gradients,
    at every temperature. Losses other than KL divergences see the mean.

    Logs are named by position: `student_1_loss`, `student_2_accuracy`; `loss` is the sum of the students' losses. The
    models remain the user's: save them like any other model. Callbacks that need the single optimizer of a model do
    not work here (`keras.callbacks.LearningRateScheduler`, or a `TemperatureScheduler` by steps); give the optimizers
    schedules of `keras.optimizers.schedules` instead.

    Args:
        students: List of at least two `keras.Model`s of any architectures, with the same inputs and outputs.
        distillation_losses: As in `Distiller`, or a function from a student's index to that. Loss objects are copied
            for each student. Defaults to `"kd"`.
        distillation_loss_weights: One number >= 0 for each loss, or a function from a student's index to that. Defaults
            to `None`, 1.0 each.
        student_loss_weight: Weight of the hard labels, from 0.0 to 1.0. Defaults to 0.5. The paper adds both terms
            at T = 1: that is 0.5, at twice the learning rate.
        name: Name of the model. Defaults to `"mutual_learning"`.
        **kwargs: Passed to `keras.Model`.

    Raises:
        ValueError: If an argument is invalid, or students and losses do not fit together.

    Example:

    >>> import numpy as np
    >>> import keras_distill as kd
    >>> from keras_distill import stages
    >>> def model(width):
    ...     return keras.Sequential([keras.Input((4,)), keras.layers.Dense(width), keras.layers.Dense(3)])
    >>> mutual = stages.MutualLearning([model(8), model(4)])
    >>> mutual.compile("adam", "sparse_categorical_crossentropy", run_eagerly=True)
    >>> history = mutual.fit(np.ones((8, 4)), np.arange(8) % 3, verbose=0)
    >>> [name for name in history.history if name.endswith("_student_loss")]
    ['student_1_student_loss', 'student_2_student_loss']

    Reference:
        Zhang, Xiang, Hospedales, Lu, "Deep Mutual Learning", 2017, arXiv:1706.00384.
    """

    @renamed_arguments(losses="distillation_losses")
    @checked(students=Any, distillation_loss_weights=Any, student_loss_weight=Any)
    def __init__(
        self,
        students: Sequence[keras.Model],
        distillation_losses: Any = "kd",
        distillation_loss_weights: Sequence[float] | Callable[[int], Sequence[float]] | None = None,
        student_loss_weight: float = 0.5,
        name: str = "mutual_learning",
        **kwargs: Any,
    ) -> None:
        check_tensorflow("MutualLearning")
        students = check_students(students, least=2)
        super().__init__(name=name, **{"dtype": "float32", "autocast": False, **kwargs})
        with _keep_trainable(students):
            self.distillers = [
                Distiller(
                    _join_peers(students, student),
                    student,
                    copy_losses(distillation_losses, index),
                    distillation_loss_weights(index)
                    if callable(distillation_loss_weights)
                    else distillation_loss_weights,
                    student_loss_weight,
                    name=f"student_{index + 1}",
                )
                for index, student in enumerate(students)
            ]
        self._directions = Untracked(Directions(self.log_directions))
        self.built = all(student.built for student in students)

    def log_directions(self) -> dict[str, str]:
        """Return `"up"` or `"down"` for each log of which it is known whether more or less of it is better."""
        return merge_logs({"loss": "down"}, [distiller.log_directions() for distiller in self.distillers])

    @property
    def students(self) -> list[keras.Model]:
        """The students, a list."""
        return [distiller.student for distiller in self.distillers]

    def call(self, inputs: Any, training: bool | None = None) -> list[Any]:
        """Return the outputs of each student, a list."""
        return [run(student, inputs, training) for student in self.students]

    # What callbacks use of a Distiller -------------------------------------------------------------------------------

    @property
    def temperature(self) -> float | None:
        """Temperature of the first student's losses, or `None`. Assign to set the temperature of all students."""
        return self.distillers[0].temperature

    @temperature.setter
    def temperature(self, value: float) -> None:
        for distiller in self.distillers:
            distiller.temperature = value

    @property
    def epochs_trained(self) -> keras.Variable:
        """Number of epochs that the students have been trained for, a variable."""
        return self.distillers[0].epochs_trained

    # Training --------------------------------------------------------------------------------------------------------

    def compile(
        self,
        optimizers: Any = "adam",
        loss: Any = None,
        *,
        metrics: Any = None,
        weighted_metrics: Any = None,
        run_eagerly: bool = False,
        steps_per_execution: int = 1,
        jit_compile: bool | str = "auto",
        **kwargs: Any,
    ) -> None:
        """Configure the training.

        Args:
            optimizers: A list of optimizers, one for each student; or one optimizer by name or object, of which each
                student gets a copy. Defaults to `"adam"`.
            loss: Loss of every student on the hard labels, as in `Distiller.compile`. Defaults to `None`.
            metrics: As in `keras.Model.compile`, for every student. Defaults to `None`.
            weighted_metrics: As in `keras.Model.compile`, for every student. Defaults to `None`.
            run_eagerly: As in `keras.Model.compile`. Defaults to `False`.
            steps_per_execution: As in `keras.Model.compile`. Defaults to 1.
            jit_compile: As in `keras.Model.compile`. Defaults to `"auto"`.
            **kwargs: Passed to `Distiller.compile`.
        """
        optimizers = _assign_optimizers(optimizers, len(self.distillers))
        for distiller, optimizer in zip(self.distillers, optimizers, strict=True):
            measures = {"metrics": _copy_metrics(metrics), "weighted_metrics": _copy_metrics(weighted_metrics)}
            distiller.compile(optimizer, loss, run_eagerly=run_eagerly, **measures, **kwargs)
        self._compile_steps(run_eagerly, steps_per_execution, jit_compile)

    def _compile_steps(self, run_eagerly: bool, steps_per_execution: int, jit_compile: bool | str) -> None:
        super().compile(
            optimizer=None, run_eagerly=run_eagerly, steps_per_execution=steps_per_execution, jit_compile=jit_compile
        )

    def train_step(self, data: Any) -> dict[str, Any]:
        return join_logs([distiller.train_step(data) for distiller in self.distillers])

    def test_step(self, data: Any) -> dict[str, Any]:
        return join_logs([distiller.test_step(data) for distiller in self.distillers])

    @property
    def metrics(self) -> list[keras.metrics.Metric]:
        own = [metric for distiller in self.distillers for metric in distiller.metrics]
        return [*own, self._directions.content]

    def get_metrics_result(self) -> dict[str, Any]:
        """Return the logs of a training step."""
        return join_logs([distiller.get_metrics_result() for distiller in self.distillers])

    def fit(
        self,
        x: Any = None,
        y: Any = None,
        batch_size: int | None = None,
        epochs: int = 1,
        verbose: Any = "auto",
        callbacks: Any = None,
        **kwargs: Any,
    ) -> keras.callbacks.History:
        """Train the students as `keras.Model.fit` does; without `y`, on each other's soft targets alone."""
        validation.check_not_empty(x)
        if hasattr(x, "element_spec"):
            kwargs.setdefault("shuffle", False)
        for distiller in self.distillers:
            if distiller.built and not distiller.optimizer.built:  # Keras restores a backup before the first step.
                distiller.optimizer.build(distiller.trainable_variables)
        callbacks = keras.tree.flatten(callbacks or [])
        callbacks = [BackupGuard(callbacks), MutualBookkeeping(self.distillers), *callbacks]
        with guards.explained():
            history = super().fit(x, y, batch_size, epochs, verbose, callbacks, **kwargs)
        for distiller in self.distillers:
            distiller.optimizer.finalize_variable_values(distiller.trainable_variables)
        return history

    def evaluate(self, x: Any = None, *args: Any, return_dict: bool = False, **kwargs: Any) -> Any:
        """Evaluate the students as `keras.Model.evaluate` does."""
        validation.check_not_empty(x)
        with guards.explained():
            logs = super().evaluate(x, *args, return_dict=True, **kwargs)
        parts = zip(self.distillers, split_logs(logs, len(self.distillers)), strict=True)
        logs = merge_logs(select_shared_logs(logs), [distiller.in_order(own) for distiller, own in parts])
        return logs if return_dict else list(logs.values())

    # Saving ----------------------------------------------------------------------------------------------------------

    def get_config(self) -> dict[str, Any]:
        losses = [distiller.distillation_losses for distiller in self.distillers]
        return {
            **super().get_config(),
            "students": [keras.saving.serialize_keras_object(student) for student in self.students],
            "losses": [[keras.saving.serialize_keras_object(loss) for loss in each] for each in losses],
            "distillation_loss_weights": [distiller.distillation_loss_weights for distiller in self.distillers],
            "student_loss_weight": self.distillers[0].student_loss_weight,
        }

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: dict[str, Any] | None = None) -> "MutualLearning":
        config = dict(config)
        students, losses = (
            keras.saving.deserialize_keras_object(config.pop(name), custom_objects) for name in ("students", "losses")
        )
        weights = config.pop("distillation_loss_weights")
        return cls(students, losses.__getitem__, weights.__getitem__, **config)

    def get_compile_config(self) -> dict[str, Any] | None:
        if not self.compiled:
            return None
        names = ("run_eagerly", "steps_per_execution", "jit_compile")
        each = [distiller.get_compile_config() for distiller in self.distillers]
        return {"distillers": each, **{name: getattr(self, name) for name in names}}

    def compile_from_config(self, config: dict[str, Any]) -> None:
        config = dict(config)
        for distiller, own in zip(self.distillers, config.pop("distillers"), strict=True):
            distiller.compile_from_config(own)
        self._compile_steps(**config)


def _join_peers(students: list[keras.Model], student: keras.Model) -> Any:
    """Return the teacher of a student: the other student, or an ensemble of the others."""
    others = [other for other in students if other is not student]
    return others[0] if len(others) == 1 else Ensemble(others, name="peers")


@contextlib.contextmanager
def _keep_trainable(models: Sequence[keras.Model]) -> Iterator[None]:
    """Undo the freezing of teachers by `Distiller`: a peer is also a student."""
    layers = [(layer, layer.trainable) for model in models for layer in model._flatten_layers()]
    variables = [(variable, variable.trainable) for model in models for variable in model.trainable_variables]
    try:
        yield
    finally:
        for holder, trainable in (*layers, *variables):  # Outer layers come first, since they set their inner ones.
            holder.trainable = trainable


def _assign_optimizers(optimizers: Any, count: int) -> list[keras.optimizers.Optimizer]:
    if not isinstance(optimizers, (list, tuple)):
        config = keras.optimizers.serialize(keras.optimizers.get(optimizers))
        return [keras.optimizers.deserialize(config) for _ in range(count)]
    found: list[Any] = [keras.optimizers.get(optimizer) for optimizer in optimizers]
    if len({id(optimizer) for optimizer in found}) != count or len(found) != count:
        names = ", ".join(optimizer.name for optimizer in found)
        raise ValueError(expected(f"{count} optimizers, a separate one for each student", names or "an empty list"))
    return found


def _copy_metrics(metrics: Any) -> Any:
    """Return metrics with metric objects copied, since their state belongs to one student."""

    def copy(metric: Any) -> Any:
        return type(metric).from_config(metric.get_config()) if isinstance(metric, keras.metrics.Metric) else metric

    return keras.tree.map_structure(copy, metrics)
