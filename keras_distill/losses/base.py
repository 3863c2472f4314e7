"""The base class of the package's distillation losses, and the one way in which they are averaged."""

import re

import keras
from keras import ops

from keras_distill._messages import expected


class DistillationLoss(keras.distillation.DistillationLoss):
    """Compare what a student says with what its teacher says.

    A subclass of `keras.distillation.DistillationLoss`, so it works in Keras's own `Distiller` too. It adds what that
    one leaves out: per-sample values, sample weights and masks, a name for the logs, and serialisation.

    To write a loss of your own, override `per_sample`. The rest follows.

    Args:
        name: Name of the loss in the logs. Defaults to the class name in snake case.

    Example:

    >>> import numpy as np
    >>> import keras_distill as kd
    >>> class AbsoluteError(kd.losses.DistillationLoss):
    ...     def per_sample(self, teacher_output, student_output):
    ...         return keras.ops.mean(keras.ops.abs(teacher_output - student_output), axis=-1)
    >>> loss = AbsoluteError()
    >>> loss.name
    'absolute_error'
    >>> float(loss.compute_loss(np.ones((2, 3), "float32"), np.zeros((2, 3), "float32")))
    1.0
    """

    compares_logits = False
    """Whether the loss needs logits, for which the Distiller then checks the first batch."""

    def __init__(self, name=None):
        self.name = name or snake_case(type(self).__name__)

    def validate_outputs(self, teacher_outputs, student_outputs):
        """Raise a `ValueError` unless both have one structure."""
        try:
            super().validate_outputs(teacher_outputs, student_outputs)
        except ValueError:
            teacher, student = (
                keras.tree.map_structure(lambda output: tuple(output.shape), outputs)
                for outputs in (teacher_outputs, student_outputs)
            )
            received = f"teacher outputs of shapes {teacher}, student outputs of {student}"
            raise ValueError(expected("outputs of one structure", received)) from None

    def per_sample(self, teacher_output, student_output):
        """Return the loss of each sample, or of each position of each sample.

        Args:
            teacher_output: Float tensor `[batch, ...]`.
            student_output: Float tensor `[batch, ...]`.

        Returns:
            Float tensor `[batch]`, or `[batch, positions...]` where masks and weights per position shall count.
        """
        raise NotImplementedError(f"{type(self).__name__} must implement `per_sample(teacher_output, student_output)`.")

    def compute_loss(self, teacher_outputs, student_outputs, sample_weight=None, **kwargs):
        """Average `per_sample` over the batch, by Keras's own rule for weights and masks.

        Args:
            teacher_outputs: Float tensor `[batch, ...]`, or a nest of them.
            student_outputs: Float tensor `[batch, ...]`, or a nest of them of the same structure. A Keras mask on it
                takes positions out of the average.
            sample_weight: Optional float tensor `[batch]` or `[batch, positions...]`, or a nest of them. Defaults to
                `None`.
            **kwargs: Ignored.

        Returns:
            Float scalar.
        """
        return sum(
            weighted_mean(self.per_sample(teacher, student), weight, mask_of(student))
            for teacher, student, weight in zip_outputs(teacher_outputs, student_outputs, sample_weight)
        )

    def get_config(self):
        return {"name": self.name}

    @classmethod
    def from_config(cls, config):
        return cls(**config)

    def __repr__(self):
        settings = ", ".join(f"{key}={value!r}" for key, value in self.get_config().items() if key != "name")
        return f"{type(self).__name__}({settings})"


class _Average(keras.losses.Loss):
    """Keras's reduction, of values that are losses already: weights, masks and replicas count as in any Keras loss."""

    def call(self, y_true, y_pred):
        return y_pred


def weighted_mean(values, sample_weight=None, mask=None):
    """Average losses as Keras does: weights multiply, masked positions leave the sum and the count.

    Args:
        values: Float tensor `[batch, positions...]`.
        sample_weight: Optional float tensor that broadcasts from the left. Defaults to `None`.
        mask: Optional bool tensor of the leading axes of `values`. Defaults to `None`.

    Returns:
        Float scalar; under `tf.distribute`, this replica's share of it.

    Example:

    >>> import numpy as np
    >>> values, mask = np.array([[1.0, 3.0, 99.0]], "float32"), np.array([[True, True, False]])
    >>> float(weighted_mean(values, mask=mask))
    2.0
    """
    values = ops.convert_to_tensor(values)
    if mask is not None and len(mask.shape) > len(values.shape):
        mask = None  # One value for all positions: it has made of the padded ones what it would.
    if mask is not None:
        values = _average_trailing_axes(values, keep=len(mask.shape))
    else:
        values = _average_trailing_axes(values, keep=1 if sample_weight is None else len(sample_weight.shape))
    if sample_weight is not None:
        sample_weight = expand_like(sample_weight, values)
    if mask is not None:
        # Multiplied away rather than trusted to vanish: a padded position may hold anything, NaN included.
        values = ops.where(ops.cast(mask, "bool"), values, ops.zeros_like(values))
        values._keras_mask = mask
    return _Average(name="average", dtype=values.dtype)(values, values, sample_weight)


def _average_trailing_axes(values, keep):
    axes = tuple(range(max(keep, 1), len(values.shape)))
    return ops.mean(values, axis=axes) if axes else values


def expand_like(weight, values):
    """Append axes of length one to `weight` until it has the rank of `values`."""
    weight = ops.convert_to_tensor(weight)
    missing = len(values.shape) - len(weight.shape)
    return ops.reshape(weight, ops.shape(weight) + (1,) * missing) if missing > 0 else weight


def align_weights(sample_weight, outputs):
    """Give weights per sample the rank of losses per position, so that they multiply the samples they belong to."""
    if sample_weight is None or keras.tree.is_nested(sample_weight):
        return sample_weight

    def align(output):
        return expand_like(sample_weight, ops.max(output, axis=-1)) if len(output.shape) > 2 else sample_weight

    return keras.tree.map_structure(align, outputs) if keras.tree.is_nested(outputs) else align(outputs)


def mask_of(tensor):
    """Return the Keras mask that travels with a tensor, or `None`."""
    return getattr(tensor, "_keras_mask", None)


def within_mask(tensor):
    """Stop the gradient of padded positions: that of a NaN stays NaN however often it is multiplied by zero."""
    mask = mask_of(tensor)
    if mask is None:
        return tensor
    masked = ops.where(ops.cast(expand_like(mask, tensor), "bool"), tensor, ops.stop_gradient(tensor))
    masked._keras_mask = mask
    return masked


def zip_outputs(teacher_outputs, student_outputs, sample_weight):
    """Yield `(teacher, student, weight)` of each output; one weight serves all outputs."""
    teachers, students = keras.tree.flatten(teacher_outputs), keras.tree.flatten(student_outputs)
    weights = keras.tree.flatten(sample_weight) if keras.tree.is_nested(sample_weight) else [sample_weight]
    if len(weights) == 1:
        weights = weights * len(students)
    if not len(teachers) == len(students) == len(weights):
        received = f"{len(teachers)} teacher outputs, {len(students)} student outputs, {len(weights)} weights"
        raise ValueError(expected("as many teacher outputs as student outputs, and one weight or as many", received))
    return zip(teachers, students, weights, strict=True)


def snake_case(name):
    """Turn `LogitsDistillation` into `logits_distillation`."""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).lower()
