"""Logits standardised row by row, for any loss of logits: the student need not match the teacher's scale."""

import keras
from keras import ops

from keras_distill._core.checks import check_number
from keras_distill._core.messages import expected
from keras_distill._core.tensors import mask_of, set_mask
from keras_distill.losses.base import DistillationLoss
from keras_distill.losses.divergences import working_dtype
from keras_distill.losses.heads import logits_of
from keras_distill.losses.logits.top_k import check_takes_top_k, is_top_k
from keras_distill.losses.registry import get, method, wrapper


def standardize(logits, epsilon=1e-7):
    """Compute `(x - mean(x)) / (epsilon + std(x))` of each row, by the unbiased standard deviation.

    Args:
        logits: Float array `[..., classes]`.
        epsilon: Number > 0 added to the standard deviation. Defaults to 1e-7.

    Returns:
        Float array `[..., classes]`, float64 where the logits are, float32 otherwise. A constant row gives exact
        zeros; its gradient is that of `(x - mean(x)) / epsilon`.

    Example:

    >>> import numpy as np
    >>> standardize(np.array([[4.0, 6.0, 8.0], [5.0, 5.0, 5.0]])).numpy().round(4).tolist()
    [[-1.0, 0.0, 1.0], [0.0, 0.0, 0.0]]

    Reference:
        Sun, Ren, Li, Wang, Cao, "Logit Standardization in Knowledge Distillation", 2024, arXiv:2403.01427.
    """
    logits = ops.convert_to_tensor(logits)
    logits = ops.cast(logits, working_dtype(logits))
    # The largest first: the mean of equal numbers is not always that number, and what is left would be blown up.
    logits = logits - ops.stop_gradient(ops.max(logits, axis=-1, keepdims=True))
    deviations = logits - ops.mean(logits, axis=-1, keepdims=True)
    return deviations / (epsilon + _deviation(deviations))


def _deviation(deviations):
    """Return the unbiased standard deviation of rows of mean 0; where it is 0, so is its gradient."""
    largest = ops.stop_gradient(ops.max(ops.abs(deviations), axis=-1, keepdims=True))
    constant = largest == 0.0
    # Squares of numbers near 1 neither overflow nor vanish.
    scale = ops.where(constant, ops.ones_like(largest), largest)
    degrees = max(deviations.shape[-1] - 1, 1)
    variance = ops.sum(ops.square(deviations / scale), axis=-1, keepdims=True) / degrees
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
@keras.saving.register_keras_serializable(package="keras_distill")
class LogitStandardization(DistillationLoss):
    """Compare standardised logits by another loss of logits.

    Both rows of logits are brought to mean 0 and standard deviation 1 first, so that the student is asked for the
    teacher's order and proportions, and not for its scale. Whatever else the inner loss does, needs or learns is as
    it is without.

    Args:
        loss: The loss that compares the standardised logits: a `LogitLoss`, `LogitsDistillation`, one of your own that
            says `compares_logits`, or the name of a method. Defaults to `"kd"`.
        epsilon: Number > 0 added to the standard deviation. Defaults to 1e-7.
        name: Name in the logs. Defaults to `"logit_std_"` and the method of the inner loss.

    Raises:
        ValueError: If `loss` is not a loss of logits, or `epsilon` is not above zero.

    Example:

    >>> import numpy as np
    >>> import keras_distill as kd
    >>> loss = kd.losses.LogitStandardization(kd.losses.LogitsDistillation(temperature=2.0))
    >>> teacher = np.array([[4.0, 1.0, -2.0]])
    >>> round(float(loss.compute_loss(teacher, 2.0 * teacher + 5.0)), 9)
    0.0
    >>> round(float(loss.compute_loss(teacher, -teacher)), 4)
    1.2806

    Reference:
        Sun, Ren, Li, Wang, Cao, "Logit Standardization in Knowledge Distillation", 2024, arXiv:2403.01427.
    """

    method = "logit_std"
    compares_logits = True
    takes_top_k = False
    not_top_k = "the mean and the deviation of all logits are not in them"

    def __init__(self, loss="kd", epsilon=1e-7, name=None):
        self.loss = _loss_of_logits(loss)
        self.epsilon = check_number("epsilon", epsilon, 0.0, float("inf"), open_low=True)
        super().__init__(name=name or f"{self.method}_{self.loss.method or self.loss.name}")

    @property
    def temperature(self):
        """Temperature of the inner loss, or `None` where it has none."""
        return getattr(self.loss, "temperature", None)

    @property
    def needs(self):
        """Names of the arguments without which the inner loss cannot be computed."""
        return self.loss.needs

    def validate_model_compatibility(self, teacher, student):
        """Raise a `ValueError` where the inner loss does."""
        self.loss.validate_model_compatibility(teacher, student)

    def validate_outputs(self, teacher_outputs, student_outputs):
        """Raise a `ValueError` where the inner loss does."""
        self.loss.validate_outputs(teacher_outputs, student_outputs)

    def make_adapter(self, teacher_shape, student_shape):
        """Return the layer that is trained along for the inner loss, or `None`."""
        return self.loss.make_adapter(teacher_shape, student_shape)

    def adapt(self, student_outputs, adapter, training=False):
        """Return the student's outputs after the adapter of the inner loss, where there is one."""
        return self.loss.adapt(student_outputs, adapter, training)

    def compute_loss(self, teacher_outputs, student_outputs, sample_weight=None, labels=None, **given):
        if is_top_k(teacher_outputs):
            check_takes_top_k(self)
        teachers = self._standardized(teacher_outputs, "teacher")
        students = self._standardized(student_outputs, "student")
        return self.loss.compute_loss(teachers, students, sample_weight=sample_weight, labels=labels, **given)

    def _standardized(self, outputs, owner):
        def standardized(output):
            logits = logits_of(output, owner)
            rows = standardize(logits, self.epsilon)
            if mask_of(logits) is not None:
                set_mask(rows, mask_of(logits))
            return rows

        return keras.tree.map_structure(standardized, outputs)

    def get_config(self):
        loss = keras.saving.serialize_keras_object(self.loss)
        return {**super().get_config(), "loss": loss, "epsilon": self.epsilon}

    @classmethod
    def from_config(cls, config):
        return cls(**{**config, "loss": keras.saving.deserialize_keras_object(config["loss"])})

    def __repr__(self):
        return f"LogitStandardization({self.loss!r}, epsilon={self.epsilon!r})"


def _loss_of_logits(loss):
    """Return the loss that is meant, an object or the name of a method; raise unless it compares logits."""
    if isinstance(loss, str):
        loss = get(loss)
    if not isinstance(loss, DistillationLoss) or not loss.compares_logits:
        fix = "Pass a loss of `keras_distill.losses`, or set `compares_logits = True` on your own `DistillationLoss`."
        raise ValueError(expected("a distillation loss that compares logits, or its name", f"loss={loss!r}", fix))
    return loss
