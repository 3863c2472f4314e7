"""Standardized logits for any loss of logits: the student need not match the teacher's scale."""

import math
from typing import Any

import keras
from keras import ops

from keras_distill._core.checked import POSITIVE, checked
from keras_distill._core.checks import check_number
from keras_distill._core.messages import expected
from keras_distill._core.tensors import mask_of, set_mask
from keras_distill.answers.answer import Tensor
from keras_distill.losses.base import DistillationLoss
from keras_distill.losses.divergences import working_dtype
from keras_distill.losses.heads import logits_of
from keras_distill.losses.logits.top_k import check_takes_top_k, is_top_k
from keras_distill.losses.registry import get, method, wrapper


@checked(logits="[..., classes]", epsilon=POSITIVE)
def standardize(logits: Tensor, epsilon: float = 1e-7) -> Tensor:
    """Compute `(x - mean(x)) / (epsilon + std(x))` of each row, with the unbiased standard deviation.

    Args:
        logits: Float array `[..., classes]`.
        epsilon: Number > 0 added to the standard deviation. Defaults to 1e-7.

    Returns:
        Float array `[..., classes]`, float64 if the logits are, else float32. A constant row gives exact zeros, with
        the gradient of `(x - mean(x)) / epsilon`. A logit of -inf excludes its class: it stays -inf, and mean and
        deviation are those of the others.

    Example:

    >>> import numpy as np
    >>> standardize(np.array([[4.0, 6.0, 8.0], [5.0, 5.0, 5.0]])).numpy().round(4).tolist()
    [[-1.0, 0.0, 1.0], [0.0, 0.0, 0.0]]

    Reference:
        Sun, Ren, Li, Wang, Cao, "Logit Standardization in Knowledge Distillation", 2024, arXiv:2403.01427.
    """
    logits = ops.convert_to_tensor(logits)
    logits = ops.cast(logits, working_dtype(logits))
    # The largest is subtracted first: the mean of equal numbers is not always that number, and dividing by the small
    # deviation would amplify the rest.
    possible = logits > -math.inf
    count = ops.sum(ops.cast(possible, logits.dtype), axis=-1, keepdims=True)
    shifted = logits - ops.stop_gradient(ops.max(logits, axis=-1, keepdims=True))
    shifted = ops.where(possible, shifted, ops.zeros_like(shifted))
    deviations = shifted - ops.sum(shifted, axis=-1, keepdims=True) / count
    deviations = ops.where(possible, deviations, ops.zeros_like(deviations))
    return ops.where(possible, deviations / (epsilon + _deviation(deviations, count)), -math.inf)


def _deviation(deviations, count):
    """Return the unbiased standard deviation of `count` numbers with mean 0. Where it is 0, its gradient is 0 too."""
    largest = ops.stop_gradient(ops.max(ops.abs(deviations), axis=-1, keepdims=True))
    constant = largest == 0.0
    # Squares of numbers near 1 neither overflow nor underflow.
    scale = ops.where(constant, ops.ones_like(largest), largest)
    variance = ops.sum(ops.square(deviations / scale), axis=-1, keepdims=True) / ops.maximum(count - 1, 1.0)
    positive = ops.where(constant, ops.ones_like(variance), variance)
    return ops.where(constant, ops.zeros_like(variance), scale * ops.sqrt(positive))


