"""Losses that hold one Keras loss per output of a model: the shared half of the peer's two classes."""

import inspect

import keras
from keras import ops

from keras_distill._core.messages import expected, unknown_name
from keras_distill.losses.base import DistillationLoss, mask_of, weighted_mean, within_mask, zip_outputs
from keras_distill.losses.divergences import working_dtype

_NO_LOSSES = ("get", "serialize", "deserialize")


class PerOutputLoss(DistillationLoss):
    """Compare each output of the teacher with the student's by a Keras loss of its own.

    Args:
        loss: A Keras loss by name, function or object, or a nest of them with one per output; `None` leaves an output
            out.
        name: Name in the logs. Defaults to the class name in snake case.

    Raises:
        ValueError: If a loss is not known, or all of them are `None`.
    """

    def __init__(self, loss, name=None):
        super().__init__(name=name)
        self.loss = loss
        self._comparisons = [None if each is None else self.resolve(each) for each in keras.tree.flatten(loss)]
        if not any(self._comparisons):
            raise ValueError(expected("at least one loss that is not `None`", f"loss={loss!r}"))

    def resolve(self, loss):
        """Turn a spelling of a Keras loss into a function `(teacher, student, **kwargs) -> value per sample`."""
        call = unreduced(get_keras_loss(loss))

        def compare(teacher, student, **kwargs):
            teacher, student = ops.convert_to_tensor(teacher), within_mask(ops.convert_to_tensor(student))
            dtype = working_dtype(teacher, student)
            return call(ops.stop_gradient(ops.cast(teacher, dtype)), ops.cast(student, dtype))

        return compare

    def validate_outputs(self, teacher_outputs, student_outputs):
        """Raise a `ValueError` unless both have one structure, and there is one loss for all or one for each."""
        super().validate_outputs(teacher_outputs, student_outputs)
        count = len(keras.tree.flatten(student_outputs))
        names = student_outputs.keys() if isinstance(student_outputs, dict) else None
        misnamed = isinstance(self.loss, dict) and self.loss.keys() != names
        if len(self._comparisons) not in (1, count) or misnamed:
            raise ValueError(expected(f"one loss, or one for each of the {count} outputs", f"loss={self.loss!r}"))

    def compute_loss(self, teacher_outputs, student_outputs, sample_weight=None, **kwargs):
        """Average over the batch, and add up the outputs.

        Args:
            teacher_outputs: Float tensor `[batch, ..., width]`, or a nest of them. Constant: no gradient reaches it.
            student_outputs: Float tensor `[batch, ..., width]`, or a nest of them of the same structure. A Keras mask
                on it takes positions out of the average.
            sample_weight: Optional float tensor `[batch]` or `[batch, positions...]`, or a nest of them. Defaults to
                `None`.
            **kwargs: What the loss may use and need not, such as a `temperature` in place of the constructor's.

        Returns:
            Float scalar.
        """
        return sum(
            weighted_mean(self.per_sample(teacher, student, compare, **kwargs), weight, mask_of(student))
            for compare, teacher, student, weight in self.compared(teacher_outputs, student_outputs, sample_weight)
        )

    def compared(self, teacher_outputs, student_outputs, sample_weight=None):
        """Yield `(comparison, teacher, student, weight)` of each output that is not left out."""
        outputs = list(zip_outputs(teacher_outputs, student_outputs, sample_weight))
        comparisons = self._comparisons * (len(outputs) if len(self._comparisons) == 1 else 1)
        for compare, output in zip(comparisons, outputs, strict=True):
            if compare is not None:
                yield compare, *output

    def per_sample(self, teacher_output, student_output, compare=None, **kwargs):
        return (compare or self._comparisons[0])(teacher_output, student_output, **kwargs)

    def get_config(self):
        return {**super().get_config(), "loss": keras.saving.serialize_keras_object(self.loss)}

    @classmethod
    def from_config(cls, config):
        return cls(**{**config, "loss": keras.saving.deserialize_keras_object(config["loss"])})


def get_keras_loss(loss):
    """Return the Keras loss (function or object) that a name stands for; anything but a name as it is."""
    if not isinstance(loss, str):
        if not callable(loss):
            raise ValueError(expected("loss to be a Keras loss by name, function or object", f"loss={loss!r}"))
        return loss
    try:
        return keras.losses.get(loss)
    except ValueError:
        # Keras exports some functions that its own `get` does not know.
        known = {name: getattr(keras.losses, name) for name in dir(keras.losses) if name.islower()}
        known = {name: value for name, value in known.items() if name not in _NO_LOSSES and callable(value)}
        if loss not in known:
            raise ValueError(unknown_name("loss", loss, known)) from None
        return known[loss]


def unreduced(loss):
    """Return the form of a Keras loss that keeps one value per sample and position."""
    return loss.call if isinstance(loss, keras.losses.Loss) else loss


def takes_logits(loss):
    """Tell whether a Keras loss can be told that it gets logits: it compares labels with probabilities."""
    call = type(loss).__init__ if isinstance(loss, keras.losses.Loss) else loss
    return "from_logits" in inspect.signature(call).parameters
