"""The three trainings of a run: the teacher, the student alone, and the same student distilled."""

import contextlib
import dataclasses
import hashlib
import pathlib
import time
from collections.abc import Callable, Sequence
from typing import Any

import keras

from keras_distill import losses
from keras_distill.callbacks import TemperatureScheduler
from keras_distill.data import Batches, Data
from keras_distill.distiller import Distiller
from keras_distill.distribution.training import DistributedModel
from keras_distill.recipes.progress import Progress
from keras_distill.recipes.recipe import Recipe

_VALIDATION_BATCH = 500
_STEPS_PER_CALL = (
    32  # Each call of the compiled step has an overhead of milliseconds, more than a small student's step.
)


@dataclasses.dataclass(frozen=True)
class Trained:
    """Hold a model at the best epoch on the validation split, and the record of its training."""

    model: keras.Model
    initial_weights: str
    history: dict[str, list[float]]
    best_epoch: int
    validation_accuracy: float
    seconds: float

    def record(self) -> dict[str, Any]:
        """Return all attributes except the model, for `results.json`."""
        record = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        return {name: value for name, value in record.items() if name != "model"}


class Trainer:
    """Train the models of one recipe on one set of data.

    Args:
        recipe: A `Recipe`.
        data: A `Data`; its test split is not read.
        logs: Folder for TensorBoard, a `pathlib.Path`.
        progress: A `Progress`.
        strategy: A `tf.distribute.Strategy`. Its replicas share each batch, and the trained models do not belong to
            the strategy. Defaults to `None`, a single device.
    """

    def __init__(
        self, recipe: Recipe, data: Data, logs: pathlib.Path, progress: Progress, strategy: Any = None
    ) -> None:
        self._recipe, self._logs, self._progress = recipe, logs, progress
        self._data, self._transfer_set = data, data.first(recipe.transfer_samples)
        self._strategy = strategy if strategy is not None and strategy.num_replicas_in_sync > 1 else None

    def teacher(self, seed: int) -> Trained:
        """Train the teacher; return a `Trained`."""
        teacher = self._build(self._recipe.teacher, seed)
        trained = self._fit(self._trainable(teacher), teacher, self._data, "teacher", self._recipe.teacher_epochs, seed)
        return self._leave_strategy(trained, self._recipe.teacher)

    def alone(self, seed: int) -> Trained:
        """Train the student of a seed on hard labels alone; return a `Trained`."""
        student, title = self._build(self._recipe.student, seed), f"student alone, seed {seed}"
        epochs = self._recipe.student_epochs
        trained = self._fit(self._trainable(student), student, self._transfer_set, title, epochs, seed)
        return self._leave_strategy(trained, self._recipe.student)

    def distilled(self, seed: int, teacher: keras.Model) -> Trained:
        """Train the student of a seed on the teacher's soft targets and the hard labels; return a `Trained`."""
        student, epochs = self._build(self._recipe.student, seed), self._recipe.student_epochs
        schedule = self._recipe.temperature(epochs)
        with self._scope():
            distiller = Distiller(
                teacher=self._on_replicas(teacher),
                student=student,
                distillation_losses=losses.LogitsDistillation(temperature=schedule(0)),
                student_loss_weight=self._recipe.student_loss_weight,
            )
        title, callbacks = f"student distilled, seed {seed}", [TemperatureScheduler(schedule)]
        trained = self._fit(distiller, student, self._transfer_set, title, epochs, seed, callbacks)
        return self._leave_strategy(trained, self._recipe.student)

    def _scope(self) -> contextlib.AbstractContextManager:
        return self._strategy.scope() if self._strategy else contextlib.nullcontext()

    def _build(self, build: Callable[[], keras.Model], seed: int) -> keras.Model:
        """Build a model with the initial weights of a seed."""
        keras.utils.set_random_seed(seed)
        with self._scope():
            return build()

    def _trainable(self, model: keras.Model) -> keras.Model:
        """Return the model to fit on hard labels: the model, or under a strategy one that wraps it."""
        if self._strategy is None:
            return model
        with self._scope():
            return DistributedModel(model)

    def _on_replicas(self, teacher: keras.Model) -> keras.Model:
        """Return the teacher; under a strategy a copy on every replica, or all replicas would read the first one's."""
        if self._strategy is None:
            return teacher
        copy = self._recipe.teacher()
        copy.set_weights(teacher.get_weights())
        return copy

    def _leave_strategy(self, trained: Trained, build: Callable[[], keras.Model]) -> Trained:
        """Return a `Trained` whose model can be measured and exported like any other."""
        if self._strategy is None:
            return trained
        model = build()
        model.set_weights(trained.model.get_weights())
        return dataclasses.replace(trained, model=model)

    def _fit(
        self,
        trained: Any,
        model: keras.Model,
        data: Data,
        title: str,
        epochs: int,
        seed: int,
        callbacks: Sequence[keras.callbacks.Callback] = (),
    ) -> Trained:
        """Fit `trained`, which is `model` or wraps it, on the batches and for the steps that every student gets."""
        keras.utils.set_random_seed(seed)
        initial_weights = fingerprint(model)
        recipe = self._recipe
        # Restores the best epoch; with that patience it never stops early.
        best: Any = keras.callbacks.EarlyStopping(
            "val_accuracy", mode="max", patience=epochs + 1, restore_best_weights=True
        )
        batches, validation, loss = self._batches(data, seed, views=recipe.views if title != "teacher" else None)
        decay: Any = keras.optimizers.schedules.CosineDecay(recipe.learning_rate, epochs * len(batches))
        with self._scope():
            trained.compile(
                optimizer=keras.optimizers.Adam(decay),
                loss=loss,
                metrics=["accuracy"],
                steps_per_execution=min(len(batches), _STEPS_PER_CALL),
            )
        logs = self._logs / title.replace(", ", "/").replace(" ", "_")
        board = keras.callbacks.TensorBoard(str(logs), write_graph=False)
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
        curves = {name: [float(value) for value in values] for name, values in history.history.items()}
        return Trained(model, initial_weights, curves, best.best_epoch, float(best.best), seconds)

    def _batches(self, data: Data, seed: int, views: Callable | None) -> tuple[Any, tuple[Any, Any], keras.losses.Loss]:
        """Return the training batches, the validation split, and the loss for their labels.

        Views give labels as probabilities.
        """
        recipe, (train_x, train_y), (x, y) = self._recipe, data.train, data.validation
        if views is None:
            batches = Batches(train_x, train_y, recipe.batch_size, seed=seed, shift=recipe.shift, flip=recipe.flip)
            return batches, (x, y), keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        shares = keras.utils.to_categorical(y, len(data.class_names))
        batches = views(train_x, train_y, recipe.batch_size, seed)
        return batches, (x, shares), keras.losses.CategoricalCrossentropy(from_logits=True)


def fingerprint(model: keras.Model) -> str:
    """Return the SHA-256 of a model's weights; equal weights have equal fingerprints."""
    digest = hashlib.sha256()
    for weights in model.get_weights():
        digest.update(weights.tobytes())
    return digest.hexdigest()
