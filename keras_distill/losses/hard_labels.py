"""The hard-label loss, adapted to the kind of head that the student has."""

import inspect
import re
import warnings
from typing import Any

import keras
from keras import ops
from keras.src.losses.losses import LossFunctionWrapper  # Keras wraps functions in it, and does not export it.

from keras_distill._core import guards
from keras_distill._core.tensors import mask_of, set_mask, whole_numbers
from keras_distill.answers.answer import Tensor
from keras_distill.losses.base import combine_masks, snake_case
from keras_distill.losses.heads import find_head, head_of
from keras_distill.losses.label_checks import (
    are_sparse,
    check_label_shape,
    check_numeric,
    ignored_class,
    is_sparse_crossentropy,
    overrides_call,
)
from keras_distill.losses.per_output import get_keras_loss, takes_logits
from keras_distill.losses.weights import call_loss

NO_LABEL = -1
"""The sparse label that marks a sample, or a position of a sequence, as unlabelled."""

_BY_SHAPE = ("crossentropy", "ce")
_FIX = "Pass `from_logits=True` to it, or give the loss by name, which computes it on the logits of either head."


@keras.saving.register_keras_serializable(package="keras_distill")
class HardLabelLoss(keras.losses.Loss):
    """Compute a Keras loss, on the logits of the student where it has some.

    A cross-entropy that is given by name is computed on the logits: those under the softmax or sigmoid if there is one,
    and the output itself if the head is linear. (Keras would interpret the output of a linear head as probabilities.)
    Layers behind the head that only move or join numbers, such as `Reshape`, make no difference. Any other head, such
    as a product of sigmoids or an LSTM, returns probabilities, as in Keras. A loss function or object is used as Keras
    uses it; if it expects probabilities and the head is linear, it warns once.

    A sparse label of -1 marks a sample, or a position of a sequence, as unlabelled. The loss is then the mean over the
    labelled ones, exactly as if the batch had no others; without any label it is 0. In a `Distiller`, a batch without
    labels is trained by the soft term, times `1 - student_loss_weight`. A loss with its own `ignore_class` uses that
    value instead of -1. One-hot labels have no such value: give unlabelled samples a weight of 0.

    Args:
        loss: A Keras loss by name, function or object.

    Example:

    >>> import numpy as np
    >>> loss = HardLabelLoss("sparse_categorical_crossentropy")
    >>> round(float(loss(np.array([1]), keras.ops.convert_to_tensor([[0.0, 2.0]]))), 4)  # log(1 + exp(-2))
    0.1269
    >>> round(float(loss(np.array([1, -1]), keras.ops.convert_to_tensor([[0.0, 2.0], [5.0, 0.0]]))), 4)
    0.1269
    """

    def __init__(self, loss: Any):
        if loss not in _BY_SHAPE:  # Keras chooses between three losses by the shape of the labels.
            get_keras_loss(loss)
        # Keras names the logs of several outputs without names by their losses.
        super().__init__(name=loss if isinstance(loss, str) else getattr(loss, "name", None) or _log_name(loss))
        self.loss = loss() if inspect.isclass(loss) else loss
        self._warned = False

    def __call__(self, y_true: Tensor, y_pred: Tensor, sample_weight: Any = None) -> Tensor:
        check_numeric(y_true)
        loss = self._by_shape(y_true, y_pred) if isinstance(self.loss, str) else self.loss
        loss = get_keras_loss(loss)
        check_label_shape(loss, y_true, y_pred)
        labelled = None
        if is_sparse_crossentropy(loss):
            y_true, labelled = _check_labels(loss, y_true, y_pred)
        if not takes_logits(loss):
            return call_loss(_make_loss(loss, labelled), y_true, y_pred, sample_weight)
        head = find_head(y_pred)
        if isinstance(self.loss, str) and (head.kind == "linear" or head.kind == _head_for(loss) and head.logits):
            on_logits = _make_loss(loss, labelled, from_logits=True)
            return call_loss(on_logits, y_true, head_of(y_pred)[1], sample_weight)
        if head.kind == "linear" and not overrides_call(loss):
            self._warn_once(loss)
        return call_loss(_make_loss(loss, labelled), y_true, y_pred, sample_weight)

    @property
    def on_logits(self) -> bool:
        """Whether the loss is computed on logits because it was given by name."""
        by_name = isinstance(self.loss, str)
        return by_name and (self.loss in _BY_SHAPE or takes_logits(get_keras_loss(self.loss)))

    def _by_shape(self, y_true, y_pred):
        if self.loss not in _BY_SHAPE:
            return self.loss
        if y_pred.shape[-1] == 1:
            return "binary_crossentropy"
        sparse = len(y_true.shape) < len(y_pred.shape) or y_true.shape[-1] == 1
        return "sparse_categorical_crossentropy" if sparse else "categorical_crossentropy"

    def _warn_once(self, loss):
        if isinstance(loss, keras.losses.Loss):
            from_logits = loss.get_config().get("from_logits")
        else:
            from_logits = inspect.signature(loss).parameters["from_logits"].default is True
        if not self._warned and not from_logits:
            name = getattr(loss, "name", None) or _name(loss) or type(loss).__name__
            warnings.warn(
                f"The loss {name!r} expects probabilities, but the student's head is linear. {_FIX}", stacklevel=2
            )
            self._warned = True

    def get_config(self) -> dict[str, Any]:
        return {"loss": keras.saving.serialize_keras_object(self.loss)}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "HardLabelLoss":
        return cls(keras.saving.deserialize_keras_object(config["loss"]))


