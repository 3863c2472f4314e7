"""How far to trust a teacher: leaving out, weighing down or correcting doubtful soft targets."""

from typing import Any

import keras
from keras import ops

from keras_distill._core.arrays import Axes, check_axes
from keras_distill._core.checked import checked
from keras_distill._core.checks import check_choice, check_number
from keras_distill.answers.answer import Answer, Logits, TemperedLogits
from keras_distill.losses.base import class_indices
from keras_distill.teachers.combined import as_logits
from keras_distill.teachers.log_space import log_probabilities

CONTRADICTING = ("keep", "replace", "ignore")
"""What to do with soft targets that contradict the label."""

LOW_CONFIDENCE = ("ignore", "weigh")
"""What to do with soft targets of low confidence."""


@keras.saving.register_keras_serializable(package="keras_distill")
class Trust:
    """Choose which of a teacher's soft targets a student learns from.

    The teacher's confidence in a sample is its largest probability at T = 1. The teacher contradicts a label that is
    not its most probable class; it never contradicts a missing label (below zero).

    By default every soft target is used, because leaving some out has a price:

    - Confidence is not correctness. Most networks are overconfident, above all on unfamiliar inputs: a bound on
      confidence keeps their confident errors and drops the honest doubts of a calibrated teacher. Calibrate first, and
      check how many samples a bound leaves.
    - Samples of low confidence are the hard ones. A student that never sees them learns the easy part of the data.
    - Distillation adds to labels what the teacher knows beyond them, most of all where it doubts. If the labels have
      errors, a contradiction may be a correction, which `"ignore"` and `"replace"` throw away.

    Args:
        min_confidence: Confidence from 0.0 to 1.0 below which a soft target is doubtful. Defaults to 0.0: never.
        contradicting: What to do with soft targets that contradict the label: `"keep"` them; `"ignore"` them, with
            weight 0; `"replace"` them, exchanging the probabilities of the label and of the most probable class.
            Defaults to `"keep"`.
        low_confidence: What to do with doubtful soft targets: `"ignore"` them, with weight 0, or `"weigh"` them by
            `confidence / min_confidence`. Defaults to `"ignore"`.

    Raises:
        ValueError: If an argument is not one of these.

    Example:

    >>> import numpy as np
    >>> logits = np.log([[0.9, 0.1], [0.6, 0.4], [0.2, 0.8]])
    >>> Trust(min_confidence=0.75).weights(logits).numpy().tolist()
    [1.0, 0.0, 1.0]
    >>> Trust(contradicting="ignore").weights(logits, np.array([0, 0, 0])).numpy().tolist()
    [1.0, 1.0, 0.0]
    >>> ops.softmax(Trust(contradicting="replace").correct(logits, np.array([0, 0, 0]))).numpy().round(2).tolist()
    [[0.9, 0.1], [0.6, 0.4], [0.8, 0.2]]
    """

    def __init__(self, min_confidence: float = 0.0, contradicting: str = "keep", low_confidence: str = "ignore"):
        self.min_confidence = check_number("min_confidence", min_confidence, 0.0, 1.0)
        self.contradicting = check_choice("contradicting", contradicting, CONTRADICTING)
        self.low_confidence = check_choice("low_confidence", low_confidence, LOW_CONFIDENCE)

    @property
    def needs_labels(self) -> Any:
        """Whether labels make a difference."""
        return self.contradicting != "keep"

    def weights(self, teacher_logits: Any, labels: Any = None) -> Any:
        """Return a weight from 0.0 to 1.0 for each soft target, see `trust_weights`."""
        return trust_weights(teacher_logits, labels, **self.get_config())

    def correct(self, teacher_logits: Any, labels: Any = None) -> Any:
        """Return the logits to learn from: `corrected` ones if `contradicting="replace"` and there are labels.

        Args:
            teacher_logits: Float tensor `[batch, ..., classes]`, or an `Answer`.
            labels: Hard labels `[batch, ...]`, or `None`.

        Returns:
            What was given, a tensor or an `Answer`, corrected.
        """
        replaced = self.contradicting == "replace" and labels is not None
        return corrected(teacher_logits, labels) if replaced else teacher_logits

    def get_config(self) -> dict[str, Any]:
        names = ("min_confidence", "contradicting", "low_confidence")
        return {name: getattr(self, name) for name in names}

    @classmethod
    def from_config(cls, config: Any) -> Any:
        return cls(**config)

    def __repr__(self):
        return f"Trust({', '.join(f'{name}={value!r}' for name, value in self.get_config().items())})"


