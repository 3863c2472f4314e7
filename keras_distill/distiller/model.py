"""The model that teaches: one teacher forward, one student forward and backward, one weighted sum."""

import keras
from keras import ops

from keras_distill._core import backend, guards
from keras_distill._core.batches import batch_size, unpack
from keras_distill._core.checks import check_number
from keras_distill._core.messages import expected
from keras_distill._core.models import Untracked, accepts, run, uses_float16
from keras_distill.callbacks._scheduler import Scheduler
from keras_distill.callbacks.input_watch import InputWatch
from keras_distill.distiller import stored, validation
from keras_distill.distiller.coefficients import Coefficients
from keras_distill.distiller.logs import Bookkeeping, Logs, split_fidelity
from keras_distill.distiller.objective import Objective, extractor, taps
from keras_distill.distiller.progress_bar import ProgressBar
from keras_distill.distiller.saving import Saving
from keras_distill.distiller.steps import Steps
from keras_distill.distiller.summary import Overview
from keras_distill.features.taps import FINAL_OUTPUT
from keras_distill.losses.base import align_weights
from keras_distill.losses.hard_labels import on_logits
from keras_distill.losses.heads import head_of, refusal, rows_are_probabilities
from keras_distill.losses.logits.top_k import is_top_k
from keras_distill.metrics.labelled import labelled_only
from keras_distill.teachers.base import is_stored
from keras_distill.teachers.loading import as_teacher
from keras_distill.teachers.precision import in_precision
from keras_distill.teachers.trust import Trust


