"""Tempered soft targets, and their limit at a high temperature."""

from collections.abc import Callable
from typing import Any

import keras
from keras import ops

from keras_distill._core.checked import checked
from keras_distill._core.checks import check_temperature
from keras_distill._core.messages import expected
from keras_distill.answers.answer import Tensor
from keras_distill.losses import divergences
from keras_distill.losses.heads import logits_of
from keras_distill.losses.logits import top_k
from keras_distill.losses.logits.base import LogitLoss, check_classes
from keras_distill.losses.per_output import PerOutputLoss, get_keras_loss, takes_logits
from keras_distill.losses.registry import method


@checked(teacher_logits="[..., classes]", student_logits="[..., classes]")
def kd(teacher_logits: Tensor, student_logits: Tensor, temperature: Tensor = 4.0) -> Tensor:
    """Compute `T² KL(softmax(v / T), softmax(z / T))` of teacher logits `v` and student logits `z`.

    It is computed from log-softmax throughout: no probability is clipped, and the gradient with respect to `z` is
    exactly `T (softmax(z / T) - softmax(v / T))`. The factor T² keeps the weight of the soft targets relative to the
    hard labels when T changes.

    Args:
        teacher_logits: Float array `[..., classes]`. Constant: no gradient reaches it.
        student_logits: Float array `[..., classes]`.
        temperature: Positive number, array or variable T. Defaults to 4.0.

    Returns:
        Float array `[...]`, nats times T².

    Example:

    >>> import numpy as np
    >>> teacher, student = np.array([[4.0, 1.0, -2.0]], "float32"), np.array([[1.0, 2.0, 0.0]], "float32")
    >>> round(float(kd(teacher, student)[0]), 4)
    2.3722

    Reference:
        Hinton, Vinyals, Dean, "Distilling the Knowledge in a Neural Network", 2015, arXiv:1503.02531.
    """
    divergence = divergences.kl_divergence(teacher_logits, student_logits, temperature)
    return divergence * ops.square(ops.cast(temperature, divergence.dtype))


@checked(teacher_logits="[..., classes]", student_logits="[..., classes]")
def soft_target_ce(teacher_logits: Tensor, student_logits: Tensor, temperature: Tensor = 4.0) -> Tensor:
    """Compute T² times the cross-entropy of the tempered student under the tempered teacher.

    Args:
        teacher_logits: Float array `[..., classes]`. Constant: no gradient reaches it.
        student_logits: Float array `[..., classes]`.
        temperature: Positive number, array or variable T. Defaults to 4.0.

    Returns:
        Float array `[...]`, nats times T²: `kd` plus T² times the entropy of the teacher.

    Example:

    >>> import numpy as np
    >>> z = np.zeros((1, 8), "float32")
    >>> round(float(soft_target_ce(z, z, temperature=1.0)[0]), 4)  # log 8
    2.0794

    Reference:
        Hinton, Vinyals, Dean, "Distilling the Knowledge in a Neural Network", 2015, arXiv:1503.02531.
    """
    entropy = divergences.soft_cross_entropy(teacher_logits, student_logits, temperature)
    return entropy * ops.square(ops.cast(temperature, entropy.dtype))


