"""The hard-label loss, told what kind of head the student has."""

import inspect
import warnings

import keras
from keras import ops

from keras_distill._core import guards
from keras_distill._core.tensors import mask_of, set_mask, whole_numbers
from keras_distill.losses.base import both
from keras_distill.losses.heads import head_of
from keras_distill.losses.per_output import get_keras_loss, takes_logits

NO_LABEL = -1
"""The sparse label of a sample, or of a position of a sequence, that has none."""

_BY_SHAPE = ("crossentropy", "ce")
_FIX = "Pass `from_logits=True` to it, or give the loss by name: it is then computed on the logits of either head."


@keras.saving.register_keras_serializable(package="keras_distill")
class HardLabelLoss(keras.losses.Loss):
    """Compute a Keras loss on the logits of the student, whatever its head.

    A cross-entropy given by name is computed on the logits: under the softmax (or sigmoid) where there is one, on
    the output itself where the head is linear. (Keras takes the output of a linear head for probabilities.) A loss
    object is used as it is; if it expects probabilities and the head is linear, one warning says so.

    A sparse label of -1 says that a sample (or a position of a sequence) has no label. The loss is then the mean over
    those that have one, exactly that of a batch of nothing else; where none has, it is 0. In a `Distiller` the soft
    term of such a batch is what is left, times `1 - student_loss_weight`. Losses with an `ignore_class` of their own
    go by that, and one-hot labels have no such value: give samples without a label a weight of 0.

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

    def __init__(self, loss):
        if loss not in _BY_SHAPE:  # Keras chooses between three losses by the shape of the labels.
            get_keras_loss(loss)
        super().__init__()
        self.loss = loss
        self._warned = False

    def __call__(self, y_true, y_pred, sample_weight=None):
        loss = self._by_shape(y_true, y_pred) if isinstance(self.loss, str) else self.loss
        loss = get_keras_loss(loss)
        kind, logits = head_of(y_pred)
        labelled = None
        if _is_sparse(loss):
            y_true, labelled = _checked(loss, y_true, y_pred)
        if not takes_logits(loss):
            return _as_object(loss, labelled)(y_true, y_pred, sample_weight)
        if isinstance(self.loss, str) and kind in ("linear", "unknown", _head_for(loss)):
            return _as_object(loss, labelled, from_logits=True)(y_true, logits, sample_weight)
        if kind == "linear":
            self._warn_once(loss)
        return _as_object(loss, labelled)(y_true, y_pred, sample_weight)

    @property
    def on_logits(self):
        """Whether it is computed on logits because it was given by name."""
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

    def get_config(self):
        return {"loss": keras.saving.serialize_keras_object(self.loss)}

    @classmethod
    def from_config(cls, config):
        return cls(keras.saving.deserialize_keras_object(config["loss"]))


def on_logits(loss):
    """Wrap every loss of a nest in a `HardLabelLoss`."""

    def wrap(each):
        return each if each is None or isinstance(each, HardLabelLoss) else HardLabelLoss(each)

    return keras.tree.map_structure(wrap, loss)


class _Function(keras.losses.Loss):
    """A loss function with its reduction."""

    def __init__(self, function, **arguments):
        super().__init__(name=_name(function) or "loss")
        self.function, self.arguments = function, arguments

    def call(self, y_true, y_pred):
        return self.function(y_true, y_pred, **self.arguments)


class _OfTheLabelled(keras.losses.Loss):
    """A loss that leaves out of its average what has no label, by Keras's own rule for masks."""

    def __init__(self, loss, labelled):
        super().__init__(name=loss.name, reduction=loss.reduction, dtype=loss.dtype)
        self.loss, self.labelled = loss, labelled

    def call(self, y_true, y_pred):
        values = self.loss.call(y_true, y_pred)
        # On the values rather than on the output, which others look at too.
        set_mask(values, both(mask_of(values), self.labelled))
        return values


def _as_object(loss, labelled=None, **arguments):
    if not isinstance(loss, keras.losses.Loss):
        loss = _Function(loss, **arguments)
    elif arguments:
        loss = type(loss)(**arguments)
    return loss if labelled is None else _OfTheLabelled(loss, labelled)


def _checked(loss, labels, outputs):
    """Return sparse labels that Keras can take, and where there are any: a bool tensor, `None` for everywhere."""
    ignored, classes = getattr(loss, "ignore_class", None), outputs.shape[-1]
    own_average = isinstance(loss, keras.losses.Loss) and type(loss).__call__ is not keras.losses.Loss.__call__
    if ignored is not None or own_average:
        return guards.check_labels(labels, classes, ignored), None
    labels = ops.convert_to_tensor(guards.check_labels(labels, classes, NO_LABEL))
    labelled = ops.logical_not(unlabelled(labels))
    known = ops.where(labelled, labels, ops.zeros_like(labels))
    return known, by_row(labelled, outputs)


def unlabelled(labels):
    """Return a bool tensor: where sparse labels are -1, which stands for none."""
    labels = ops.convert_to_tensor(labels)
    # Unsigned labels have no -1 to be compared with, and what is checked are integers.
    return ops.equal(whole_numbers(labels), NO_LABEL)


def by_row(values, outputs):
    """Drop the last axis, of length 1, that sparse labels may have beyond the rows of their outputs."""
    return ops.squeeze(values, -1) if len(values.shape) == len(outputs.shape) else values


def _head_for(loss):
    return "sigmoid" if "binary" in _name(loss) else "softmax"


def _is_sparse(loss):
    return "sparse" in _name(loss)


def _name(loss):
    return type(loss).__name__.lower() if isinstance(loss, keras.losses.Loss) else getattr(loss, "__name__", "")
