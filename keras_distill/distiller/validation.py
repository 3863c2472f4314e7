"""What a `Distiller` checks before anything runs."""

import math
from typing import Any

import keras

from keras_distill._core.checks import check_model, check_number
from keras_distill._core.messages import expected
from keras_distill._core.tensors import same_shape
from keras_distill.losses.registry import get


def check_models(teacher: Any, student: keras.Model, compare_outputs: Any) -> None:
    """Raise a `ValueError` unless both are Keras models, not the same one, with inputs and outputs of the same shapes.

    Args:
        teacher: The teacher.
        student: The student.
        compare_outputs: Whether a loss compares their final outputs, which then must have one shape.
    """
    check_model("teacher", teacher)
    check_model("student", student)
    if teacher is student:
        raise ValueError(
            expected(
                "two models", f"{student.name!r} as both", "For self-distillation, copy it: keras.models.clone_model."
            )
        )
    _check_shapes("inputs", teacher, student)
    if compare_outputs:
        _check_shapes("outputs", teacher, student)


def _check_shapes(which, teacher, student):
    teacher_tensors, student_tensors = named_shapes(teacher, which), named_shapes(student, which)
    if teacher_tensors is None or student_tensors is None:
        return  # Not built yet: the first batch will show.
    # A Functional model takes the inputs it needs from a dict, so models may take different ones, but of equal shapes.
    shared = teacher_tensors.keys() & student_tensors.keys() if which == "inputs" else teacher_tensors.keys()
    same_count = len(teacher_tensors) == len(student_tensors)
    matching = [name in student_tensors and same_shape(teacher_tensors[name], student_tensors[name]) for name in shared]
    if not all(matching) or not (same_count or (which == "inputs" and shared)):
        raise ValueError(
            expected(f"teacher and student {which} of the same shapes", f"{teacher_tensors} and {student_tensors}")
        )


def named_shapes(model: Any, which: str) -> dict[Any, tuple] | None:
    """Return the shapes of a model's `"inputs"` or `"outputs"` by name, or by position; `None` if it is not built."""
    tensors = getattr(model, which, None)
    if tensors is None:
        return None
    struct = getattr(model, which[:-1], tensors)
    if isinstance(struct, dict):
        return {name: tuple(tensor.shape) for name, tensor in struct.items() if not keras.tree.is_nested(tensor)}
    return {index: tuple(tensor.shape) for index, tensor in enumerate(tensors)}


def check_losses(distillation_losses: Any) -> Any:
    """Return the distillation losses as a list, made from their names if need be; raise a `ValueError` for others."""
    losses = distillation_losses if isinstance(distillation_losses, (list, tuple)) else [distillation_losses]
    if any(isinstance(loss, str) for loss in losses):
        losses = [get(loss) if isinstance(loss, str) else loss for loss in losses]
    for loss in losses:
        if not isinstance(loss, keras.distillation.DistillationLoss):
            example = "Use for example keras_distill.losses.LogitsDistillation(temperature=4.0)."
            raise ValueError(expected("distillation losses", f"{loss!r} of type {type(loss).__name__}", example))
    if not losses:
        raise ValueError(expected("at least one distillation loss", repr(distillation_losses)))
    return list(losses)


def check_loss_weights(weights: Any, count: int) -> Any:
    """Return a weight for each distillation loss; raise a `ValueError` unless each is finite and >= 0."""
    weights = [1.0] * count if weights is None else weights
    weights = list(weights) if isinstance(weights, (list, tuple)) else [weights]
    if len(weights) != count:
        raise ValueError(
            expected(f"{count} distillation_loss_weights, one for each loss", f"{len(weights)}: {weights}")
        )
    return [check_number("distillation_loss_weights", weight, 0.0, math.inf) for weight in weights]


def check_not_empty(data: Any) -> None:
    """Raise a `ValueError` for data that is known to be empty."""
    leaves = [leaf for leaf in keras.tree.flatten(data) if leaf is not None]
    lengths = [_length(leaf) for leaf in leaves]
    if 0 in lengths:
        raise ValueError(
            expected("data with at least one sample", f"an empty {type(leaves[lengths.index(0)]).__name__}")
        )


def _length(leaf):
    if hasattr(leaf, "cardinality"):
        # It is negative if infinite or unknown, and no method for a distributed data set.
        return int(leaf.cardinality() if callable(leaf.cardinality) else leaf.cardinality)
    if hasattr(leaf, "num_batches"):
        return leaf.num_batches
    shape = getattr(leaf, "shape", None)
    return shape[0] if shape else None
