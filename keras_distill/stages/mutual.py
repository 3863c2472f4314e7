"""Students that teach each other while they learn."""

import contextlib

import keras

from keras_distill._core import guards
from keras_distill._core.backend import check_tensorflow
from keras_distill._core.messages import expected
from keras_distill._core.models import run
from keras_distill.distiller import validation
from keras_distill.distiller.model import Distiller
from keras_distill.stages.chain import check_students, own_losses
from keras_distill.stages.logs import BookkeepingOfEach, joined, put_together, shared_logs, taken_apart
from keras_distill.teachers.ensemble import Ensemble


@keras.saving.register_keras_serializable(package="keras_distill")
class MutualLearning(keras.Model):
    """Train several students at once, each taught by the others.

    There is one `Distiller` for each student, with an optimizer of its own; its teacher is the other student, or the
    `Ensemble` of the others (the mean of their probabilities). A batch is one step of each distiller, one after the
    other, as in the paper's algorithm: a student is taught by what those before it have become in this very step.
    What the others say is a constant to it, and they say it in inference mode. Each step runs, for each student, all
    others forward.

    The paper averages the KL divergences to each of several peers. Their average differs from the KL divergence to the
    mean of the peers' probabilities by a number that does not depend on the student, so the gradients of both are the
    same, at every temperature. Losses that are no KL divergence see the mean.

    Logs are named by position: `student_1_loss`, `student_2_accuracy`; `loss` is the sum of the students' losses. The
    models stay the user's own: save them as any other. Callbacks that want the one optimizer of a model do not work
    here (`keras.callbacks.LearningRateScheduler`, or a `TemperatureScheduler` by steps); give the optimizers schedules
    of `keras.optimizers.schedules` instead.

    Args:
        students: List of at least two `keras.Model`s with the same inputs and outputs, of any architectures.
        losses: What a `Distiller` takes as `distillation_losses`, or a function from a student's index to that. Losses
            given as objects are copied for each student. Defaults to `"kd"`.
        distillation_loss_weights: One number >= 0 for each loss, or a function from a student's index to that. Defaults
            to `None`, 1.0 each.
        student_loss_weight: Weight from 0.0 to 1.0 of the hard labels. Defaults to 0.5. The paper adds both terms
            at T = 1: that is 0.5, at twice the learning rate.
        name: Name of the model. Defaults to `"mutual_learning"`.
        **kwargs: Passed to `keras.Model`.

    Raises:
        ValueError: If an argument is not what it should be, or students and losses do not fit together.

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

    def __init__(
        self,
        students,
        losses="kd",
        distillation_loss_weights=None,
        student_loss_weight=0.5,
        name="mutual_learning",
        **kwargs,
    ):
        check_tensorflow("MutualLearning")
        students = check_students(students, least=2)
        super().__init__(name=name, **{"dtype": "float32", "autocast": False, **kwargs})
        with _still_trainable(students):
            self.distillers = [
                Distiller(
                    _peers(students, student),
                    student,
                    own_losses(losses, index),
                    distillation_loss_weights(index)
                    if callable(distillation_loss_weights)
                    else distillation_loss_weights,
                    student_loss_weight,
                    name=f"student_{index + 1}",
                )
                for index, student in enumerate(students)
            ]
        self.built = all(student.built for student in students)

    @property
    def students(self):
        """The students, a list."""
        return [distiller.student for distiller in self.distillers]

    def call(self, inputs, training=None):
        """Return the outputs of each student, a list."""
        return [run(student, inputs, training) for student in self.students]

    # What callbacks see of a Distiller -------------------------------------------------------------------------------

    @property
    def temperature(self):
        """Temperature of the losses of the first student, or `None`. Assign to set that of all."""
        return self.distillers[0].temperature

    @temperature.setter
    def temperature(self, value):
        for distiller in self.distillers:
            distiller.temperature = value

    @property
    def epochs_trained(self):
        """Number of epochs that the students have been trained for, a variable."""
        return self.distillers[0].epochs_trained

    # Training --------------------------------------------------------------------------------------------------------

    def compile(
        self,
        optimizers="adam",
        loss=None,
        *,
        metrics=None,
        weighted_metrics=None,
        run_eagerly=False,
        steps_per_execution=1,
        jit_compile="auto",
        **kwargs,
    ):
        """Configure the training.

        Args:
            optimizers: A list of optimizers, one for each student, or one by name or object, of which each student gets
                a copy. Defaults to `"adam"`.
            loss: Loss on the hard labels, for every student, as in `Distiller.compile`. Defaults to `None`.
            metrics: As in `keras.Model.compile`, for every student. Defaults to `None`.
            weighted_metrics: As in `keras.Model.compile`, for every student. Defaults to `None`.
            run_eagerly: As in `keras.Model.compile`. Defaults to `False`.
            steps_per_execution: As in `keras.Model.compile`. Defaults to 1.
            jit_compile: As in `keras.Model.compile`. Defaults to `"auto"`.
            **kwargs: Passed to `Distiller.compile`.
        """
        optimizers = _one_for_each(optimizers, len(self.distillers))
        for distiller, optimizer in zip(self.distillers, optimizers, strict=True):
            measures = {"metrics": _copied(metrics), "weighted_metrics": _copied(weighted_metrics)}
            distiller.compile(optimizer, loss, run_eagerly=run_eagerly, **measures, **kwargs)
        self._compile_steps(run_eagerly, steps_per_execution, jit_compile)

    def _compile_steps(self, run_eagerly, steps_per_execution, jit_compile):
        super().compile(
            optimizer=None, run_eagerly=run_eagerly, steps_per_execution=steps_per_execution, jit_compile=jit_compile
        )

    def train_step(self, data):
        return joined([distiller.train_step(data) for distiller in self.distillers])

    def test_step(self, data):
        return joined([distiller.test_step(data) for distiller in self.distillers])

    @property
    def metrics(self):
        return [metric for distiller in self.distillers for metric in distiller.metrics]

    def get_metrics_result(self):
        """Return the logs of a training step."""
        return joined([distiller.get_metrics_result() for distiller in self.distillers])

    def fit(self, x=None, y=None, batch_size=None, epochs=1, verbose="auto", callbacks=None, **kwargs):
        """Train the students. See `keras.Model.fit`; without `y`, on each other's soft targets alone."""
        validation.check_not_empty(x)
        if hasattr(x, "element_spec"):
            kwargs.setdefault("shuffle", False)
        for distiller in self.distillers:
            if distiller.built and not distiller.optimizer.built:  # A backup is restored before the first step.
                distiller.optimizer.build(distiller.trainable_variables)
        callbacks = [BookkeepingOfEach(self.distillers), *keras.tree.flatten(callbacks or [])]
        with guards.explained():
            history = super().fit(x, y, batch_size, epochs, verbose, callbacks, **kwargs)
        for distiller in self.distillers:
            distiller.optimizer.finalize_variable_values(distiller.trainable_variables)
        return history

    def evaluate(self, x=None, *args, return_dict=False, **kwargs):
        """Evaluate the students. See `keras.Model.evaluate`."""
        validation.check_not_empty(x)
        with guards.explained():
            logs = super().evaluate(x, *args, return_dict=True, **kwargs)
        parts = zip(self.distillers, taken_apart(logs, len(self.distillers)), strict=True)
        logs = put_together(shared_logs(logs), [distiller.in_order(own) for distiller, own in parts])
        return logs if return_dict else list(logs.values())

    # Saving ----------------------------------------------------------------------------------------------------------

    def get_config(self):
        losses = [distiller.distillation_losses for distiller in self.distillers]
        return {
            **super().get_config(),
            "students": [keras.saving.serialize_keras_object(student) for student in self.students],
            "losses": [[keras.saving.serialize_keras_object(loss) for loss in each] for each in losses],
            "distillation_loss_weights": [distiller.distillation_loss_weights for distiller in self.distillers],
            "student_loss_weight": self.distillers[0].student_loss_weight,
        }

    @classmethod
    def from_config(cls, config):
        parts = {name: keras.saving.deserialize_keras_object(config[name]) for name in ("students", "losses")}
        by_student = {"losses": parts["losses"], "distillation_loss_weights": config["distillation_loss_weights"]}
        functions = {name: each.__getitem__ for name, each in by_student.items()}
        return cls(**{**config, **parts, **functions})

    def get_compile_config(self):
        if not self.compiled:
            return None
        names = ("run_eagerly", "steps_per_execution", "jit_compile")
        each = [distiller.get_compile_config() for distiller in self.distillers]
        return {"distillers": each, **{name: getattr(self, name) for name in names}}

    def compile_from_config(self, config):
        config = dict(config)
        for distiller, own in zip(self.distillers, config.pop("distillers"), strict=True):
            distiller.compile_from_config(own)
        self._compile_steps(**config)


