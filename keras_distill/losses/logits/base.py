"""What all losses of logits share: finding the logits, checking the classes, and a temperature that may change."""

from collections.abc import Callable
from typing import Any

from keras import ops

from keras_distill._core.checks import check_temperature
from keras_distill._core.messages import expected
from keras_distill.answers.answer import Tensor
from keras_distill.losses.base import DistillationLoss, zip_outputs
from keras_distill.losses.heads import logits_of
from keras_distill.losses.logits import top_k


class LogitLoss(DistillationLoss):
    """Compare rows of logits. Override `per_sample`, which receives the logits of both models, whatever their heads.

    Outputs may be `[batch, classes]`, `[batch, length, classes]` or `[batch, height, width, classes]`: each position is
    a row. Set `takes_top_k = True` on a loss that treats all classes alike. If only the k largest classes of a teacher
    are stored, `per_sample` then receives rows of k + 1 logits of both models, with all other classes merged into one.

    Args:
        name: Name in the logs. Defaults to the name of the method.
    """

    compares_logits = True
    takes_top_k: bool = False
    """Whether the loss can be computed on k classes and the mass of the rest."""
    not_top_k: str = "it needs the logits of all classes"
    """The reason why it cannot, for the error message."""

    def validate_outputs(self, teacher_outputs: Any, student_outputs: Any) -> None:
        """Raise a `ValueError` unless both have the same structure, and the outputs of each pair the same classes."""
        super().validate_outputs(teacher_outputs, student_outputs)
        check_classes(teacher_outputs, student_outputs)

    def prepare(self, teacher_output: Any, student_output: Any) -> tuple[Tensor, Tensor]:
        """Return the logits of both models."""
        return logits_of(teacher_output, "teacher"), logits_of(student_output, "student")

    def reduce_top_k(self, teacher: Any, student_logits: Tensor, temperature: Tensor) -> tuple[Tensor, Tensor]:
        """Return the rows of k + 1 logits of a `keras_distill.targets.TopK` and of a student, at a temperature."""
        return teacher.reduced(student_logits, 1.0 if temperature is None else temperature)

    def compute_loss(
        self,
        teacher_outputs: Any,
        student_outputs: Any,
        sample_weight: Any = None,
        labels: Any = None,
        **given: Any,
    ) -> Tensor:
        if top_k.is_top_k(teacher_outputs):
            given["top_k"], temperature = teacher_outputs, given.get("temperature")
            teacher_outputs, student_outputs = top_k.reduced(self, teacher_outputs, student_outputs, temperature)
        return super().compute_loss(teacher_outputs, student_outputs, sample_weight, labels, **given)


class TemperedLogitLoss(LogitLoss):
    """Compare rows of logits at a temperature, which `per_sample` receives as an argument.

    Args:
        temperature: Softness T > 0: a number, or a `keras.Variable` of your own, which you update and the optimizer
            does not. Inside a `Distiller` a number is the initial temperature. Defaults to 1.0.
        name: Name in the logs. Defaults to the name of the method.

    Raises:
        ValueError: If the temperature is not finite and positive.
    """

    def __init__(self, temperature: Any = 1.0, name: str | None = None):
        super().__init__(name=name)
        self.temperature = check_temperature(temperature)

    def compute_loss(
        self,
        teacher_outputs: Any,
        student_outputs: Any,
        sample_weight: Any = None,
        labels: Any = None,
        **given: Any,
    ) -> Tensor:
        temperature = given.pop("temperature", None)
        temperature = self.temperature if temperature is None else temperature
        return super().compute_loss(
            teacher_outputs, student_outputs, sample_weight, labels, temperature=temperature, **given
        )

    def _settings(self):
        return {"temperature": float(ops.convert_to_numpy(self.temperature)), **super()._settings()}


class LogitFunctionLoss(TemperedLogitLoss):
    """Wrap a pure function of logits, as `keras.losses.LossFunctionWrapper` wraps a function of labels.

    A subclass sets `function`, and names in `hyper_parameters` the attributes that the function receives as keyword
    arguments. They are saved with the loss.

    Args:
        temperature: Softness T > 0, a number or a `keras.Variable`. Defaults to 1.0.
        name: Name in the logs. Defaults to the name of the method.

    Raises:
        ValueError: If the temperature is not finite and positive.

    Example:

    >>> import numpy as np
    >>> class SquaredError(LogitFunctionLoss):
    ...     function = staticmethod(lambda v, z, temperature: ops.mean(ops.square((v - z) / temperature), axis=-1))
    >>> teacher = np.array([[4.0, 0.0]], "float32")
    >>> float(SquaredError(temperature=2.0).compute_loss(teacher, 0.0 * teacher))
    2.0
    """

    function: Callable[..., Tensor]
    """The pure function `(teacher_logits, student_logits, temperature=..., ...)`: a loss for each row."""

    def per_sample(
        self, teacher_output: Tensor, student_output: Tensor, temperature: Any = None, **given: Any
    ) -> Tensor:
        temperature = self.temperature if temperature is None else temperature
        parameters = {each: getattr(self, each) for each in self.hyper_parameters}
        return self.function(teacher_output, student_output, temperature=temperature, **given, **parameters)


class LabelledLogitLoss(LogitFunctionLoss):
    """Wrap a pure function of logits and hard labels.

    Args:
        temperature: Softness T > 0, a number or a `keras.Variable`. Defaults to 1.0.
        name: Name in the logs. Defaults to the name of the method.
    """

    not_top_k = "the labelled class may be one of those left out"

    def per_sample(
        self, teacher_output: Tensor, student_output: Tensor, labels: Tensor, temperature: Any = None
    ) -> Tensor:
        return super().per_sample(teacher_output, student_output, temperature, labels=labels)


def check_classes(teacher_outputs: Any, student_outputs: Any) -> None:
    """Raise a `ValueError` unless teacher and student have the same number of classes, at least two."""
    for teacher, student, _ in zip_outputs(teacher_outputs, student_outputs, None):
        if teacher.shape[-1] != student.shape[-1] or student.shape[-1] == 1:
            raise ValueError(
                expected(
                    "teacher and student to have the same number of classes, at least 2",
                    f"teacher outputs of shape {tuple(teacher.shape)}, student outputs of {tuple(student.shape)}",
                )
            )