def wrap_losses(loss: Any) -> Any:
    """Wrap every loss of a nest in a `HardLabelLoss`."""

    def wrap(each: Any) -> Any:
        return each if each is None or isinstance(each, HardLabelLoss) else HardLabelLoss(each)

    return keras.tree.map_structure(wrap, loss)


class _LabelledOnly(keras.losses.Loss):
    """A loss that leaves unlabelled positions out of its average, by Keras's rule for masks."""

    def __init__(self, loss: Any, labelled: Any):
        super().__init__(name=loss.name, reduction=loss.reduction, dtype=loss.dtype)
        self.loss, self.labelled = loss, labelled

    def call(self, y_true: Any, y_pred: Any) -> Any:
        values = self.loss.call(y_true, y_pred)
        # On the values rather than on the output, which others read too.
        set_mask(values, combine_masks(mask_of(values), self.labelled))
        return values


def _make_loss(loss, labelled=None, **arguments):
    if not isinstance(loss, keras.losses.Loss):
        name = re.sub(r"\W+", "", getattr(loss, "__name__", "")) or "loss"
        loss = LossFunctionWrapper(loss, name=name, **arguments)
    elif arguments:
        loss = type(loss)(**arguments)
    return loss if labelled is None else _LabelledOnly(loss, labelled)


def _check_labels(loss, labels, outputs):
    """Return sparse labels that Keras accepts, and where there are labels: a bool tensor, or `None` for everywhere."""
    ignored, classes = ignored_class(loss), outputs.shape[-1]
    own_average = isinstance(loss, keras.losses.Loss) and type(loss).__call__ is not keras.losses.Loss.__call__
    if ignored is not None or own_average:
        return guards.check_labels(labels, classes, ignored), None
    labels = ops.convert_to_tensor(guards.check_labels(labels, classes, NO_LABEL))
    labelled = ops.logical_not(is_unlabelled(labels))
    known = ops.where(labelled, labels, ops.zeros_like(labels))
    return known, drop_label_axis(labelled, outputs)


def mark_unlabelled(losses: Any, labels: Any, outputs: Any) -> Any:
    """Return hard labels with -1 where the loss of their output leaves a label out.

    A loss with an `ignore_class` leaves out that class. What a loss of your own leaves out is not known, except that
    it must do so for numbers that are no class.

    Args:
        losses: A `HardLabelLoss`, a nest with one for each output, or `None`.
        labels: Hard labels, a tensor or a nest of tensors.
        outputs: The student's outputs, a tensor or a nest of tensors.
    """
    wrapped, given, computed = (keras.tree.flatten(each) for each in (losses, labels, outputs))
    wrapped = wrapped * len(computed) if len(wrapped) == 1 else wrapped
    if labels is None or not len(wrapped) == len(given) == len(computed):
        return labels
    marked = [_mark(*each) for each in zip(wrapped, given, computed, strict=True)]
    return keras.tree.pack_sequence_as(labels, marked)


def _mark(loss, labels, outputs):
    if not isinstance(loss, HardLabelLoss) or labels is None or not are_sparse(labels, outputs):
        return labels
    if isinstance(loss.loss, str):
        return labels
    numbers = whole_numbers(ops.convert_to_tensor(labels))
    if is_sparse_crossentropy(loss.loss):
        ignored = ignored_class(loss.loss)
        return labels if ignored is None else ops.where(ops.equal(numbers, ignored), NO_LABEL, numbers)
    return ops.where(numbers >= outputs.shape[-1], NO_LABEL, numbers)


def is_unlabelled(labels: Tensor) -> Tensor:
    """Return a bool tensor that is true where a sparse label is -1."""
    # Unsigned labels have no -1 to compare with. The labels have been checked to be integers.
    return ops.equal(whole_numbers(ops.convert_to_tensor(labels)), NO_LABEL)


def drop_label_axis(values: Tensor, outputs: Tensor) -> Tensor:
    """Drop the last axis of length 1 that sparse labels may have in addition to the rows of their outputs."""
    return ops.squeeze(values, -1) if len(values.shape) == len(outputs.shape) else values


def _head_for(loss):
    return "sigmoid" if "binary" in _name(loss) else "softmax"


def _name(loss):
    return type(loss).__name__.lower() if isinstance(loss, keras.losses.Loss) else getattr(loss, "__name__", "")


def _log_name(loss):
    """Return the name of a function in the logs, without the brackets of a lambda."""
    return snake_case(re.sub(r"\W+", "", getattr(loss, "__name__", type(loss).__name__)))