def _peers(students, student):
    others = [other for other in students if other is not student]
    return others[0] if len(others) == 1 else Ensemble(others, name="peers")


@contextlib.contextmanager
def _still_trainable(models):
    """Undo what a `Distiller` does to its teacher: a peer is a student elsewhere."""
    layers = [(layer, layer.trainable) for model in models for layer in model._flatten_layers()]
    variables = [(variable, variable.trainable) for model in models for variable in model.trainable_variables]
    try:
        yield
    finally:
        for holder, trainable in (*layers, *variables):  # Outer layers come first, and set those inside.
            holder.trainable = trainable


def _one_for_each(optimizers, count):
    if not isinstance(optimizers, (list, tuple)):
        config = keras.optimizers.serialize(keras.optimizers.get(optimizers))
        return [keras.optimizers.deserialize(config) for _ in range(count)]
    optimizers = [keras.optimizers.get(optimizer) for optimizer in optimizers]
    if len({id(optimizer) for optimizer in optimizers}) != count or len(optimizers) != count:
        names = ", ".join(optimizer.name for optimizer in optimizers)
        raise ValueError(expected(f"{count} optimizers, one of its own for each student", f"{names or 'none'}"))
    return optimizers


def _copied(metrics):
    """Copy metrics that are objects: each student counts its own."""

    def copy(metric):
        return type(metric).from_config(metric.get_config()) if isinstance(metric, keras.metrics.Metric) else metric

    return keras.tree.map_structure(copy, metrics)
