"""The base class of losses with one Keras loss per output of a model, as in `keras.distillation`."""

import inspect
from collections.abc import Callable, Iterator
from typing import Any

import keras
from keras import ops

from keras_distill._core.messages import expected, unknown_name
from keras_distill._core.tensors import mask_of
from keras_distill.answers.answer import Tensor
from keras_distill.losses.base import DistillationLoss, weighted_mean, within_mask, zip_outputs
from keras_distill.losses.divergences import cast_pair, hold_equal

_NO_LOSSES = ("get", "serialize", "deserialize")


class PerOutputLoss(DistillationLoss):
    """Compare each output of the teacher with the student's by its own Keras loss.

    Args:
        loss: A Keras loss by name, function or object, or a nest with one loss per output, where `None` leaves an
            output out.
        name: Name in the logs. Defaults to the class name in snake case.

    Raises:
        ValueError: If a loss is unknown, or all of them are `None`.
    """

    def __init__(self, loss: Any, name: str | None = None):
        super().__init__(name=name)
        self.loss = loss
        self._comparisons = [None if each is None else self.resolve(each) for each in keras.tree.flatten(loss)]
        if not any(self._comparisons):
            raise ValueError(expected("at least one loss that is not `None`", f"loss={loss!r}"))

    def resolve(self, loss: Any) -> Callable:
        """Convert a Keras loss in any form to a function `(teacher, student, **kwargs) -> value per sample`."""
        resolved = get_keras_loss(loss)
        call = hold_equal(unreduced(resolved), resolved)

        def compare(teacher: Any, student: keras.Model, **kwargs: Any) -> Any:
            return call(*cast_pair(teacher, within_mask(ops.convert_to_tensor(student))))

        return compare

    def validate_outputs(self, teacher_outputs: Any, student_outputs: Any) -> None:
        """Raise a `ValueError` unless both have the same structure, and there is one loss for all or one for each."""
        super().validate_outputs(teacher_outputs, student_outputs)
        count = len(keras.tree.flatten(student_outputs))
        names = student_outputs.keys() if isinstance(student_outputs, dict) else None
        misnamed = isinstance(self.loss, dict) and self.loss.keys() != names
        if len(self._comparisons) not in (1, count) or misnamed:
            raise ValueError(expected(f"one loss, or one for each of the {count} outputs", f"loss={self.loss!r}"))

    def compute_loss(
        self, teacher_outputs: Any, student_outputs: Any, sample_weight: Any = None, **kwargs: Any
    ) -> Tensor:
        """Average over the batch, and add the losses of all outputs.

        Args:
            teacher_outputs: Float tensor `[batch, ..., width]`, or a nest of them. Constant: no gradient reaches it.
            student_outputs: Float tensor `[batch, ..., width]`, or a nest of them of the same structure. Positions
                that its Keras mask leaves out do not enter the average.
            sample_weight: Optional float tensor `[batch]` or `[batch, positions...]`, or a nest of them. Defaults to
                `None`.
            **kwargs: Optional inputs of the loss, such as a `temperature` instead of the constructor's.

        Returns:
            Float scalar.
        """
        return sum(
            weighted_mean(self.per_sample(teacher, student, compare, **kwargs), weight, mask_of(student))
            for compare, teacher, student, weight in self.compared(teacher_outputs, student_outputs, sample_weight)
        )

    def compared(self, teacher_outputs: Any, student_outputs: Any, sample_weight: Any = None) -> Iterator[tuple]:
        """Yield `(comparison, teacher, student, weight)` of each output that is not left out."""
        outputs = list(zip_outputs(teacher_outputs, student_outputs, sample_weight))
        comparisons = self._comparisons * (len(outputs) if len(self._comparisons) == 1 else 1)
        for compare, output in zip(comparisons, outputs, strict=True):
            if compare is not None:
                yield compare, *output

    def per_sample(
        self, teacher_output: Any, student_output: Any, compare: Callable | None = None, **kwargs: Any
    ) -> Tensor:
        compare = compare or next(filter(None, self._comparisons))
        return compare(teacher_output, student_output, **kwargs)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "loss": keras.saving.serialize_keras_object(self.loss)}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "PerOutputLoss":
        return cls(**{**config, "loss": keras.saving.deserialize_keras_object(config["loss"])})


def get_keras_loss(loss: Any) -> Any:
    """Return the Keras loss (function or object) of a name. A loss that is not a name is returned as it is."""
    if not isinstance(loss, str):
        if not callable(loss):
            raise ValueError(expected("loss to be a Keras loss by name, function or object", f"loss={loss!r}"))
        return loss() if inspect.isclass(loss) else loss
    try:
        return keras.losses.get(loss)
    except ValueError:
        # Keras exports some functions that its own `get` does not know.
        known = {name: getattr(keras.losses, name) for name in dir(keras.losses) if name.islower()}
        known = {name: value for name, value in known.items() if name not in _NO_LOSSES and callable(value)}
        if loss not in known:
            raise ValueError(unknown_name("loss", loss, known)) from None
        return known[loss]


def unreduced(loss: Any) -> Callable:
    """Return the form of a Keras loss that computes one value per sample and position."""
    return loss.call if isinstance(loss, keras.losses.Loss) else loss


def takes_logits(loss: Any) -> bool:
    """Return whether a Keras loss has the option `from_logits`, that is, compares labels with probabilities."""
    call = type(loss).__init__ if isinstance(loss, keras.losses.Loss) else loss
    return "from_logits" in inspect.signature(call).parameters
