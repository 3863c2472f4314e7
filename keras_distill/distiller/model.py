"""The `Distiller`: one teacher forward pass, one student forward and backward pass, one weighted sum of losses."""

from collections.abc import Sequence
from typing import Any

import keras
from keras import ops

from keras_distill._core import backend
from keras_distill._core.batches import batch_size
from keras_distill._core.checked import checked
from keras_distill._core.checks import check_number
from keras_distill._core.messages import expected
from keras_distill._core.models import Untracked, run
from keras_distill.distiller import validation
from keras_distill.distiller.answering import answers_of
from keras_distill.distiller.batch import Batch, CurrentBatch, takes_outputs
from keras_distill.distiller.coefficients import Coefficients
from keras_distill.distiller.first_batch import check_first_batch
from keras_distill.distiller.foreign_arguments import refuse_foreign_arguments
from keras_distill.distiller.hints import warn_of_own_steps, warn_of_shared_layers
from keras_distill.distiller.logs import Logs
from keras_distill.distiller.naming import arrange
from keras_distill.distiller.objective import Objective, layers_of, taps
from keras_distill.distiller.outputs import find_differing
from keras_distill.distiller.saving import Saving
from keras_distill.distiller.steps import Steps
from keras_distill.distiller.summary import Overview
from keras_distill.distiller.training import Training
from keras_distill.features.taps import FINAL_OUTPUT, FeatureExtractor
from keras_distill.losses.hard_labels import mark_unlabelled
from keras_distill.teachers.combined import check_shows_its_teacher
from keras_distill.teachers.loading import as_teacher
from keras_distill.teachers.precision import in_precision
from keras_distill.teachers.trust import Trust


