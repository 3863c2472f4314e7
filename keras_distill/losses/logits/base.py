"""What all losses of logits share: heads looked under, classes checked, a temperature that may move."""

import math

from keras import ops

from keras_distill._core.messages import expected
from keras_distill.losses.base import DistillationLoss, zip_outputs
from keras_distill.losses.heads import logits_of
from keras_distill.losses.logits import top_k


class LogitLoss(DistillationLoss):
    """Compare rows of logits. Override `per_sample`: it is given the logits of both, whatever their heads.

    Outputs may be `[batch, classes]`, `[batch, length, classes]`, `[batch, height, width, classes]`: a row is a row.
    A loss that treats all classes alike can say `takes_top_k = True`: of a teacher of which only the k greatest classes
    are stored, `per_sample` then is given rows of k + 1 logits of both, all other classes as one.

    Args:
        name: Name in the logs. Defaults to the name of the method.
    """

    compares_logits = True
    takes_top_k = False
    """Whether it can be computed on k classes and the mass of the rest."""
    not_top_k = "it needs the logits of all classes"
    """Why it cannot, in words."""

    def validate_outputs(self, teacher_outputs, student_outputs):
        """Raise a `ValueError` unless both have one structure, and each pair the same two classes or more."""
        super().validate_outputs(teacher_outputs, student_outputs)
        check_classes(teacher_outputs, student_outputs)

    def prepare(self, teacher_output, student_output):
        """Return the logits of both."""
        return logits_of(teacher_output, "teacher"), logits_of(student_output, "student")

    def reduce_top_k(self, teacher, student_logits, temperature):
        """Return the rows of k + 1 logits of a `keras_distill.targets.TopK` and a student, at a temperature."""
        return teacher.reduced(student_logits, 1.0 if temperature is None else temperature)

    def compute_loss(self, teacher_outputs, student_outputs, sample_weight=None, labels=None, **given):
        if top_k.is_top_k(teacher_outputs):
            given["top_k"], temperature = teacher_outputs, given.get("temperature")
            teacher_outputs, student_outputs = top_k.reduced(self, teacher_outputs, student_outputs, temperature)
        return super().compute_loss(teacher_outputs, student_outputs, sample_weight, labels, **given)


class TemperedLogitLoss(LogitLoss):
    """Compare rows of logits at a temperature, which `per_sample` is given as well.

    Args:
        temperature: Softness T > 0: a number, or a `keras.Variable` of your own that you move and the optimizer does
            not. Inside a `Distiller` a number is where the temperature starts. Defaults to 1.0.
        name: Name in the logs. Defaults to the name of the method.

    Raises:
        ValueError: If the temperature is not finite and positive.
    """

    def __init__(self, temperature=1.0, name=None):
        super().__init__(name=name)
        self.temperature = check_temperature(temperature)

    def compute_loss(self, teacher_outputs, student_outputs, sample_weight=None, labels=None, **given):
        temperature = given.pop("temperature", None)
        temperature = self.temperature if temperature is None else temperature
        return super().compute_loss(
            teacher_outputs, student_outputs, sample_weight, labels, temperature=temperature, **given
        )

    def get_config(self):
        return {**super().get_config(), "temperature": float(ops.convert_to_numpy(self.temperature))}


def check_temperature(temperature, source=""):
    """Return a temperature that is a finite number above zero, or a variable that holds one; raise otherwise."""
    try:
        number = math.nan if isinstance(temperature, (bool, str)) else float(temperature)
    except (TypeError, OverflowError):
        number = math.nan
    if not 0.0 < number < math.inf:
        raise ValueError(expected(f"a finite temperature > 0{source}", f"temperature={temperature!r}"))
    return temperature


def check_classes(teacher_outputs, student_outputs):
    """Raise a `ValueError` unless teacher and student agree on the number of classes, and there are two or more."""
    for teacher, student, _ in zip_outputs(teacher_outputs, student_outputs, None):
        if teacher.shape[-1] != student.shape[-1] or student.shape[-1] == 1:
            raise ValueError(
                expected(
                    "teacher and student to have the same number of classes, at least 2",
                    f"teacher outputs of shape {tuple(teacher.shape)}, student outputs of {tuple(student.shape)}",
                )
            )
