"""The base class of the distillation losses, and how their values are averaged."""

import functools
import inspect
import re
from collections.abc import Callable, Iterable
from typing import Any

import keras
from keras import ops

from keras_distill._core.checks import check_text
from keras_distill._core.messages import expected
from keras_distill._core.tensors import expand_like as expand_like
from keras_distill._core.tensors import mask_of
from keras_distill._core.tensors import within_mask as within_mask
from keras_distill.answers.answer import Tensor
from keras_distill.features.masking import run_masked
from keras_distill.losses.label_checks import check_numeric
from keras_distill.losses.weights import combine_masks, counted, weighted_mean

_FIXES = {
    "labels": "Train with hard labels: `fit(x, y)`.",
    "adapter": "Train in `keras_distill.Distiller`: it creates the adapter of the loss and trains it.",
    "index": "Train on `keras_distill.data.indexed(x, y, ...)`: its batches carry the index of each sample.",
    "contrast_index": "Train on `keras_distill.data.indexed(x, y, negatives=...)`: its batches carry negatives.",
}
_ALWAYS_GIVEN = ("temperature", "mask", "training")


class DistillationLoss(keras.distillation.DistillationLoss):
    """Compare a student's outputs with its teacher's.

    A subclass of `keras.distillation.DistillationLoss`, so it works in Keras's own `Distiller` too. It adds values per
    sample, sample weights and masks, a name for the logs, and serialization.

    To write your own loss, override `per_sample`. Give it an argument for each input that the loss needs beyond the two
    outputs, such as `labels`. List the constructor's arguments that are to be saved in `hyper_parameters`.

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

    method: str | None = None
    """Name of the method in `keras_distill.losses.METHODS`, or `None` for your own loss."""

    hyper_parameters: tuple[str, ...] = ()
    """Names of the attributes that `get_config` saves and `from_config` passes to the constructor."""

    compares_logits: bool = False
    """Whether the loss needs logits. If so, the Distiller checks that the first batch has them."""

    def __init__(self, name: str | None = None):
        chosen = None if name is None else check_text("name", name)
        self.name = chosen or self.method or snake_case(type(self).__name__)

    def validate_outputs(self, teacher_outputs: Any, student_outputs: Any) -> None:
        """Raise a `ValueError` unless both outputs have the same structure."""
        try:
            super().validate_outputs(teacher_outputs, student_outputs)
        except ValueError:
            teacher, student = (
                keras.tree.map_structure(lambda output: tuple(output.shape), outputs)
                for outputs in (teacher_outputs, student_outputs)
            )
            received = f"teacher outputs of shapes {teacher}, student outputs of {student}"
            raise ValueError(expected("outputs of the same structure", received)) from None

    def per_sample(self, teacher_output: Any, student_output: Any) -> Tensor:
        """Return the loss of each sample, or of each position of each sample.

        An override may have more of the arguments below, and receives those that it names. An argument without a
        default is required: if it is missing, `compute_loss` raises an error that names it.

        Args:
            teacher_output: Float tensor `[batch, ...]`.
            student_output: Float tensor `[batch, ...]`.
            labels: Integer tensor `[batch, positions...]`, the hard labels as class indices. A negative label means
                that the position has no label.
            mask: Bool tensor of the leading axes, or `None`: which positions count, because they are neither masked nor
                of weight 0. For losses that compare samples with each other; weights and masks are always applied to
                the average of the values.
            adapter: The layer that `make_adapter` returned. It is trained with the student.
            temperature: Float scalar, the temperature of this step.
            training: Bool, whether this is a training step.
            **extras: Other entries of the batches by their name, such as the `index` of each sample.

        Returns:
            Float tensor `[batch]`, or `[batch, positions...]` if masks and weights apply to each position.
        """
        raise NotImplementedError(f"{type(self).__name__} must implement `per_sample(teacher_output, student_output)`.")

    def prepare(self, teacher_output: Any, student_output: Any) -> tuple[Any, Any]:
        """Return what `per_sample` compares: the outputs themselves, unless overridden."""
        return teacher_output, student_output

    def make_adapter(self, teacher_shape: Any, student_shape: Any) -> keras.layers.Layer | None:
        """Create the layer that is trained with the student for this loss.

        Args:
            teacher_shape: Shape of the teacher's features, with `None` for unknown lengths; a list of shapes for
                several layers.
            student_shape: Shape of the student's features, in the same form.

        Returns:
            A `keras.layers.Layer`, built or not, or `None` if the loss needs no adapter.
        """
        return None

    def adapt(self, student_outputs: Any, adapter: keras.layers.Layer | None, training: bool = False) -> Any:
        """Return the student's outputs after the adapter, if there is one."""
        if adapter is None:
            return student_outputs
        return run_masked(adapter, student_outputs, training)

    @property
    def needs(self) -> tuple[str, ...]:
        """Names of the arguments that the loss requires beyond the two outputs."""
        return tuple(name for name in arguments_of(type(self).per_sample)[2:] if name not in _ALWAYS_GIVEN)

    def compute_loss(
        self,
        teacher_outputs: Any,
        student_outputs: Any,
        sample_weight: Any = None,
        labels: Any = None,
        **given: Any,
    ) -> Tensor:
        """Average `per_sample` over the batch by Keras's rules for weights and masks.

        Args:
            teacher_outputs: Float tensor `[batch, ...]`, or a nest of them.
            student_outputs: Float tensor `[batch, ...]`, or a nest of them of the same structure. Positions that its
                Keras mask leaves out do not enter the average.
            sample_weight: Optional float tensor `[batch]` or `[batch, positions...]`, or a nest of them. Defaults to
                `None`.
            labels: Hard labels, sparse or one-hot, or a nest of them. Used only if the loss needs them. Defaults to
                `None`.
            **given: Other arguments of `per_sample`.

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
            mask = combine_masks(mask, given["labels"] >= 0)
            given["labels"] = ops.maximum(given["labels"], 0)
        for name in self.needs:
            if given.get(name) is None:
                raise ValueError(expected(f"{name}, which the loss {self.name!r} needs", "none", _FIXES.get(name)))
        taken = arguments_of(type(self).per_sample, all=True)
        if "mask" in taken:
            given["mask"] = counted(mask, sample_weight, len(keras.tree.flatten(student)[0].shape) - 1)
        named = {name: given[name] for name in taken if name in given}
        return weighted_mean(self.per_sample(teacher, student, **named), sample_weight, mask)

    def get_config(self) -> dict[str, Any]:
        return {"name": self.name, **self._settings()}

    def _settings(self):
        return {each: getattr(self, each) for each in self.hyper_parameters}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "DistillationLoss":
        return cls(**config)

    def __repr__(self) -> str:
        settings = ", ".join(f"{key}={value!r}" for key, value in self.get_config().items() if key != "name")
        return f"{type(self).__name__}({settings})"


def zip_outputs(
    teacher_outputs: Any, student_outputs: Any, sample_weight: Any
) -> Iterable[tuple[Tensor, Tensor, Tensor]]:
    """Return `(teacher, student, weight)` of each output. A single weight applies to all outputs."""
    teachers, students = keras.tree.flatten(teacher_outputs), keras.tree.flatten(student_outputs)
    weights = keras.tree.flatten(sample_weight) if keras.tree.is_nested(sample_weight) else [sample_weight]
    if len(weights) == 1:
        weights = weights * len(students)
    if not len(teachers) == len(students) == len(weights):
        received = f"{len(teachers)} teacher outputs, {len(students)} student outputs, {len(weights)} weights"
        raise ValueError(expected("as many teacher outputs as student outputs, and one weight or as many", received))
    return zip(teachers, students, weights, strict=True)


def class_indices(labels: Tensor, outputs: Tensor) -> Tensor:
    """Convert hard labels, sparse or one-hot, to class indices `[batch, positions...]`.

    Args:
        labels: Integer tensor `[batch, positions...]`, optionally with a last axis of length 1; or float tensor
            `[batch, positions..., classes]`, in which the largest number of each row marks the label.
        outputs: Float tensor `[batch, positions..., classes]`.

    Returns:
        Integer tensor `[batch, positions...]`.
    """
    check_numeric(labels)
    labels = ops.convert_to_tensor(labels)
    one_hot = len(labels.shape) == len(outputs.shape) and labels.shape[-1] == outputs.shape[-1] != 1
    if one_hot or len(labels.shape) == len(outputs.shape) and labels.shape[-1] == 1:
        labels = ops.argmax(labels, axis=-1) if one_hot else ops.squeeze(labels, -1)
    if len(labels.shape) != len(outputs.shape) - 1:
        received = f"labels of shape {tuple(labels.shape)} for outputs of shape {tuple(outputs.shape)}"
        raise ValueError(expected("one label, sparse or one-hot, for each row of the student's outputs", received))
    return ops.cast(labels, "int32")


@functools.cache
def arguments_of(function: Callable, all: bool = False) -> tuple[str, ...]:
    """Return the names of a method's arguments except `self`: those without a default, or all of them."""
    parameters = list(inspect.signature(function).parameters.values())[1:]
    named = [each for each in parameters if each.kind not in (each.VAR_POSITIONAL, each.VAR_KEYWORD)]
    return tuple(each.name for each in named if all or each.default is each.empty)


def snake_case(name: str) -> str:
    """Convert `LogitsDistillation` to `logits_distillation`."""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).lower()