@keras.saving.register_keras_serializable(package="keras_distill")
class Distiller(Coefficients, Logs, Overview, Saving, Training, Steps, keras.Model):  # type: ignore[misc]
    """Train a small student to match a large teacher.

    The student learns from the teacher's soft targets (or features) and, where there are labels, from the hard
    labels: `loss = w * student_loss + (1 - w) * sum_i weight_i * distillation_loss_i`, where `w` is
    `student_loss_weight`. Without labels, or compiled without a loss, the loss is that of the soft targets alone. A
    sparse label of -1 marks a sample without a label: the hard loss is averaged over the samples that have one.

    `fit` takes whatever `keras.Model.fit` takes, and the class is a drop-in replacement for
    `keras.distillation.Distiller`. The temperature and the weights are variables: assign to `temperature`,
    `student_loss_weight` and `distillation_loss_weights`, or let a callback do so, and the next step uses the new value
    without retracing. The teacher runs in inference mode, never changes, and is not among the weights. `evaluate`
    evaluates the student; it runs the teacher only if there are no labels or with `compile(fidelity=True)`.

    To compute another loss, override `compute_loss` with the arguments that Keras gives it; `current_batch` holds what
    teacher and student have returned for the batch.

    Args:
        teacher: A trained `keras.Model`; it is frozen. Or the path of a SavedModel, a `.tflite`, an `.onnx` or a
            `.keras` file, or a callable on NumPy arrays; see `keras_distill.teachers.as_teacher`. Or a store of its
            soft targets (`kd.targets.open(path)`), or the path of one: then no teacher runs, and the batches of
            `store.join(dataset)` carry its answers.
        student: The `keras.Model` to train, with the teacher's inputs and, for losses on outputs, its outputs.
        distillation_losses: One `keras_distill.losses.DistillationLoss` (or one of Keras's), the name of a method
            (`"dkd"`; all are in `keras_distill.losses.METHODS`), or a list of them.
        distillation_loss_weights: One number >= 0 for each distillation loss. Defaults to `None`, 1.0 each.
        student_loss_weight: Weight from 0.0 to 1.0 of the hard labels. Defaults to 0.5.
        name: Name of the model. Defaults to `"distiller"`.
        trust: A `keras_distill.teachers.Trust`: which soft targets to leave out, weigh down or correct, by the
            teacher's confidence and the labels. Defaults to `None`: all are used as they are.
        teacher_dtype: `"bfloat16"`, `"float16"` or `"float32"`, the precision in which a Functional or Sequential
            teacher computes. It saves time on accelerators, not on CPUs. The losses are computed in float32 in any
            case. Defaults to `None`, the teacher's own.
        **kwargs: Passed to `keras.Model`.

    Raises:
        ValueError: If an argument is invalid, or teacher, student and losses do not fit together.

    Example:

    >>> import numpy as np
    >>> import keras_distill as kd
    >>> def model(width):
    ...     return keras.Sequential([keras.Input((4,)), keras.layers.Dense(width), keras.layers.Dense(3)])
    >>> distiller = kd.Distiller(model(32), model(4), kd.losses.LogitsDistillation(temperature=4.0))
    >>> distiller.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
    >>> history = distiller.fit(np.ones((8, 4)), np.arange(8) % 3, verbose=0)
    >>> list(history.history)
    ['loss', 'student_loss', 'distillation_loss', 'total_loss', 'temperature', 'accuracy']

    Reference:
        Hinton, Vinyals, Dean, "Distilling the Knowledge in a Neural Network", 2015, arXiv:1503.02531.
    """

    def __new__(cls, *args: Any, **kwargs: Any) -> Any:
        if cls.__init__ is Distiller.__init__:
            refuse_foreign_arguments(kwargs)  # Before Python says that `distillation_losses` is missing.
        return super().__new__(cls, *args, **kwargs)

    @checked(distillation_loss_weights=Any, student_loss_weight=Any)
    def __init__(
        self,
        teacher: Any,
        student: keras.Model,
        distillation_losses: Any,
        distillation_loss_weights: float | Sequence[float] | None = None,
        student_loss_weight: float = 0.5,
        name: str = "distiller",
        trust: Trust | None = None,
        teacher_dtype: str | None = None,
        **kwargs: Any,
    ):
        refuse_foreign_arguments(kwargs)
        backend.check_supported()
        teacher = in_precision(as_teacher(teacher, like=student), teacher_dtype)
        check_shows_its_teacher(teacher)
        if trust is not None and not isinstance(trust, Trust):
            raise ValueError(expected("trust to be a keras_distill.teachers.Trust", repr(trust)))
        losses = validation.check_losses(distillation_losses)
        validation.check_models(teacher, student, compare_outputs=False)
        on_outputs = [loss for loss in losses if taps(loss, "student") is None]
        differing = find_differing(teacher, student, on_outputs)
        weights = validation.check_loss_weights(distillation_loss_weights, len(losses))
        student_loss_weight = check_number("student_loss_weight", student_loss_weight, 0.0, 1.0)
        answers = answers_of(teacher)
        for loss in losses:
            answers.validate(loss, student)
        answers.ask_for(layers_of("teacher", losses))
        # In float32 whatever the models compute in, since coefficients, adapters and losses are.
        super().__init__(name=name, **{"dtype": "float32", **kwargs})

        warn_of_shared_layers(teacher, student)
        warn_of_own_steps(student)
        teacher.trainable = False
        self._teacher = Untracked(teacher)
        self.student = student
        self._differing = differing
        self._answers = Untracked(answers)
        layers = layers_of("student", losses)
        self._extractor = Untracked(FeatureExtractor(student, layers, role="student") if layers else None)
        self._current = Untracked(CurrentBatch())
        self.objective = Objective(losses, weights, student_loss_weight, self._feature_shape, trust)
        # Counted here rather than in `fit`, so that a saved distiller resumes its schedules where they stopped.
        self.epochs_trained = self.add_weight(shape=(), initializer="zeros", dtype="int32", trainable=False)
        self.fidelity = False
        self.built = student.built

    def __init_subclass__(cls, **kwargs):
        super().__init_subclass__(**kwargs)
        if "compute_loss" in vars(cls):
            cls._passes_outputs = takes_outputs(cls.compute_loss)

    def _feature_shape(self, loss, role):
        keys = taps(loss, role)
        if keys is not None:
            shapes = (self._answers if role == "teacher" else self._extractor).content.shapes
            return keras.tree.map_structure(lambda key: shapes[key], keys)
        outputs = getattr(self.student if role == "student" else self.teacher, "outputs", None)
        output = (outputs or [None])[0]
        return None if output is None or keras.tree.is_nested(output) else tuple(output.shape)

    # Attributes ------------------------------------------------------------------------------------------------------

    _passes_outputs = False

    @property
    def teacher(self) -> keras.Model:
        """The teacher. Its weights are not among those of the distiller."""
        return self._teacher.content

    def __dir__(self):
        # Keras saves the weights of every attribute that `dir` lists.
        hidden = {"teacher", "_teacher_feature_extractor", "_student_feature_extractor"}
        return [name for name in super().__dir__() if name not in hidden]

    # Names of `keras.distillation.Distiller`.

    @property
    def _teacher_feature_extractor(self) -> FeatureExtractor | None:
        return self._answers.content.extractor

    @property
    def _student_feature_extractor(self) -> FeatureExtractor | None:
        return self._extractor.content

    @property
    def current_batch(self) -> Batch:
        """The `Batch` of the running step, with what teacher and student have returned for it; empty outside a step."""
        return self._current.content.batch

    @property
    def distillation_losses(self) -> list:
        """The distillation losses."""
        return list(self.objective.distillation_losses)

    # The step --------------------------------------------------------------------------------------------------------

    def call(self, inputs: Any, training: Any = None) -> Any:
        """Return the student's outputs."""
        return run(self.student, inputs, training)

    def teacher_outputs(self, x: Any, extras: dict | None = None) -> dict[str, Any]:
        """Return the teacher's answer to a batch: run it in inference mode, or take a stored answer from the batch.

        Args:
            x: A batch of inputs.
            extras: Dict of what else the batch carries, for a stored teacher. Defaults to `None`: within a step, the
                extras of the batch with these inputs.

        Returns:
            A dict of `"final_output"` and, by name, the layers that the losses compare. The final output is what the
            teacher returns, a tensor or a nest of tensors; for a teacher of several models, or a stored one, an
            `Answer`.
        """
        extras = self._current.content.known_about(x).extras if extras is None else extras
        return self._answers.content.answer(x, extras)

    def student_outputs(self, x: Any, training: bool) -> dict[str, Any]:
        """Run the student once.

        Args:
            x: A batch of inputs.
            training: Whether the student runs in training mode.

        Returns:
            A dict of `"final_output"` and, by name, the layers that the losses compare.
        """
        extractor = self._extractor.content
        return extractor(x, training=training) if extractor else {FINAL_OUTPUT: self(x, training=training)}

    def test_step(self, data: Any) -> Any:
        batch = Batch.of(data)
        labels = self._has_hard_labels(batch.y)
        with_teacher = bool(self.fidelity_metrics) or not labels
        with self._checked(), self._current.content.set_to(batch):
            if with_teacher:
                batch.teacher_outputs = self.teacher_outputs(batch.x)
                batch.student_outputs = self.student_outputs(batch.x, training=False)
                check_first_batch(self, batch, training=False)
            else:
                batch.student_outputs = {FINAL_OUTPUT: self(batch.x, training=False)}
            self._loss_of(batch, training=False)
        logs = self.compute_metrics(batch.x, batch.y, batch.student_outputs[FINAL_OUTPUT], batch.sample_weight)
        return self.measured(logs, labels=labels, teacher=with_teacher)

    def _ask_teacher(self, data):
        """Return the `Batch` that Keras passes to a step, with the teacher's outputs."""
        batch = Batch.of(data)
        with self._current.content.set_to(batch):
            batch.teacher_outputs = self.teacher_outputs(batch.x)
        return batch

    def _loss_to_minimise(self, batch):
        """Run the student on a batch that the teacher has answered; record and return the loss."""
        with self._current.content.set_to(batch):
            batch.student_outputs = self.student_outputs(batch.x, training=True)
            check_first_batch(self, batch)
            return self._loss_of(batch, training=True)

    def _loss_of(self, batch, training):
        y_pred = batch.student_outputs[FINAL_OUTPUT]
        outputs = batch.known() if self._passes_outputs else {}
        loss = self.compute_loss(batch.x, batch.y, y_pred, batch.sample_weight, training=training, **outputs)
        self._record_loss(loss, batch.x)
        return loss

    def compute_loss(
        self,
        x: Any = None,
        y: Any = None,
        y_pred: Any = None,
        sample_weight: Any = None,
        training: bool = True,
        teacher_outputs: Any = None,
        student_outputs: Any = None,
        extras: Any = None,
    ) -> Any:
        """Compute the weighted sum of the hard and the soft terms.

        Args:
            x: A batch of inputs.
            y: Hard labels. Defaults to `None`, no hard term.
            y_pred: The student's outputs. Defaults to `None`: the student runs.
            sample_weight: Weights of the samples, applied to every term. Defaults to `None`.
            training: Whether the step trains. If not, the soft terms are left out unless teacher outputs are known or
                there is no hard term. Defaults to `True`.
            teacher_outputs: What `teacher_outputs(x, extras)` returned. Defaults to `None`: within a step, what it
                returned for these inputs; otherwise the teacher is asked if its answer is needed.
            student_outputs: What `student_outputs(x, training)` returned. Defaults to `None`, likewise.
            extras: Dict of what else the batch carries, for losses that take it (the `index` of each sample, say).
                Defaults to `None`, likewise.

        Returns:
            Float scalar; under `tf.distribute`, the share of this replica.
        """
        known = self._current.content.known_about(x)
        teacher_outputs = known.teacher_outputs if teacher_outputs is None else teacher_outputs
        extras = known.extras if extras is None else extras
        if student_outputs is None and known.student_outputs and y_pred is known.student_outputs[FINAL_OUTPUT]:
            student_outputs = known.student_outputs
        y_pred = self(x, training=training) if y_pred is None else y_pred
        y, sample_weight = (arrange(values, y_pred, self.student) for values in (y, sample_weight))
        hard = self._compile_loss(y, y_pred, sample_weight) if self._has_hard_labels(y) else None
        soft = {}
        if training or teacher_outputs is not None or hard is None:
            if teacher_outputs is None:
                teacher_outputs = self.teacher_outputs(x, extras) if extras else self.teacher_outputs(x)
            if student_outputs is None:
                whole = self._extractor.content is None
                student_outputs = {FINAL_OUTPUT: y_pred} if whole else self.student_outputs(x, training)
            labels = y
            if self._has_hard_labels(y):
                labels = mark_unlabelled(arrange(self.loss, y_pred, self.student), y, y_pred)
            given = {"labels": labels, "training": training, "extras": extras, "left_out": self._differing}
            soft = self.objective.soft_terms(teacher_outputs, student_outputs, sample_weight, **given)
            self._record_fidelity(teacher_outputs[FINAL_OUTPUT], y_pred, sample_weight)
        regularization = sum(ops.sum(loss) for loss in self.losses) / backend.replicas() if self.losses else None
        return self.objective.weighted_sum(hard, soft, regularization, batch_size(x))

    def _has_hard_labels(self, y):
        return y is not None and self._compile_loss is not None