@keras.saving.register_keras_serializable(package="keras_distill")
class Distiller(Coefficients, Logs, Overview, Saving, Steps, keras.Model):
    """Train a small student to say what a large teacher says.

    The student learns from the teacher's soft targets (or features) and, where there are labels, from the hard
    labels: `loss = w * student_loss + (1 - w) * sum_i weight_i * distillation_loss_i`, `w` being
    `student_loss_weight`. Without labels, or compiled without a loss, the soft targets alone are the loss. A sparse
    label of -1 says that a sample has none: the hard labels are averaged over those that have one.

    It takes whatever `keras.Model.fit` takes, and is a drop-in for `keras.distillation.Distiller`. Temperature and
    weights are variables: assign to `temperature`, `student_loss_weight` and `distillation_loss_weights`, or let a
    callback, and the next step uses the new value without retracing. The teacher runs in inference mode, never
    changes, and is in no list of weights. `evaluate` is the student's own; it runs the teacher only if there is
    nothing else to measure or `compile(fidelity=True)` asks for it.

    Args:
        teacher: A trained `keras.Model`; it is frozen. Or the path of a SavedModel, a `.tflite`, an `.onnx` or a
            `.keras` file, or a callable on NumPy arrays; see `keras_distill.teachers.as_teacher`. Or a store of its
            soft targets (`kd.targets.open(path)`) or the path of one: nothing runs then, and the batches of
            `store.join(dataset)` carry what it said.
        student: The `keras.Model` to train, with the teacher's inputs and, for losses on outputs, its outputs.
        distillation_losses: One `keras_distill.losses.DistillationLoss` (or one of Keras's), the name of a method
            (`"dkd"`; all are in `keras_distill.losses.METHODS`), or a list of them.
        distillation_loss_weights: One number >= 0 for each distillation loss. Defaults to `None`, 1.0 each.
        student_loss_weight: Weight from 0.0 to 1.0 of the hard labels. Defaults to 0.5.
        name: Name of the model. Defaults to `"distiller"`.
        trust: A `keras_distill.teachers.Trust`: which soft targets to leave out, weigh down or correct, by the
            teacher's confidence and the labels. Defaults to `None`, all are taken as they are.
        teacher_dtype: `"bfloat16"`, `"float16"` or `"float32"`: the precision in which the teacher computes, if it is
            a Functional or Sequential model. For accelerators; on CPUs it brings nothing. The losses are in float32
            all the same. Defaults to `None`, its own.
        **kwargs: Passed to `keras.Model`.

    Raises:
        ValueError: If an argument is not what it should be, or teacher, student and losses do not fit together.

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

    def __init__(
        self,
        teacher,
        student,
        distillation_losses,
        distillation_loss_weights=None,
        student_loss_weight=0.5,
        name="distiller",
        trust=None,
        teacher_dtype=None,
        **kwargs,
    ):
        backend.check_supported()
        teacher = in_precision(as_teacher(teacher, like=student), teacher_dtype)
        if trust is not None and not isinstance(trust, Trust):
            raise ValueError(expected("trust to be a keras_distill.teachers.Trust", repr(trust)))
        losses = validation.check_losses(distillation_losses)
        on_outputs = any(taps(loss, "student") is None for loss in losses)
        validation.check_models(teacher, student, compare_outputs=on_outputs)
        weights = validation.check_loss_weights(distillation_loss_weights, len(losses))
        student_loss_weight = check_number("student_loss_weight", student_loss_weight, 0.0, 1.0)
        from_store = is_stored(teacher)
        for loss in losses:
            if from_store:
                stored.validate(loss, teacher, student)
            else:
                loss.validate_model_compatibility(teacher, student)
        # In float32 whatever the models are in: so are its coefficients, its adapters and its losses.
        super().__init__(name=name, **{"dtype": "float32", **kwargs})

        teacher.trainable = False
        self._teacher = Untracked(teacher)
        self.student = student
        taken = stored.StoredFeatures(teacher) if from_store else extractor("teacher", teacher, losses)
        self._features = {"teacher": Untracked(taken), "student": Untracked(extractor("student", student, losses))}
        self.objective = Objective(losses, weights, student_loss_weight, self._feature_shape, trust)
        # Counted here rather than taken from `fit`, so that schedules go on where a saved distiller stopped.
        self.epochs_trained = self.add_weight(shape=(), initializer="zeros", dtype="int32", trainable=False)
        self.fidelity = False
        self.built = student.built

    def _feature_shape(self, loss, role):
        keys, extractor = taps(loss, role), self._features[role].content
        if keys is not None:
            return keras.tree.map_structure(lambda key: extractor.shapes[key], keys)
        outputs = getattr(self.student if role == "student" else self.teacher, "outputs", None)
        output = (outputs or [None])[0]
        return None if output is None or keras.tree.is_nested(output) else tuple(output.shape)

    # What is inside --------------------------------------------------------------------------------------------------

    @property
    def teacher(self):
        """The teacher. It is no part of the distiller's weights."""
        return self._teacher.content

    def __dir__(self):
        # Keras saves the weights of every attribute that `dir` names.
        hidden = {"teacher", "_teacher_feature_extractor", "_student_feature_extractor"}
        return [name for name in super().__dir__() if name not in hidden]

    @property
    def distillation_losses(self):
        """The distillation losses, a list."""
        return list(self.objective.distillation_losses)

    @property
    def _teacher_feature_extractor(self):
        return self._features["teacher"].content

    @property
    def _student_feature_extractor(self):
        return self._features["student"].content

    # The step --------------------------------------------------------------------------------------------------------

    def call(self, inputs, training=None):
        """Return the student's outputs."""
        return run(self.student, inputs, training)

    def teacher_outputs(self, x, extras=None):
        """Run the teacher in inference mode, or take from the batch what a stored one said.

        Args:
            x: A batch of inputs.
            extras: Dict of what else the batch carries; only for a stored teacher. Defaults to `None`.

        Returns:
            A dict of `"final_output"` and, by name, the layers that the losses ask for.
        """
        if is_stored(self.teacher):
            return self.teacher.answer(extras)
        extractor = self._teacher_feature_extractor
        return extractor(x, training=False) if extractor else {FINAL_OUTPUT: run(self.teacher, x, training=False)}

    def _teacher_says(self, x, extras):
        """Return `teacher_outputs`, by an override that knows of no stored teachers as well."""
        return self.teacher_outputs(x, extras) if is_stored(self.teacher) else self.teacher_outputs(x)

    def student_outputs(self, x, training):
        """Run the student once.

        Args:
            x: A batch of inputs.
            training: Whether it is for training.

        Returns:
            A dict of `"final_output"` and, by name, the layers that the losses ask for.
        """
        extractor = self._student_feature_extractor
        return extractor(x, training=training) if extractor else {FINAL_OUTPUT: self(x, training=training)}

    def test_step(self, data):
        x, y, sample_weight, extras = unpack(data)
        with_teacher = bool(self.fidelity_metrics) or not self._has_hard_labels(y)
        if with_teacher:
            teacher_outputs = self._teacher_says(x, extras)
            student_outputs = self.student_outputs(x, training=False)
        else:
            teacher_outputs, student_outputs = None, {FINAL_OUTPUT: self(x, training=False)}
        y_pred = student_outputs[FINAL_OUTPUT]
        self._loss_of_step(x, y, sample_weight, False, teacher_outputs, student_outputs, extras)
        logs = self.compute_metrics(x, y, y_pred, sample_weight)
        return self.measured(logs, labels=self._has_hard_labels(y), teacher=with_teacher)

    def _loss_to_minimise(self, x, y, sample_weight, extras, teacher_outputs):
        """Run the student on a batch to train on; return the loss, and the output."""
        student_outputs = self.student_outputs(x, training=True)
        y_pred = student_outputs[FINAL_OUTPUT]
        self._check_first_batch(teacher_outputs[FINAL_OUTPUT], y_pred)
        loss = self._loss_of_step(x, y, sample_weight, True, teacher_outputs, student_outputs, extras)
        return loss, y_pred

    def _loss_of_step(self, x, y, sample_weight, training, teacher_outputs, student_outputs, extras):
        """Compute and record the loss, by an override of `compute_loss` that has Keras's arguments as well."""
        outputs = {"teacher_outputs": teacher_outputs, "student_outputs": student_outputs, "extras": extras}
        outputs = {name: value for name, value in outputs.items() if accepts(self.compute_loss, name)}
        loss = self.compute_loss(x, y, student_outputs[FINAL_OUTPUT], sample_weight, training=training, **outputs)
        self._record_loss(loss, x)
        return loss

    def compute_loss(
        self,
        x=None,
        y=None,
        y_pred=None,
        sample_weight=None,
        training=True,
        teacher_outputs=None,
        student_outputs=None,
        extras=None,
    ):
        """Compute the weighted sum of the hard and the soft terms.

        Args:
            x: A batch of inputs.
            y: Hard labels. Defaults to `None`, no hard term.
            y_pred: The student's outputs. Defaults to `None`, a forward pass.
            sample_weight: Weights of the samples, for every term. Defaults to `None`.
            training: Whether it is for training. If not, the soft terms are left out unless teacher outputs are given
                or there is no hard term. Defaults to `True`.
            teacher_outputs: What `teacher_outputs(x, extras)` returned. Defaults to `None`, an answer where needed.
            student_outputs: What `student_outputs(x, training)` returned. Defaults to `None`, likewise.
            extras: Dict of what else the batch carries, for the losses that name it (an `index` of each sample, say).
                Defaults to `None`.

        Returns:
            Float scalar; under `tf.distribute`, this replica's share of it.
        """
        y_pred = self(x, training=training) if y_pred is None else y_pred
        sample_weight = align_weights(sample_weight, y_pred)
        hard = self._compile_loss(y, y_pred, sample_weight) if self._has_hard_labels(y) else None
        soft = {}
        if training or teacher_outputs is not None or hard is None:
            teacher_outputs = self._teacher_says(x, extras) if teacher_outputs is None else teacher_outputs
            if student_outputs is None:
                whole = self._student_feature_extractor is None
                student_outputs = {FINAL_OUTPUT: y_pred} if whole else self.student_outputs(x, training)
            given = {"labels": y, "training": training, "extras": extras}
            soft = self.objective.soft_terms(teacher_outputs, student_outputs, sample_weight, **given)
            self._record_fidelity(teacher_outputs[FINAL_OUTPUT], y_pred, sample_weight)
        regularization = sum(ops.sum(loss) for loss in self.losses) / backend.replicas() if self.losses else None
        return self.objective.weighted_sum(hard, soft, regularization, batch_size(x))

    def _has_hard_labels(self, y):
        return y is not None and self._compile_loss is not None

    def _check_first_batch(self, teacher_outputs, student_outputs):
        """Refuse probabilities where logits should be, which no shape gives away. Costs one batch."""
        soft = any(getattr(loss, "compares_logits", False) for loss in self.distillation_losses)
        hard = any(loss.on_logits for loss in keras.tree.flatten(self.loss) if loss is not None)
        suspects = [
            (owner, output)
            for owner, outputs, concerned in (
                ("teacher", teacher_outputs, soft),
                ("student", student_outputs, soft or hard),
            )
            if concerned and not is_top_k(outputs)
            for output in keras.tree.flatten(outputs)
            if head_of(output)[0] == "linear" and output.shape[-1] != 1
        ]
        if not suspects:
            return
        found = ops.cond(
            ops.equal(self.optimizer.iterations, 0),
            lambda: [_several_probabilities(output) for _, output in suspects],
            lambda: [False for _ in suspects],
        )
        for (owner, _), wrong in zip(suspects, found, strict=True):
            guards.check(ops.logical_not(wrong), refusal(owner))

    # Training --------------------------------------------------------------------------------------------------------

    def compile(
        self, optimizer="adam", loss=None, *, fidelity=False, auto_scale_loss=True, jit_compile="auto", **kwargs
    ):
        """Configure the training.

        Args:
            optimizer: Optimizer of the student, by name or object. Defaults to `"adam"`.
            loss: Loss on the hard labels, or a nest with one for each output. A cross-entropy given by name is
                computed on the logits of the student, whatever its head. Defaults to `None`: soft targets alone.
                A sparse label of -1 stands for none: such samples count in the soft terms, not in this one or in
                metrics.
            fidelity: Whether to measure agreement with the teacher, in training and in evaluation; evaluation then
                runs the teacher and computes the whole loss, as it does for every `FidelityMetric` in `metrics`.
                Defaults to `False`.
            auto_scale_loss: Whether to scale the loss of a student in mixed float16. Defaults to `True`.
            jit_compile: As in `keras.Model.compile`. Defaults to `"auto"`.
            **kwargs: `metrics`, `weighted_metrics`, `loss_weights`, `run_eagerly`, `steps_per_execution`, as in
                `keras.Model.compile`.
        """
        if loss is not None and any(getattr(each, "fuses_head", False) for each in self.distillation_losses):
            fix = "It computes the hard labels as well, weighted by `student_loss_weight`."
            raise ValueError(expected("no loss beside one that never holds the logits", f"loss={loss!r}", fix))
        self.asked_jit_compile = jit_compile
        optimizer = keras.optimizers.get(optimizer)
        scaled = isinstance(optimizer, keras.optimizers.LossScaleOptimizer)
        if auto_scale_loss and not scaled and uses_float16(self.student):
            optimizer = keras.optimizers.LossScaleOptimizer(optimizer)
        if not all(layer.supports_jit for layer in self.teacher._flatten_layers()):
            if jit_compile is True:
                raise ValueError(expected("jit_compile=False with this teacher, which XLA cannot run", "True"))
            jit_compile = False
        self.fidelity = bool(fidelity)
        measured = [self.agreement] if fidelity else []
        for name in [name for name in ("metrics", "weighted_metrics") if name in kwargs]:
            of_fidelity, others = split_fidelity(kwargs[name])
            measured += of_fidelity
            kwargs[name] = labelled_only(others)
        self._fidelity_metrics = Untracked(measured)
        super().compile(optimizer, loss=on_logits(loss), auto_scale_loss=False, jit_compile=jit_compile, **kwargs)

    def fit(self, x=None, y=None, batch_size=None, epochs=1, verbose="auto", callbacks=None, **kwargs):
        """Train the student. See `keras.Model.fit`; without `y`, on the soft targets alone."""
        validation.check_not_empty(x)
        if hasattr(x, "element_spec"):
            kwargs.setdefault("shuffle", False)  # Keras would warn that it cannot shuffle a `tf.data.Dataset`.
        bookkeeping, watch = Bookkeeping(), InputWatch()
        x = x if hasattr(x, "element_spec") else watch.watch(x)
        if isinstance(callbacks, keras.callbacks.CallbackList):
            callbacks.callbacks.insert(0, bookkeeping)
            bookkeeping.set_model(self)
        else:
            # Before all others, so that what they save at the end of an epoch counts that epoch; then what moves
            # temperature and weights, which are saved with it.
            callbacks = sorted(keras.tree.flatten(callbacks or []), key=lambda each: not isinstance(each, Scheduler))
            callbacks[:0] = [bookkeeping, watch]
            if verbose != 0 and not any(isinstance(each, keras.callbacks.ProgbarLogger) for each in callbacks):
                callbacks.append(ProgressBar())
        self._build_optimizer()
        with guards.explained():
            return super().fit(x, y, batch_size, epochs, verbose, callbacks, **kwargs)

    def evaluate(self, x=None, *args, **kwargs):
        """Evaluate the student. See `keras.Model.evaluate`."""
        validation.check_not_empty(x)
        with guards.explained():
            logs = super().evaluate(x, *args, **kwargs)
        return self.in_order(logs) if isinstance(logs, dict) else logs

    def train_on_batch(self, *args, **kwargs):
        """Train the student on one batch. See `keras.Model.train_on_batch`."""
        with guards.explained():
            return super().train_on_batch(*args, **kwargs)


def _several_probabilities(output):
    return ops.logical_and(ops.prod(ops.shape(output)[:-1]) > 1, rows_are_probabilities(output))
