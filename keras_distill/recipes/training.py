"""The three trainings of a run: a teacher, a student alone, the same student distilled."""

import dataclasses
import hashlib
import time

import keras

from keras_distill.callbacks import TemperatureScheduler
from keras_distill.data import Batches
from keras_distill.distiller import Distiller
from keras_distill.losses import LogitsDistillation

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
    """

    def __init__(self, recipe, data, logs, progress):
        self._recipe, self._logs, self._progress = recipe, logs, progress
        self._data, self._transfer_set = data, data.first(recipe.transfer_samples)

    def teacher(self, seed):
        """Train the teacher; return a `Trained`."""
        keras.utils.set_random_seed(seed)
        teacher = self._recipe.teacher()
        return self._fit(teacher, teacher, self._data, "teacher", self._recipe.teacher_epochs, seed)

    def new_student(self, seed):
        """Build the student with the initial weights of a seed; return it."""
        keras.utils.set_random_seed(seed)
        return self._recipe.student()

    def alone(self, seed):
        """Train the student of a seed on the hard labels alone; return a `Trained`."""
        student = self.new_student(seed)
        title = f"student alone, seed {seed}"
        return self._fit(student, student, self._transfer_set, title, self._recipe.student_epochs, seed)

    def distilled(self, seed, teacher):
        """Train the student of a seed on the teacher's soft targets and the hard labels; return a `Trained`."""
        student, epochs = self.new_student(seed), self._recipe.student_epochs
        schedule = self._recipe.temperature(epochs)
        distiller = Distiller(
            teacher=teacher,
            student=student,
            distillation_losses=LogitsDistillation(temperature=schedule(0)),
            student_loss_weight=self._recipe.student_loss_weight,
        )
        title, callbacks = f"student distilled, seed {seed}", [TemperatureScheduler(schedule)]
        return self._fit(distiller, student, self._transfer_set, title, epochs, seed, callbacks)

    def _fit(self, trained, model, data, title, epochs, seed, callbacks=()):
        """Fit `trained`, which is `model` or holds it. Whatever is fitted gets the same batches and the same steps."""
        keras.utils.set_random_seed(seed)
        initial_weights = fingerprint(model)
        recipe, best = self._recipe, _BestEpoch(epochs)
        batches, validation, loss = self._batches(data, seed, views=recipe.views if title != "teacher" else None)
        decay = keras.optimizers.schedules.CosineDecay(recipe.learning_rate, epochs * len(batches))
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
