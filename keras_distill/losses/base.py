"""The base class of the package's distillation losses, and the one way in which they are averaged."""

import functools
import inspect
import re

import keras
from keras import ops

from keras_distill._core.messages import expected
from keras_distill._core.models import run
from keras_distill._core.tensors import mask_of, set_mask

_FIXES = {
    "labels": "Train with hard labels: `fit(x, y)`.",
    "adapter": "Train in `keras_distill.Distiller`: it makes what the loss learns along, and trains it.",
    "index": "Train on `keras_distill.data.indexed(x, y, ...)`: its batches carry the index of each sample.",
    "contrast_index": "Train on `keras_distill.data.indexed(x, y, negatives=...)`: its batches carry them.",
}
_ALWAYS_GIVEN = ("temperature", "mask", "training")


class DistillationLoss(keras.distillation.DistillationLoss):
    """Compare what a student says with what its teacher says.

    A subclass of `keras.distillation.DistillationLoss`, so it works in Keras's own `Distiller` too. It adds what that
    one leaves out: per-sample values, sample weights and masks, a name for the logs, and serialisation.

    To write a loss of your own, override `per_sample`, and name as its arguments what it needs beyond the two outputs
    (`labels`, say). The rest follows.

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

    method = None
    """Name of the method in `keras_distill.losses.METHODS`; `None` for a loss of your own."""

    compares_logits = False
    """Whether the loss needs logits, for which the Distiller then checks the first batch."""

    def __init__(self, name=None):
        self.name = name or self.method or snake_case(type(self).__name__)

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

        An override may name more arguments, and is given what it names. Without a default they are needed, and the
        loss says so where they are missing.

        Args:
            teacher_output: Float tensor `[batch, ...]`.
            student_output: Float tensor `[batch, ...]`.
            labels: Integer tensor `[batch, positions...]`, the hard labels as class indices; negative for none.
            mask: Bool tensor of the leading axes, or `None`: which positions count. For losses that compare samples
                with each other; masked positions leave the average of the values anyway.
            adapter: The layer that `make_adapter` returned, trained along with the student.
            temperature: Float scalar, the temperature of this step.
            training: Bool, whether this step is for training.
            **extras: Whatever else the batches carry by that name, such as the `index` of each sample.

        Returns:
            Float tensor `[batch]`, or `[batch, positions...]` where masks and weights per position shall count.
        """
        raise NotImplementedError(f"{type(self).__name__} must implement `per_sample(teacher_output, student_output)`.")

    def prepare(self, teacher_output, student_output):
        """Return what `per_sample` compares of two outputs. Those themselves, unless overridden."""
        return teacher_output, student_output

    def make_adapter(self, teacher_shape, student_shape):
        """Return the layer that is trained along with the student for this loss, or `None` where none is needed.

        Args:
            teacher_shape: Shape of what is compared of the teacher, `None` for unknown lengths; a list of them for
                several layers.
            student_shape: The student's, likewise.

        Returns:
            A `keras.layers.Layer`, built or not, or `None`.
        """
        return

    def adapt(self, student_outputs, adapter, training=False):
        """Return the student's outputs after the adapter, where there is one."""
        if adapter is None:
            return student_outputs
        mask = mask_of(keras.tree.flatten(student_outputs)[0])
        adapted = run(adapter, keras.tree.map_structure(unmasked, student_outputs), training)
        if mask is not None and len(mask.shape) == 1:  # Few layers hand a mask on; that of whole samples stays true.
            for output in keras.tree.flatten(adapted):
                set_mask(output, mask)
        return adapted

    @property
    def needs(self):
        """Names of the arguments without which the loss cannot be computed, beside the outputs."""
        return tuple(name for name in arguments_of(type(self).per_sample)[2:] if name not in _ALWAYS_GIVEN)

    def compute_loss(self, teacher_outputs, student_outputs, sample_weight=None, labels=None, **given):
        """Average `per_sample` over the batch, by Keras's own rule for weights and masks.

        Args:
            teacher_outputs: Float tensor `[batch, ...]`, or a nest of them.
            student_outputs: Float tensor `[batch, ...]`, or a nest of them of the same structure. A Keras mask on it
                takes positions out of the average.
            sample_weight: Optional float tensor `[batch]` or `[batch, positions...]`, or a nest of them. Defaults to
                `None`.
            labels: Hard labels, sparse or one-hot, or a nest of them; only where the loss needs them. Defaults to
                `None`.
            **given: Whatever else `per_sample` may name.

        Returns:
            Float scalar.
        """
        outputs = list(zip_outputs(teacher_outputs, student_outputs, sample_weight))
        several = keras.tree.is_nested(labels) and "labels" in self.needs
        labels = keras.tree.flatten(labels) if several else [labels] * len(outputs)
        if len(labels) != len(outputs):
            raise ValueError(expected(f"labels for each of the {len(outputs)} outputs", f"{len(labels)}"))
        return sum(
            self._average(teacher, student, weight, {**given, "labels": label})
            for (teacher, student, weight), label in zip(outputs, labels, strict=True)
        )

    def _average(self, teacher_output, student_output, sample_weight, given):
        mask = mask_of(keras.tree.flatten(student_output)[0])
        teacher, student = self.prepare(teacher_output, student_output)
        if given["labels"] is not None and "labels" in self.needs:
            given["labels"] = class_indices(given["labels"], student)
            mask = both(mask, given["labels"] >= 0)
            given["labels"] = ops.maximum(given["labels"], 0)
        given["mask"] = mask
        for name in self.needs:
            if given.get(name) is None:
                raise ValueError(expected(f"{name}, which the loss {self.name!r} needs", "none", _FIXES.get(name)))
        named = {name: given[name] for name in arguments_of(type(self).per_sample, all=True) if name in given}
        return weighted_mean(self.per_sample(teacher, student, **named), sample_weight, mask)

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
        set_mask(values, mask)
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


