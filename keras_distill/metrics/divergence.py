"""The divergence of the student from its teacher, at a fixed temperature or at the temperature of the training."""

from typing import Any

import keras

from keras_distill._core.checked import checked
from keras_distill._core.checks import check_temperature
from keras_distill._core.messages import expected
from keras_distill.answers.answer import Tensor
from keras_distill.losses.divergences import kl_divergence
from keras_distill.losses.logits.top_k import is_top_k
from keras_distill.metrics.base import FidelityMetric
from keras_distill.metrics.heads import LABELS, check_head, find_head
from keras_distill.metrics.rows import as_pair, check_pair, keep_nan, logits_from, mean

_TRAINING = "training"


@keras.saving.register_keras_serializable(package="keras_distill")
class TeacherDivergence(FidelityMetric):
    """Compute the mean KL divergence `KL(teacher, student)` of the tempered distributions, in nats.

    At T = 1 it measures how far the student's probabilities are from the teacher's; at the temperature of the training,
    how well the student has learned what it was trained on. The factor T² of the loss is left out. If only the top k
    classes of the teacher are stored, all other classes count as one. A single output, or each of several outputs of a
    sigmoid, is a distribution of its own, over no and yes.

    Args:
        temperature: Positive number T, or `"training"` for the current temperature of the training. Defaults to 1.0.
        from_logits: Whether outputs are logits (or come from a softmax or sigmoid head whose logits can be found)
            rather than probabilities. Defaults to `True`.
        name: Name in the logs. Defaults to `None`: `"teacher_divergence"`, or `"training_divergence"` at the
            temperature of the training.
        dtype: Dtype of the result. Defaults to `None`, Keras's float dtype.
        head: `"classes"` or `"labels"`, what the outputs decide, as for `Agreement`. Defaults to `None`.

    Raises:
        ValueError: If the temperature is not finite and positive, or the training has no temperature.

    Example:

    >>> metric = TeacherDivergence()
    >>> metric.update_state([[0.0, 0.0], [1.0, 3.0]], [[0.0, 2.0], [2.0, 4.0]])
    >>> round(float(metric.result()), 4)  # (-log(2 / (1 + e^2)) / 2 - log(2 e^2 / (1 + e^2)) / 2 + 0) / 2
    0.2169

    Reference:
        Stanton, Izmailov, Kirichenko, Alemi, Wilson, "Does Knowledge Distillation Really Work?", 2021,
        arXiv:2106.05945.
    """

    _direction = "down"
    _least_classes = 2

    @checked(temperature=Any)
    def __init__(
        self,
        temperature: Any = 1.0,
        from_logits: bool = True,
        name: str | None = None,
        dtype: str | None = None,
        head: str | None = None,
    ):
        at_training = temperature == _TRAINING
        super().__init__(name=name or ("training_divergence" if at_training else "teacher_divergence"), dtype=dtype)
        self.temperature = temperature if at_training else float(check_temperature(temperature))
        self.from_logits = bool(from_logits)
        self.head = check_head(head)

    def per_sample(self, teacher_outputs: Any, student_outputs: Tensor, temperature: Any = None) -> Tensor:
        """Return the divergence of each row."""
        head, temperature = self._head_of(teacher_outputs, student_outputs), self._choose_temperature(temperature)
        return _divergence(teacher_outputs, student_outputs, temperature, self.from_logits, head)

    def _select_outputs(self, answer, temperature):
        return answer.at(self._choose_temperature(temperature))

    def _choose_temperature(self, temperature):
        """Return the temperature of the comparison, given the temperature of the training."""
        if self.temperature != _TRAINING:
            return self.temperature
        if temperature is None:
            fix = "Use it with a loss that has a temperature, or set one: TeacherDivergence(temperature=4.0)."
            raise ValueError(expected("the temperature of the training", "none", fix))
        return temperature

    def get_config(self) -> dict[str, Any]:
        settings = {name: getattr(self, name) for name in ("temperature", "from_logits", "head")}
        return {**settings, **super().get_config()}


@checked(teacher_outputs="[...]", student_outputs="[*...]")
def teacher_divergence(
    teacher_outputs: Any,
    student_outputs: Any,
    temperature: Any = 1.0,
    from_logits: bool = True,
    head: str | None = None,
) -> float:
    """Return the mean KL divergence `KL(teacher, student)` of the tempered distributions of two arrays of outputs.

    Args:
        teacher_outputs: Logits `[..., classes]`, or probabilities.
        student_outputs: Logits or probabilities of the same shape.
        temperature: Positive number T. Defaults to 1.0.
        from_logits: Whether both are logits rather than probabilities. Defaults to `True`.
        head: `"classes"` or `"labels"`, what the outputs decide, as for `Agreement`. Defaults to `None`.

    Returns:
        A float in nats, 0.0 if both distributions are the same.

    Raises:
        ValueError: If the shapes differ, there is nothing to compare, or probabilities are passed as logits.

    Example:

    >>> round(teacher_divergence([[0.0, 0.0]], [[0.0, 2.0]]), 4), teacher_divergence([[1.0, 3.0]], [[5.0, 7.0]])
    (0.4338, 0.0)
    """
    teacher, student = as_pair(teacher_outputs, student_outputs)
    head = find_head(teacher, student, head=check_head(head))
    check_pair(teacher, student, 1 if head == LABELS else 2)
    return mean(_divergence(teacher, student, float(check_temperature(temperature)), from_logits, head))


def _divergence(teacher_outputs, student_outputs, temperature, from_logits, head):
    student = logits_from(student_outputs, from_logits, head=head)
    if is_top_k(teacher_outputs):
        teacher, student = teacher_outputs.reduced(student, temperature)
    else:
        teacher = logits_from(teacher_outputs, from_logits, owner="teacher", head=head)
    return keep_nan(kl_divergence(teacher, student, temperature), student)
