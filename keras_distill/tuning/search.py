"""The search: many short distillations with the values that KerasTuner chooses."""

import json
import math
import os
import pathlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import keras

from keras_distill._core import extras
from keras_distill._core.checked import checked
from keras_distill._core.checks import check_choice, check_whole_number
from keras_distill._core.messages import expected
from keras_distill.distiller import Distiller
from keras_distill.tuning.result import TuningResult
from keras_distill.tuning.space import Space

_REQUEST = "request.json"
_SEARCHES = ("bayesian", "hyperband", "random")


@checked(search=Any, epochs=Any, trials=Any, space=Any, seed=(0, math.inf))
def tune(
    build: Callable[[], Distiller],
    data: Any,
    validation_data: Any,
    *,
    space: Mapping[str, Any] | None = None,
    objective: Any = "val_accuracy",
    epochs: int = 9,
    search: str = "hyperband",
    trials: int = 10,
    optimizer: Callable[..., keras.optimizers.Optimizer] = keras.optimizers.Adam,
    loss: Any = "sparse_categorical_crossentropy",
    metrics: Sequence[Any] = ("accuracy",),
    seed: int = 0,
    directory: str | os.PathLike = "runs/tune",
    callbacks: Sequence[keras.callbacks.Callback] = (),
    verbose: int = 0,
    **fit: Any,
) -> TuningResult:
    """Search for the temperature, the weights and the learning rate that do best on a validation split.

    Every trial distils a student from the same initial weights. Hyperband, the default, trains many trials for a few
    epochs and continues with the best third; the other searches train each of `trials` trials for all epochs. An
    interrupted search resumes where it stopped. The curves and the values of all trials are written for TensorBoard
    (`tensorboard --logdir runs/tune/logs`; the tab HParams compares them).

    What to expect of each knob: the **temperature** decides how much the unlikely classes count in the soft targets.
    At 1 they hardly count; far above the spread of the logits, the loss only matches logits. Small students do best in
    between, at 2 to 5; large ones depend little on it above that. The **student_loss_weight**, that of the hard
    labels, helps where the teacher is wrong, and is best small: 0 to 0.3 for a good teacher. The weight of a **feature
    loss** has no natural scale, since every method has its own: search three decades. The **learning_rate** matters as
    much as all of them, and a search with a fixed one finds values that suit it. Differences within the spread over
    seeds are noise: repeat the best few trials with other seeds before you rely on them. The teacher runs in every
    step of every trial; stored soft targets (`kd.targets`) avoid this.

    Args:
        build: Function of no arguments that returns a new, uncompiled `Distiller` with a new student.
        data: Training data, a dataset of `(inputs, labels)` or a pair of arrays `(x, y)`.
        validation_data: Data for the objective, as in `fit`: a part of the training data, never the test split, which
            the search would overfit.
        space: Dict of knob to `(low, high)` (on a logarithmic scale, except for `student_loss_weight`), a list of
            choices, or one number. Knobs are `"temperature"`, `"student_loss_weight"`, `"learning_rate"` and
            `"<name of a distillation loss>_weight"`. Defaults to `None`: temperature from 1 to 20, student loss weight
            from 0 to 0.9, learning rate from 0.0003 to 0.01.
        objective: Validation log to optimize, such as `"val_loss"`, or a `keras_tuner.Objective` if its name does not
            imply a direction. Defaults to `"val_accuracy"`.
        epochs: Number of epochs of a full trial. Defaults to 9.
        search: `"hyperband"`, `"random"` or `"bayesian"`. Defaults to `"hyperband"`.
        trials: Number of trials of a random or Bayesian search; Hyperband derives it from the epochs. Defaults to 10.
        optimizer: Function learning rate -> optimizer; called without argument if the space has no learning rate.
            Defaults to `keras.optimizers.Adam`.
        loss: Loss on the hard labels, as in `Distiller.compile`. Defaults to `"sparse_categorical_crossentropy"`.
        metrics: As in `Distiller.compile`. Defaults to `("accuracy",)`.
        seed: Seed of the search and of every student. Defaults to 0.
        directory: Folder to write: new, empty, or of the same search, which then resumes. Defaults to `"runs/tune"`.
        callbacks: Callbacks of every trial, copied for each. Defaults to `()`.
        verbose: 0 for silence, 1 for KerasTuner's report on every trial. Defaults to 0.
        **fit: Passed to `fit`, such as `batch_size` and `steps_per_epoch`.

    Returns:
        A `keras_distill.tuning.TuningResult`.

    Raises:
        ImportError: If KerasTuner is missing.
        ValueError: If an argument is invalid.
        FileExistsError: If the folder holds anything other than this search.

    Example:

    >>> import tempfile
    >>> import numpy as np
    >>> import keras_distill as kd
    >>> def model(width):
    ...     return keras.Sequential([keras.Input((4,)), keras.layers.Dense(width), keras.layers.Dense(3)])
    >>> teacher, x, y = model(32), np.random.rand(32, 4), np.arange(32) % 3
    >>> def build():
    ...     return kd.Distiller(teacher, model(4), kd.losses.LogitsDistillation(temperature=4.0))
    >>> space = {"temperature": (1.0, 4.0), "student_loss_weight": 0.1}
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     options = {"search": "random", "trials": 1, "epochs": 1, "directory": folder}
    ...     result = kd.tuning.tune(build, (x, y), (x, y), space=space, **options)
    >>> 1.0 < result.best["temperature"] < 4.0, result.best["student_loss_weight"]
    (True, 0.1)

    Reference:
        Li, Jamieson, DeSalvo, Rostamizadeh, Talwalkar, "Hyperband: A Novel Bandit-Based Approach to Hyperparameter
        Optimization", 2016, arXiv:1603.06560.
    """
    keras_tuner = _import_keras_tuner()
    from keras_distill.tuning.trials import Trials

    check_choice("search", search, _SEARCHES)
    epochs, trials = check_whole_number("epochs", epochs), check_whole_number("trials", trials)
    chosen = Space(space, _build_first(build))
    request = {"space": chosen.ranges, "objective": str(objective), "search": search, "seed": seed}
    folder = _claim_folder(directory, request)

    def compile_arguments() -> dict[str, Any]:
        return {"loss": _copy_objects(loss), "metrics": _copy_objects(list(metrics))}

    hypermodel = Trials(build, chosen, optimizer, compile_arguments, seed)
    common: dict[str, Any] = {"hypermodel": hypermodel, "objective": objective, "seed": seed}
    common |= {"directory": str(folder.parent), "project_name": folder.name}
    if search == "hyperband":
        tuner = keras_tuner.Hyperband(**common, max_epochs=epochs)
    else:
        kinds = {"random": keras_tuner.RandomSearch, "bayesian": keras_tuner.BayesianOptimization}
        tuner = kinds[search](**common, max_trials=trials)
        fit["epochs"] = epochs
    board = keras.callbacks.TensorBoard(str(folder / "logs"), write_graph=False)
    x, y = data if isinstance(data, (tuple, list)) else (data, None)
    tuner.search(x, y, validation_data=validation_data, callbacks=[*callbacks, board], verbose=verbose, **fit)
    return TuningResult(tuner, list(chosen.ranges))


