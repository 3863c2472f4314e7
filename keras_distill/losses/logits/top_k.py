"""Soft targets of the k largest classes: reduced to k + 1 classes here, or refused with a reason."""

from typing import Any

import keras
from keras import ops

from keras_distill._core.messages import expected
from keras_distill._core.tensors import mask_of, set_mask
from keras_distill.answers.answer import Tensor
from keras_distill.answers.top_k import TopK
from keras_distill.losses.heads import logits_of

_FIX = "Store all classes (`kd.targets.write` without `top_k`), or use another loss, such as 'kd' or 'forward_kl'."
_REASON = "it needs the logits of all classes"


def is_top_k(outputs: Any) -> bool:
    """Return whether a teacher's outputs are its k largest classes and the mass of the rest.

    Args:
        outputs: A tensor, a `keras_distill.targets.TopK`, or a nest of them.
    """
    return any(isinstance(output, TopK) for output in keras.tree.flatten(outputs))


def check_takes_top_k(loss: Any) -> None:
    """Raise a `ValueError` with the reason unless a loss can be computed on k classes and the mass of the rest.

    Args:
        loss: A distillation loss, one of this package or not.
    """
    if not getattr(loss, "takes_top_k", False):
        name = getattr(loss, "name", None) or type(loss).__name__
        reason = getattr(loss, "not_top_k", _REASON)
        what = f"soft targets of all classes for the loss {name!r}, because {reason}"
        raise ValueError(expected(what, "the k largest classes only", _FIX))


def as_one_hot(outputs: Any) -> Any:
    """Return a teacher's outputs as rows of all classes. Those of a `TopK` are one-hot rows of its largest class.

    Args:
        outputs: A tensor, a `keras_distill.targets.TopK`, or a nest of them.
    """
    if not is_top_k(outputs):
        return outputs
    best = ops.argmax(outputs.values, axis=-1)[..., None]
    first = ops.take_along_axis(ops.cast(outputs.indices, "int32"), best, axis=-1)
    return ops.one_hot(ops.squeeze(first, -1), outputs.classes)


def reduced(loss: Any, top_k: Any, student_output: Any, temperature: Any) -> tuple[Tensor, Tensor]:
    """Return the logits of teacher and student over the k classes and, as one class, all others.

    Args:
        loss: The loss to compute on them.
        top_k: A `keras_distill.targets.TopK`.
        student_output: Float tensor `[..., classes]`, logits or the output of a softmax head.
        temperature: Positive number or scalar tensor T at which the mass of the others is computed.

    Returns:
        Two float tensors `[..., k + 1]`. The student's carries the mask of `student_output`.

    Raises:
        ValueError: If the loss cannot be computed on them.
    """
    check_takes_top_k(loss)
    teacher, student = loss.reduce_top_k(top_k, logits_of(student_output, "student"), temperature)
    if mask_of(student_output) is not None:
        set_mask(student, mask_of(student_output))
    return teacher, student
