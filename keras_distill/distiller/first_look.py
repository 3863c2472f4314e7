"""What the first labelled samples say about a teacher: that it knows no more than chance, or less than the student."""

import warnings
from typing import Any

import keras
import numpy as np

from keras_distill._core.models import run
from keras_distill.answers.answer import dense_logits
from keras_distill.distiller.first_batch import are_probabilities
from keras_distill.features.taps import FINAL_OUTPUT
from keras_distill.targets.teacher import StoredTeacher
from keras_distill.teachers.foreign import ForeignTeacher
from keras_distill.teachers.running import RunningTeacher

_SAMPLES, _FEWEST = 128, 64
_OTHERS = 0.25  # Least share of the labels outside the most frequent class: without them, chance is as good.
_BETTER = 0.2
_UNIFORM = 1.1


class DoubtfulTeacherWarning(UserWarning):
    """A teacher knows no more of the first labels than chance, or less than the student."""


def look_at_teacher(distiller: Any, x: Any, y: Any, batch_size: Any = None) -> None:
    """Warn, before the first epoch, if a teacher's answers to the first samples make it doubtful that it can teach.

    At most 128 samples are asked for, outside the compiled step, and only where it costs nothing else: arrays with
    class labels, a Keras model as the teacher. Fewer than 64 labels show nothing.

    Args:
        distiller: A compiled `Distiller`, before its first step.
        x: Inputs, an array or a nest of arrays.
        y: Labels, sparse or one-hot.
        batch_size: Number of samples to ask for at once. Defaults to `None`, 32.
    """
    if not (_are_arrays(x) and _are_arrays(y) and _can_be_asked(distiller)):
        return
    try:
        x = keras.tree.map_structure(lambda each: each[:_SAMPLES], x)
        running = RunningTeacher(distiller.teacher)
        teacher = _outputs(lambda part: running.answer(part)[FINAL_OUTPUT], x, batch_size)
        labels = None if teacher is None else _sparse(np.asarray(y[:_SAMPLES]), teacher.shape[-1])
        if labels is None or (labels >= 0).sum() < _FEWEST:
            return
        student = _outputs(lambda part: run(distiller.student, part, False), x, batch_size)
    except Exception:  # What fails here fails in the step as well, where the message says why.
        return
    labelled = labels >= 0
    if student is None or student.shape != teacher.shape:
        return
    found = find_doubt(labels[labelled], teacher[labelled], student[labelled])
    if found:
        warnings.warn(f"Check the teacher: {found} {_range_of(x)}", DoubtfulTeacherWarning, stacklevel=3)


def _can_be_asked(distiller):
    """Return whether this is the first training, of Keras models that have weights, whose classes a loss compares."""
    teacher, losses = distiller.teacher, distiller.distillation_losses
    live = not isinstance(teacher, (StoredTeacher, ForeignTeacher)) and teacher.built and distiller.student.built
    distributed = getattr(distiller, "_is_distributed", False)
    first = not distributed and int(distiller.epochs_trained.numpy()) == 0
    return live and first and any(getattr(loss, "compares_logits", False) for loss in losses)


def find_doubt(labels: Any, teacher: Any, student: Any) -> str | None:
    """Return what is wrong with a teacher, by its answers to labelled samples, or `None`.

    Args:
        labels: Int array `[samples]`.
        teacher: Float array `[samples, classes]`, logits or probabilities of the teacher.
        student: That of the student.

    Example:

    >>> labels, fresh = np.arange(90) % 3, np.zeros((90, 3))
    >>> find_doubt(labels, np.eye(3)[labels], fresh)
    >>> find_doubt(labels, np.eye(3)[np.arange(90) // 30], fresh)
    'it finds the class of 30 of the first 90 samples, no more than by chance. Is it trained, ...
    """
    classes = teacher.shape[-1]
    if np.bincount(labels).max() > (1.0 - _OTHERS) * len(labels):
        return None
    right, others = teacher.argmax(-1) == labels, student.argmax(-1) == labels
    count = f"{right.sum()} of the first {len(labels)} samples"
    if _is_better(others, right) and not _is_chance(labels, student):
        return (
            f"it finds the class of {count}, and the student, before its first step, of {others.sum()}. "
            "Are the two swapped, or are the teacher's inputs not scaled as in its training?"
        )
    if _is_chance(labels, teacher):
        return (
            f"it finds the class of {count}, no more than by chance. Is it trained, are its inputs scaled as in its "
            "training, and do the labels number the classes in its order?"
        )
    if _probabilities(teacher).max(-1).mean() * classes < _UNIFORM:
        return "its soft targets are close to uniform, and teach little. Does it end in two softmaxes?"
    return None


def _is_chance(labels, outputs):
    """Return whether outputs match labels no more often than if they were shuffled."""
    found, classes = outputs.argmax(-1), outputs.shape[-1]
    shares = [np.bincount(each, minlength=classes) / len(labels) for each in (labels, found)]
    by_chance = float(shares[0] @ shares[1])
    return (found == labels).mean() <= by_chance + np.sqrt(by_chance * (1.0 - by_chance) / len(labels))


def _is_better(one, other):
    """Return whether one of two models is right where the other is wrong, far more often than by chance."""
    wins, losses = (one & ~other).sum(), (other & ~one).sum()
    return wins - losses > max(3.0 * np.sqrt(wins + losses), _BETTER * len(one))


def _probabilities(output):
    if bool(are_probabilities(keras.ops.convert_to_tensor(output))):
        return output
    powers = np.exp(output - output.max(-1, keepdims=True))
    return powers / powers.sum(-1, keepdims=True)


def _are_arrays(nest):
    leaves = keras.tree.flatten(nest)
    return bool(leaves) and all(isinstance(each, np.ndarray) or keras.ops.is_tensor(each) for each in leaves)


def _outputs(function, x, batch_size):
    """Return the rows of a model's only output `[samples, classes]`, `None` if it has others."""
    size, rows = batch_size or 32, []
    for start in range(0, len(keras.tree.flatten(x)[0]), size):
        part = keras.tree.map_structure(lambda each, at=start: keras.ops.convert_to_tensor(each[at : at + size]), x)
        outputs = dense_logits(function(part))
        if len(outputs) != 1 or len(outputs[0].shape) != 2 or outputs[0].shape[-1] < 2:
            return None
        rows.append(keras.ops.convert_to_numpy(keras.ops.cast(outputs[0], "float32")))
    return np.concatenate(rows)


def _sparse(labels, classes):
    """Return labels as class numbers, -1 for a sample without one; `None` if they are no classes."""
    if labels.ndim == 2 and labels.shape[-1] == classes:
        one_hot = ((labels == 0) | (labels == 1)).all() and (labels.sum(-1) == 1).all()
        return labels.argmax(-1) if one_hot else None
    labels = labels[:, 0] if labels.ndim == 2 and labels.shape[-1] == 1 else labels
    if labels.ndim != 1 or (labels != np.floor(labels)).any() or labels.max() >= classes:
        return None
    return labels.astype("int64")


def _range_of(x):
    first = np.asarray(keras.tree.flatten(x)[0])
    return f"(Its inputs are from {first.min():g} to {first.max():g}.)" if first.dtype.kind in "fiu" else ""