def within_mask(tensor):
    """Stop the gradient of padded positions: that of a NaN stays NaN however often it is multiplied by zero."""
    if mask_of(tensor) is None:
        return tensor
    masked = unmasked(tensor)
    set_mask(masked, mask_of(tensor))
    return masked


def unmasked(tensor):
    """Return a tensor that carries no mask, and no gradient to the positions that its mask leaves out."""
    mask = mask_of(tensor)
    if mask is None:
        return tensor
    return ops.where(ops.cast(expand_like(mask, tensor), "bool"), tensor, ops.stop_gradient(tensor))


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


def class_indices(labels, outputs):
    """Return hard labels, sparse or one-hot, as class indices `[batch, positions...]`.

    Args:
        labels: Integer tensor `[batch, positions...]`, with a last axis of length 1 or not, or float tensor of one row
            of `classes` numbers for each, of which the largest is the label.
        outputs: Float tensor `[batch, positions..., classes]`.

    Returns:
        Integer tensor `[batch, positions...]`.
    """
    labels = ops.convert_to_tensor(labels)
    if len(labels.shape) == len(outputs.shape):
        labels = ops.squeeze(labels, -1) if labels.shape[-1] == 1 else ops.argmax(labels, axis=-1)
    if len(labels.shape) != len(outputs.shape) - 1:
        received = f"labels of shape {tuple(labels.shape)} for outputs of shape {tuple(outputs.shape)}"
        raise ValueError(expected("one label, sparse or one-hot, for each row of the student's outputs", received))
    return ops.cast(labels, "int32")


def both(mask, other):
    """Return the mask of the positions that neither of two masks leaves out; `None` leaves out nothing."""
    if mask is None or other is None:
        return other if mask is None else mask
    return ops.logical_and(ops.cast(expand_like(mask, other), "bool"), ops.cast(other, "bool"))


@functools.cache
def arguments_of(function, all=False):
    """Return the names of the arguments of a method that have no default, or of all of them, `self` left out."""
    parameters = list(inspect.signature(function).parameters.values())[1:]
    named = [each for each in parameters if each.kind not in (each.VAR_POSITIONAL, each.VAR_KEYWORD)]
    return tuple(each.name for each in named if all or each.default is each.empty)


def snake_case(name):
    """Turn `LogitsDistillation` into `logits_distillation`."""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).lower()
