"""`kd.tune`: many short distillations, of which KerasTuner chooses what to try and what to train on."""

import json
import os
import pathlib

import keras

from keras_distill._core.messages import expected, unknown_name
from keras_distill.distiller.model import Distiller
from keras_distill.tuning.result import TuningResult
from keras_distill.tuning.space import Space

_REQUEST = "request.json"
_SEARCHES = ("bayesian", "hyperband", "random")


def tune(
    build,
    data,
    validation_data,
    *,
    space=None,
    objective="val_accuracy",
    epochs=9,
    search="hyperband",
    trials=10,
    optimizer=keras.optimizers.Adam,
    loss="sparse_categorical_crossentropy",
    metrics=("accuracy",),
    seed=0,
    directory="runs/tune",
    callbacks=(),
    verbose=0,
    **fit,
):
    """Search for the temperature, the weights and the learning rate that a validation split likes best.

    Every trial distils a student from the same initial weights. Hyperband, the default, trains many of them for a few
    epochs and goes on with the best third; the others take `trials` of them to the last epoch. A search that was
    interrupted goes on where it stopped. The curves and the values of all trials are written for TensorBoard
    (`tensorboard --logdir runs/tune/logs`; the tab HParams compares them).

    What to expect of each knob: the **temperature** says how much of the soft targets is about the unlikely classes.
    1 hides them, far above the spread of the logits all that is left is matching logits; small students do best in
    between, at 2 to 5, large ones hardly care above that. The **student_loss_weight**, that of the hard labels, helps
    where the teacher is wrong, and is best small: 0 to 0.3 where the teacher is good. The weight of a **feature
    loss** has no natural scale, since every method has its own: give it three decades. The **learning_rate** matters
    as much as all of them, and a search that leaves it fixed finds values that suit that one. Differences of the size
    of the spread over seeds are none: repeat the best few with other seeds before believing in them. The teacher runs
    in every step of every trial: with stored soft targets (`kd.targets`) it need not.

    Args:
        build: Function of no arguments that returns a new, uncompiled `Distiller` with a new student.
        data: What `fit` takes as `x`: a dataset of `(inputs, labels)`, or a pair of arrays `(x, y)`.
        validation_data: What the objective is measured on, as in `fit`: a part of the training data, never the test
            split, which a search would be fitted to.
        space: Dict of knob to `(low, high)` (on a logarithmic scale, but for `student_loss_weight`), a list of
            choices, or one number. Knobs are `"temperature"`, `"student_loss_weight"`, `"learning_rate"` and
            `"<name of a distillation loss>_weight"`. Defaults to `None`: temperature from 1 to 20, student loss weight
            from 0 to 0.9, learning rate from 0.0003 to 0.01.
        objective: Log of the validation to be best, such as `"val_loss"`, or a `keras_tuner.Objective` for one whose
            direction its name does not tell. Defaults to `"val_accuracy"`.
        epochs: Epochs of a trial that is trained to its end. Defaults to 9.
        search: `"hyperband"`, `"random"` or `"bayesian"`. Defaults to `"hyperband"`.
        trials: Number of trials, for searches other than Hyperband, which derives it from the epochs. Defaults to 10.
        optimizer: Function learning rate -> optimizer; called with no argument where the space leaves the learning
            rate out. Defaults to `keras.optimizers.Adam`.
        loss: Loss on the hard labels, as in `Distiller.compile`. Defaults to `"sparse_categorical_crossentropy"`.
        metrics: As in `Distiller.compile`. Defaults to `("accuracy",)`.
        seed: Seed of the search and of every student. Defaults to 0.
        directory: Folder to write: new, empty, or of the same search, which then goes on. Defaults to `"runs/tune"`.
        callbacks: Callbacks of every trial, copied for each. Defaults to none.
        verbose: 0 for silence, 1 for KerasTuner's account of every trial. Defaults to 0.
        **fit: Passed to `fit`: `batch_size`, `steps_per_epoch` and the like.

    Returns:
        A `keras_distill.tuning.TuningResult`.

    Raises:
        ImportError: If KerasTuner is missing.
        ValueError: If an argument is not what it should be.
        FileExistsError: If the folder holds something else than this search.

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
    ...     result = kd.tuning.tune(build, (x, y), (x, y), space=space, search="random", trials=1, epochs=1, directory=folder)
    >>> 1.0 < result.best["temperature"] < 4.0, result.best["student_loss_weight"]
    (True, 0.1)

    Reference:
        Li, Jamieson, DeSalvo, Rostamizadeh, Talwalkar, "Hyperband: A Novel Bandit-Based Approach to Hyperparameter
        Optimization", 2016, arXiv:1603.06560.
    """
    keras_tuner = _keras_tuner()
    from keras_distill.tuning.trials import Trials

    if search not in _SEARCHES:
        raise ValueError(unknown_name("search", search, _SEARCHES))
    for name, value in (("epochs", epochs), ("trials", trials)):
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            raise ValueError(expected(f"{name} to be a positive whole number", repr(value)))
    chosen = Space(space, _distiller_of(build))
    folder = _claimed(directory, {"space": chosen.ranges, "objective": str(objective), "search": search, "seed": seed})

    def compiled():
        return {"loss": _copied(loss), "metrics": _copied(list(metrics))}

    common = {"hypermodel": Trials(build, chosen, optimizer, compiled, seed), "objective": objective, "seed": seed}
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


def _keras_tuner():
    try:
        import keras_tuner
    except ImportError as error:
        fix = 'Install it: pip install "keras_distill[tune]"'
        raise ImportError(expected("KerasTuner, which searches", "none", fix)) from error
    return keras_tuner


def _copied(nest):
    """Copy losses and metrics: an object has the state of one trial."""
    kinds = (keras.losses.Loss, keras.metrics.Metric)
    return keras.tree.map_structure(lambda each: _copy(each) if isinstance(each, kinds) else each, nest)


def _copy(instance):
    return keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(instance))


def _distiller_of(build):
    distiller = build() if callable(build) else build
    if not callable(build) or not isinstance(distiller, Distiller):
        raise ValueError(expected("build to be a function of no arguments that returns a Distiller", repr(distiller)))
    return distiller


def _claimed(directory, request):
    """Return the folder of a search, with what was asked for in it; refuse one that holds something else."""
    folder = pathlib.Path(directory).expanduser().resolve()
    request = json.loads(json.dumps(request))
    if folder.is_dir() and any(folder.iterdir()):
        earlier = _earlier(folder / _REQUEST)
        if earlier != request:
            fix = "Choose another directory, or remove it."
            raise FileExistsError(expected(f"a new folder, or one of this search: {request}", f"{folder}", fix))
        return folder
    folder.mkdir(parents=True, exist_ok=True)
    beside = folder / f"{_REQUEST}.partial"
    beside.write_text(json.dumps(request, indent=1) + "\n", encoding="utf-8")
    os.replace(beside, folder / _REQUEST)
    return folder


def _earlier(path):
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