@checked(
    teacher_logits="[..., classes]",
    labels="[*...]",
    min_confidence=(0.0, 1.0),
    contradicting=CONTRADICTING,
    low_confidence=LOW_CONFIDENCE,
)
def trust_weights(
    teacher_logits: Any,
    labels: Any = None,
    min_confidence: float = 0.0,
    contradicting: str = "keep",
    low_confidence: str = "ignore",
) -> Any:
    """Compute the weight of each of a teacher's soft targets.

    Args:
        teacher_logits: Float tensor `[batch, ..., classes]`, logits or the output of a softmax head.
        labels: Hard labels `[batch, ...]`, sparse (below zero for none) or one-hot. Defaults to `None`: no sample is
            contradicted.
        min_confidence: Largest probability at T = 1 below which a soft target is doubtful. Defaults to 0.0.
        contradicting: `"ignore"` for a weight of 0 where the most probable class is not the label. Other values have no
            effect. Defaults to `"keep"`.
        low_confidence: `"ignore"` for a weight of 0 for doubtful soft targets, `"weigh"` for `confidence /
            min_confidence`. Defaults to `"ignore"`.

    Returns:
        Float tensor `[batch, ...]` of numbers from 0.0 to 1.0.

    Example:

    >>> import numpy as np
    >>> trust_weights(np.log([[0.9, 0.1], [0.6, 0.4]]), min_confidence=0.8, low_confidence="weigh").numpy().round(2)
    array([1.  , 0.75])
    """
    logits = as_logits(ops.convert_to_tensor(teacher_logits), "teacher")
    confidence = ops.stop_gradient(ops.max(ops.exp(log_probabilities(logits)), axis=-1))
    if min_confidence == 0.0:
        weights = ops.ones_like(confidence)
    elif low_confidence == "weigh":
        weights = ops.minimum(confidence / min_confidence, 1.0)
    else:
        weights = ops.cast(confidence >= min_confidence, confidence.dtype)
    if contradicting != "ignore" or labels is None:
        return weights
    return ops.where(contradicts(logits, labels), ops.zeros_like(weights), weights)


def _check_logits(name, logits):
    if not isinstance(logits, Answer):
        check_axes({name: logits}, {name: Axes("[..., classes]")})


@checked(teacher_logits=_check_logits, labels="[*...]")
def corrected(teacher_logits: Any, labels: Any) -> Any:
    """Exchange the logits of the label and of the most probable class where they differ.

    The teacher is then as certain of the label as it was of its error; all other classes keep their logits.

    Args:
        teacher_logits: Float tensor `[batch, ..., classes]`, logits or the output of a softmax head; or an `Answer`.
        labels: Hard labels `[batch, ...]`, sparse (below zero for none) or one-hot.

    Returns:
        What was given, a tensor or an `Answer`, with the two exchanged at every temperature.

    Example:

    >>> corrected([[3.0, 1.0, 2.0], [3.0, 1.0, 2.0]], [1, -1]).numpy().tolist()
    [[1.0, 3.0, 2.0], [3.0, 1.0, 2.0]]
    """
    if isinstance(teacher_logits, TemperedLogits):
        return teacher_logits.map(_exchange(teacher_logits.logits, labels))
    if isinstance(teacher_logits, Logits):
        return Logits(corrected(teacher_logits.logits, labels))
    logits = as_logits(ops.convert_to_tensor(teacher_logits), "teacher")
    return _exchange(logits, labels)(logits)


def _exchange(logits, labels):
    """Return a function that exchanges the values of the label and of the most probable class in each row."""
    classes = logits.shape[-1]
    best = ops.argmax(logits, axis=-1)
    label = ops.where(contradicts(logits, labels), class_indices(labels, logits), ops.cast(best, "int32"))
    is_best, is_label = (ops.one_hot(index, classes, dtype="bool") for index in (best, label))

    def exchange(values: Any) -> Any:
        of_best, of_label = (ops.take_along_axis(values, index[..., None], axis=-1) for index in (best, label))
        return ops.where(is_best, of_label, ops.where(is_label, of_best, values))

    return exchange


def contradicts(teacher_logits: Any, labels: Any) -> Any:
    """Return where a teacher's most probable class is not the label.

    Args:
        teacher_logits: Float tensor `[batch, ..., classes]`.
        labels: Hard labels `[batch, ...]`, sparse (below zero for none) or one-hot.

    Returns:
        Bool tensor `[batch, ...]`, false for missing labels.

    Example:

    >>> contradicts(ops.convert_to_tensor([[0.0, 1.0], [0.0, 1.0], [0.0, 1.0]]), [0, 1, -1]).numpy().tolist()
    [True, False, False]
    """
    labels = class_indices(labels, teacher_logits)
    best = ops.cast(ops.argmax(teacher_logits, axis=-1), labels.dtype)
    return ops.logical_and(labels >= 0, ops.not_equal(best, labels))