@wrapper("logit_std_", family="logits")
@method(
    "logit_std_kd",
    paper="Sun, Ren, Li, Wang, Cao 2024",
    arxiv="2403.01427",
    peers=("logit-standardization-KD",),
    config={"loss": "kd"},
)
@method(
    "logit_std_dkd",
    paper="Sun, Ren, Li, Wang, Cao 2024",
    arxiv="2403.01427",
    peers=("logit-standardization-KD",),
    config={"loss": "dkd"},
)
class LogitStandardization(DistillationLoss):
    """Compare standardized logits by another loss of logits, see `standardize`.

    The logits of both models are first brought to mean 0 and standard deviation 1, so that the student learns the
    teacher's order and proportions, but not its scale. Everything else is as in the inner loss.

    Args:
        loss: The loss that compares the standardized logits: a `LogitLoss`, `LogitsDistillation`, your own loss with
            `compares_logits = True`, or the name of a method. Defaults to `"kd"`.
        epsilon: Number > 0 added to the standard deviation. Defaults to 1e-7.
        name: Name in the logs. Defaults to `"logit_std_"` followed by the method of the inner loss.

    Raises:
        ValueError: If `loss` does not compare logits, or `epsilon` is not positive.

    Example:

    >>> import numpy as np
    >>> import keras_distill as kd
    >>> loss = kd.losses.LogitStandardization(kd.losses.LogitsDistillation(temperature=2.0))
    >>> teacher = np.array([[4.0, 1.0, -2.0]])
    >>> round(float(loss.compute_loss(teacher, 2.0 * teacher + 5.0)), 9)
    0.0
    >>> round(float(loss.compute_loss(teacher, -teacher)), 4)
    1.2806
    """

    method = "logit_std"
    compares_logits = True
    takes_top_k = False
    not_top_k = "it needs the mean and the standard deviation over all classes"

    def __init__(self, loss: Any = "kd", epsilon: float = 1e-7, name: str | None = None):
        self.loss = _find_loss(loss)
        self.epsilon = check_number("epsilon", epsilon, 0.0, float("inf"), open_low=True)
        super().__init__(name=f"{self.method}_{self.loss.method or self.loss.name}" if name is None else name)

    @property
    def temperature(self) -> Any:
        """Temperature of the inner loss, or `None` if it has none."""
        return getattr(self.loss, "temperature", None)

    @property
    def needs(self) -> tuple[str, ...]:
        """Names of the arguments that the inner loss requires beyond the two outputs."""
        return self.loss.needs

    def validate_model_compatibility(self, teacher: keras.Model, student: keras.Model) -> None:
        """Raise the `ValueError` of the inner loss if the models do not fit."""
        self.loss.validate_model_compatibility(teacher, student)

    def validate_outputs(self, teacher_outputs: Any, student_outputs: Any) -> None:
        """Raise the `ValueError` of the inner loss if the outputs do not fit."""
        self.loss.validate_outputs(teacher_outputs, student_outputs)

    def make_adapter(self, teacher_shape: Any, student_shape: Any) -> keras.layers.Layer | None:
        """Create the layer that is trained with the student for the inner loss, or return `None`."""
        return self.loss.make_adapter(teacher_shape, student_shape)

    def adapt(self, student_outputs: Any, adapter: Any, training: bool = False) -> Any:
        """Return the student's outputs after the adapter of the inner loss, if there is one."""
        return self.loss.adapt(student_outputs, adapter, training)

    def compute_loss(
        self, teacher_outputs: Any, student_outputs: Any, sample_weight: Any = None, labels: Tensor = None, **given: Any
    ) -> Tensor:
        if is_top_k(teacher_outputs):
            check_takes_top_k(self)
        teachers = self._standardized(teacher_outputs, "teacher")
        students = self._standardized(student_outputs, "student")
        return self.loss.compute_loss(teachers, students, sample_weight=sample_weight, labels=labels, **given)

    def _standardized(self, outputs, owner):
        def standardized(output: Any) -> Any:
            logits = logits_of(output, owner)
            rows = standardize(logits, self.epsilon)
            if mask_of(logits) is not None:
                set_mask(rows, mask_of(logits))
            return rows

        return keras.tree.map_structure(standardized, outputs)

    def get_config(self) -> dict[str, Any]:
        loss = keras.saving.serialize_keras_object(self.loss)
        return {**super().get_config(), "loss": loss, "epsilon": self.epsilon}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "LogitStandardization":
        return cls(**{**config, "loss": keras.saving.deserialize_keras_object(config["loss"])})

    def __repr__(self) -> str:
        return f"LogitStandardization({self.loss!r}, epsilon={self.epsilon!r})"


def _find_loss(loss):
    """Return a loss given as an object or by name; raise a `ValueError` unless it compares logits."""
    if isinstance(loss, str):
        loss = get(loss)
    if not isinstance(loss, DistillationLoss) or not loss.compares_logits:
        fix = "Pass a loss of `keras_distill.losses`, or set `compares_logits = True` on your own `DistillationLoss`."
        raise ValueError(expected("a distillation loss that compares logits, or its name", f"loss={loss!r}", fix))
    return loss