@method(
    "kd",
    paper="Hinton, Vinyals, Dean 2015",
    arxiv="1503.02531",
    peers=("keras.distillation", "mdistiller", "RepDistiller"),
    config={"name": "kd"},
)
@method(
    "soft_target_ce",
    paper="Hinton, Vinyals, Dean 2015",
    arxiv="1503.02531",
    peers=("timm", "cls_KD"),
    config={"name": "soft_target_ce", "loss": "categorical_crossentropy"},
)
class LogitsDistillation(PerOutputLoss):
    """Teach the student the teacher's tempered soft targets, see `kd` and `soft_target_ce`.

    If a model ends in a softmax, the logits under it are used. A linear output is used as it is.

    Args:
        temperature: Softness T > 0 of both distributions: a number, or a `keras.Variable` of your own, which you update
            and the optimizer does not. Inside a `Distiller` a number is the initial temperature. Defaults to 3.0.
        loss: The loss that compares the two distributions: `"kl_divergence"` or `"categorical_crossentropy"` in any
            form that Keras accepts (name, function, `keras.losses` object). Any other Keras loss compares the tempered
            logits and is scaled by T² too. A nest of losses for a model with several outputs, with `None` for outputs
            to leave out. Defaults to `"kl_divergence"`.
        name: Name in the logs. Defaults to `"logits_distillation"`.
        temperature_squared: Whether to multiply by T². Defaults to `True`.

    Raises:
        ValueError: If the temperature is not finite and positive, or a loss is unknown.

    Example:

    >>> import numpy as np
    >>> import keras_distill as kd
    >>> loss = kd.losses.LogitsDistillation(temperature=4.0)
    >>> teacher, student = np.array([[4.0, 1.0, -2.0]], "float32"), np.array([[1.0, 2.0, 0.0]], "float32")
    >>> round(float(loss.compute_loss(teacher, student)), 4)
    2.3722
    >>> float(loss.compute_loss(teacher, teacher))
    0.0
    """

    compares_logits = True

    @checked()
    def __init__(
        self,
        temperature: Any = 3.0,
        loss: Any = "kl_divergence",
        name: str | None = None,
        temperature_squared: bool = True,
    ):
        super().__init__(loss, name=name)
        self.temperature = check_temperature(temperature)
        self.temperature_squared = bool(temperature_squared)

    @property
    def takes_top_k(self) -> bool:
        """Whether it compares distributions, which is possible on k classes and the mass of the rest."""
        divergence = divergences.kl_divergence, divergences.soft_cross_entropy
        return all(each is None or each in divergence for each in self._comparisons)

    not_top_k = "it compares the logits of the classes one by one"
    reduce_top_k = LogitLoss.reduce_top_k

    def compute_loss(
        self,
        teacher_outputs: Any,
        student_outputs: Any,
        sample_weight: Any = None,
        temperature: Tensor = None,
        **kwargs: Any,
    ) -> Tensor:
        temperature = self.temperature if temperature is None else temperature
        if top_k.is_top_k(teacher_outputs):
            teacher_outputs, student_outputs = top_k.reduced(self, teacher_outputs, student_outputs, temperature)
        return super().compute_loss(teacher_outputs, student_outputs, sample_weight, temperature=temperature, **kwargs)

    def resolve(self, loss: Any) -> Callable:
        """Convert a Keras loss in any form to a function of teacher logits, student logits and temperature."""
        resolved = get_keras_loss(loss)
        if resolved is keras.losses.kl_divergence or isinstance(resolved, keras.losses.KLDivergence):
            return divergences.kl_divergence
        if resolved is keras.losses.categorical_crossentropy:
            return divergences.soft_cross_entropy
        if isinstance(resolved, keras.losses.CategoricalCrossentropy):
            if resolved.get_config().get("label_smoothing"):
                raise ValueError(expected("soft targets without label smoothing", f"loss={resolved.get_config()}"))
            return divergences.soft_cross_entropy
        if takes_logits(resolved):
            received = f"loss={loss!r}, which compares labels with probabilities"
            raise ValueError(expected("a loss that compares two distributions or two arrays of logits", received))
        compare = super().resolve(loss)

        def on_tempered_logits(teacher: Any, student: keras.Model, temperature: Any) -> Any:
            dtype = divergences.working_dtype(teacher, student)
            teacher, student, temperature = (ops.cast(each, dtype) for each in (teacher, student, temperature))
            return compare(teacher / temperature, student / temperature)

        return on_tempered_logits

    def validate_outputs(self, teacher_outputs: Any, student_outputs: Any) -> None:
        """Raise a `ValueError` unless both have the same structure, and the outputs of each pair the same classes."""
        super().validate_outputs(teacher_outputs, student_outputs)
        for _, teacher, student, _ in self.compared(teacher_outputs, student_outputs):
            check_classes(teacher, student)

    def per_sample(
        self,
        teacher_output: Any,
        student_output: Any,
        compare: Callable | None = None,
        temperature: Tensor = None,
        **kwargs: Any,
    ) -> Tensor:
        temperature = self.temperature if temperature is None else temperature
        teacher, student = logits_of(teacher_output, "teacher"), logits_of(student_output, "student")
        values = super().per_sample(teacher, student, compare, temperature=temperature)
        return values * ops.square(ops.cast(temperature, values.dtype)) if self.temperature_squared else values

    def get_config(self) -> dict[str, Any]:
        temperature = float(ops.convert_to_numpy(self.temperature))
        return {**super().get_config(), "temperature": temperature, "temperature_squared": self.temperature_squared}


@keras.saving.register_keras_serializable(package="keras_distill")
class LogitMatching(LogitLoss):
    """Teach the student the teacher's centered logits: the limit of soft targets at a high temperature.

    The loss is `1 / (2 N) sum_i (z_i - v_i)²` over the N classes, with the mean of each row of logits subtracted. Its
    gradient `(z_i - v_i) / N` is the limit of T² times the gradient of the soft targets as T grows. See
    `keras_distill.losses.divergences.logit_matching`.

    Args:
        name: Name in the logs. Defaults to `"logit_matching"`.

    Example:

    >>> import numpy as np
    >>> import keras_distill as kd
    >>> teacher, student = np.array([[2.0, 0.0, 1.0]], "float32"), np.array([[0.0, 1.0, 2.0]], "float32")
    >>> float(kd.losses.LogitMatching().compute_loss(teacher, student))
    1.0
    """

    not_top_k = "it compares the logits of the classes one by one"

    def per_sample(self, teacher_output: Any, student_output: Any) -> Tensor:
        return divergences.logit_matching(teacher_output, student_output)
