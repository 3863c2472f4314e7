"""Which outputs of teacher and student are compared, where models return several or put one in a nest."""

from typing import Any

import keras

from keras_distill._core.messages import expected
from keras_distill._core.tensors import same_shape
from keras_distill.distiller.validation import named_shapes

_FIX = "Leave an output out: `None` for it in a loss with one entry for each output, or no loss for it in `compile`."


def find_differing(teacher: Any, student: keras.Model, losses: list[Any]) -> frozenset:
    """Return the outputs that cannot be compared because their shapes differ, by name or position.

    Args:
        teacher: The teacher.
        student: The student.
        losses: The distillation losses on final outputs.

    Returns:
        Names, or positions in a list: empty if all shapes agree, or are not known yet.

    Raises:
        ValueError: If a loss compares such an output, or no output can be compared.
    """
    teacher_shapes, student_shapes = named_shapes(teacher, "outputs"), named_shapes(student, "outputs")
    if teacher_shapes is None or student_shapes is None:
        return frozenset()  # Not built yet: the first batch will show.
    if len(teacher_shapes) == len(student_shapes) == 1:
        teacher_shapes = dict(zip(student_shapes, teacher_shapes.values(), strict=True))
    names = teacher_shapes.keys() | student_shapes.keys()
    same = {name for name in teacher_shapes.keys() & student_shapes.keys()}
    same = {name for name in same if same_shape(teacher_shapes[name], student_shapes[name])}
    differing = frozenset(names - same)
    unpaired = not same or teacher_shapes.keys() != student_shapes.keys()
    if losses and differing and (unpaired or any(differing & (_named_by(loss) or set()) for loss in losses)):
        received = f"{teacher_shapes} and {student_shapes}"
        raise ValueError(expected("teacher and student outputs of the same shapes", received, _FIX if same else ""))
    return differing


def check_have_no_loss(differing: frozenset, losses: list[Any], hard: Any, student: keras.Model) -> None:
    """Raise a `ValueError` if outputs of different shapes are trained, and a loss does not say that it leaves them out.

    Args:
        differing: What `find_differing` returned.
        losses: The distillation losses on final outputs.
        hard: The loss on the hard labels, or a nest with one for each output.
        student: The student.
    """
    if not differing or all(_named_by(loss) is not None for loss in losses):
        return
    names = getattr(student, "output_names", None) or []
    for output in differing:
        keys = (output, names[output] if isinstance(output, int) and output < len(names) else output)
        if isinstance(hard, dict):
            trained = any(hard.get(key) is not None for key in keys)
        else:
            trained = not isinstance(hard, (list, tuple)) or len(hard) <= output or hard[output] is not None
        if trained:
            received = f"different shapes of {output!r}"
            raise ValueError(expected("teacher and student outputs of the same shapes", received, _FIX))


def drop(values: Any, left_out: frozenset, loss: Any = None) -> Any:
    """Return a nest without the outputs to leave out, unless the loss has an entry for each output."""
    if not left_out or loss is not None and _named_by(loss) is not None:
        return values
    if isinstance(values, dict):
        return {name: value for name, value in values.items() if name not in left_out}
    if isinstance(values, (list, tuple)):
        return type(values)(value for place, value in enumerate(values) if place not in left_out)
    return values


def pack_single(values: Any, outputs: Any) -> Any:
    """Return a single value in the structure of a single output: `{"logits": x}`, `[x]` or `x`; others as they are."""
    one, other = keras.tree.flatten(values), keras.tree.flatten(outputs)
    return keras.tree.pack_sequence_as(outputs, one) if len(one) == len(other) == 1 else values


def _named_by(loss):
    """Return the outputs that a loss with an entry for each compares, or `None` for a loss on all outputs."""
    entries = getattr(loss, "loss", None)
    if isinstance(entries, dict):
        return {name for name, each in entries.items() if each is not None}
    if isinstance(entries, (list, tuple)):
        return {place for place, each in enumerate(entries) if each is not None}
    return None