def _import_keras_tuner() -> Any:
    try:
        import keras_tuner
    except ImportError as error:
        raise extras.missing("KerasTuner, which searches", error, "tune") from error
    return keras_tuner


def _copy_objects(nest: Any) -> Any:
    """Return losses and metrics with objects copied, since their state belongs to one trial."""

    def copy(each: Any) -> Any:
        if not isinstance(each, (keras.losses.Loss, keras.metrics.Metric)):
            return each
        return keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(each))

    return keras.tree.map_structure(copy, nest)


def _build_first(build: Callable[[], Distiller]) -> Distiller:
    distiller = build() if callable(build) else build
    if not callable(build) or not isinstance(distiller, Distiller):
        raise ValueError(expected("build to be a function of no arguments that returns a Distiller", repr(distiller)))
    return distiller


def _claim_folder(directory: str | os.PathLike, request: dict[str, Any]) -> pathlib.Path:
    """Return the folder of a search after recording the request in it; refuse a folder that holds anything else."""
    folder = pathlib.Path(directory).expanduser().resolve()
    request = json.loads(json.dumps(request))
    if folder.is_dir() and any(folder.iterdir()):
        if _read_request(folder / _REQUEST) != request:
            fix = "Choose another directory, or remove it."
            raise FileExistsError(expected(f"a new folder, or one of this search: {request}", f"{folder}", fix))
        return folder
    folder.mkdir(parents=True, exist_ok=True)
    beside = folder / f"{_REQUEST}.partial"
    beside.write_text(json.dumps(request, indent=1) + "\n", encoding="utf-8")
    os.replace(beside, folder / _REQUEST)
    return folder


def _read_request(path: pathlib.Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
