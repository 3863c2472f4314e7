"""The three trainings of a run: a teacher, a student alone, the same student distilled."""

import contextlib
import dataclasses
import hashlib
import time

import keras

from keras_distill.callbacks.temperature_scheduler import TemperatureScheduler
from keras_distill.data.batches import Batches
from keras_distill.distiller.model import Distiller
from keras_distill.distribution.training import DistributedModel
from keras_distill.losses.logits.soft_targets import LogitsDistillation

_VALIDATION_BATCH = 500
_STEPS_PER_CALL = 32  # A call of the compiled step costs milliseconds, more than a small student's step.


@dataclasses.dataclass(frozen=True)
class Trained:
    """Hold a model at its best epoch, as the validation split sees it, and how it got there."""

    model: keras.Model
    initial_weights: str
    history: dict
    best_epoch: int
    validation_accuracy: float
    seconds: float

    def record(self):
        """Return all but the model, for `results.json`."""
        record = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        return {name: value for name, value in record.items() if name != "model"}


class Trainer:
    """Train the models of one recipe on one set of data.

    Args:
        recipe: A `Recipe`.
        data: A `Data`; its test split is not looked at.
        logs: Folder for TensorBoard, a `pathlib.Path`.
        progress: A `Progress`.
        strategy: A `tf.distribute.Strategy`; batches are then those of all replicas together, and the models that
            come out belong to none. Defaults to `None`, a single device.
    """

    def __init__(self, recipe, data, logs, progress, strategy=None):
        self._recipe, self._logs, self._progress = recipe, logs, progress
        self._data, self._transfer_set = data, data.first(recipe.transfer_samples)
        self._strategy = strategy if strategy is not None and strategy.num_replicas_in_sync > 1 else None

    def teacher(self, seed):
        """Train the teacher; return a `Trained`."""
        teacher = self._built(self._recipe.teacher, seed)
        trained = self._fit(self._alone(teacher), teacher, self._data, "teacher", self._recipe.teacher_epochs, seed)
        return self._of_no_strategy(trained, self._recipe.teacher)

    def alone(self, seed):
        """Train the student of a seed on the hard labels alone; return a `Trained`."""
        student, title = self._built(self._recipe.student, seed), f"student alone, seed {seed}"
        epochs = self._recipe.student_epochs
        trained = self._fit(self._alone(student), student, self._transfer_set, title, epochs, seed)
        return self._of_no_strategy(trained, self._recipe.student)

    def distilled(self, seed, teacher):
        """Train the student of a seed on the teacher's soft targets and the hard labels; return a `Trained`."""
        student, epochs = self._built(self._recipe.student, seed), self._recipe.student_epochs
        schedule = self._recipe.temperature(epochs)
        with self._scope():
            distiller = Distiller(
                teacher=self._on_replicas(teacher),
                student=student,
                distillation_losses=LogitsDistillation(temperature=schedule(0)),
                student_loss_weight=self._recipe.student_loss_weight,
            )
        title, callbacks = f"student distilled, seed {seed}", [TemperatureScheduler(schedule)]
        trained = self._fit(distiller, student, self._transfer_set, title, epochs, seed, callbacks)
        return self._of_no_strategy(trained, self._recipe.student)

    def _scope(self):
        return self._strategy.scope() if self._strategy else contextlib.nullcontext()

    def _built(self, build, seed):
        """Build a model with the initial weights of a seed."""
        keras.utils.set_random_seed(seed)
        with self._scope():
            return build()

    def _alone(self, model):
        """Return what trains a model on hard labels: the model, or under a strategy one that holds it."""
        if self._strategy is None:
            return model

        with self._scope():
            return DistributedModel(model)

    def _on_replicas(self, teacher):
        """Return the teacher; under a strategy a copy on every replica, which would ask the first one's otherwise."""
        if self._strategy is None:
            return teacher
        copy = self._recipe.teacher()
        copy.set_weights(teacher.get_weights())
        return copy

    def _of_no_strategy(self, trained, build):
        """Return a `Trained` whose model can be measured and exported like any other."""
        if self._strategy is None:
            return trained
        model = build()
        model.set_weights(trained.model.get_weights())
        return dataclasses.replace(trained, model=model)

    def _fit(self, trained, model, data, title, epochs, seed, callbacks=()):
        """Fit `trained`, which is `model` or holds it. Whatever is fitted gets the same batches and the same steps."""
        keras.utils.set_random_seed(seed)
        initial_weights = fingerprint(model)
        recipe, best = self._recipe, _BestEpoch(epochs)
        batches, validation, loss = self._batches(data, seed, views=recipe.views if title != "teacher" else None)
        decay = keras.optimizers.schedules.CosineDecay(recipe.learning_rate, epochs * len(batches))
        with self._scope():
            trained.compile(
                optimizer=keras.optimizers.Adam(decay),
                loss=loss,
                metrics=["accuracy"],
                steps_per_execution=min(len(batches), _STEPS_PER_CALL),
            )
        logs = self._logs / title.replace(", ", "/").replace(" ", "_")
        board = keras.callbacks.TensorBoard(logs, write_graph=False)
        start = time.perf_counter()
        history = trained.fit(
            batches,
            validation_data=validation,
            validation_batch_size=_VALIDATION_BATCH,
            epochs=epochs,
            shuffle=False,
            verbose=0,
            callbacks=[*callbacks, board, best, *self._progress.training(title, epochs)],
        )
        seconds = time.perf_counter() - start
        return Trained(model, initial_weights, _plain(history.history), best.best_epoch, float(best.best), seconds)

    def _batches(self, data, seed, views):
        """Return what to learn from, what to choose on, and the loss on its labels, which views give by shares."""
        recipe, (x, y) = self._recipe, data.validation
        if views is None:
            batches = Batches(*data.train, recipe.batch_size, seed=seed, shift=recipe.shift, flip=recipe.flip)
            return batches, (x, y), keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        shares = keras.utils.to_categorical(y, len(data.class_names))
        batches = views(*data.train, recipe.batch_size, seed)
        return batches, (x, shares), keras.losses.CategoricalCrossentropy(from_logits=True)


class _BestEpoch(keras.callbacks.EarlyStopping):
    """Keep the best epoch and stop at none."""

    def __init__(self, epochs):
        super().__init__("val_accuracy", mode="max", patience=epochs + 1, restore_best_weights=True)


def fingerprint(model):
    """Return the SHA-256 of a model's weights, by which equal ones are known."""
    digest = hashlib.sha256()
    for weights in model.get_weights():
        digest.update(weights.tobytes())
    return digest.hexdigest()


def _plain(history):
    return {name: [float(value) for value in values] for name, values in history.items()}
