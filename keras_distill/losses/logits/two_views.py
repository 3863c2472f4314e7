"""Multi-level distillation as its authors train it: with two augmentations of each sample and hard labels."""

import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from keras import ops

from keras_distill._core.checked import checked
from keras_distill.answers.answer import Tensor
from keras_distill.losses.divergences import wide_dtype
from keras_distill.losses.logits.labelled_class import target_cross_entropy
from keras_distill.losses.logits.multi_level import TEMPERATURES, batch_level, class_level, instance_level


@checked(
    teacher_weak="[batch, classes]",
    student_weak="[batch, classes]",
    teacher_strong="[batch, classes]",
    student_strong="[batch, classes]",
    labels="int [batch]",
    ce_weight=(0.0, math.inf),
    kd_weight=(0.0, math.inf),
)
def multi_level_two_views(
    teacher_weak: Tensor,
    student_weak: Tensor,
    teacher_strong: Tensor,
    student_strong: Tensor,
    labels: Tensor,
    temperatures: Sequence[float] = TEMPERATURES,
    strong_temperatures: Sequence[float] = (3.0, 4.0, 5.0),
    ce_weight: float = 1.0,
    kd_weight: float = 1.0,
) -> dict[str, Tensor]:
    """Compute the published training loss: hard labels, and the three levels on two augmentations of each sample.

    The weak view is compared on all levels at all temperatures. Its instance and batch levels are multiplied by the
    fraction of samples on which the teacher is at most as confident as on the median sample, and its class level by
    the fraction of classes with at most the median of the teacher's total probability. (In the published code, a mask
    of these is applied after the mean has been taken.) The strong view adds instance levels at its own temperatures;
    at the other temperatures, the weak view adds them instead.

    Args:
        teacher_weak: Float array `[batch, classes]`, logits of the weakly augmented samples. Constant.
        student_weak: Float array `[batch, classes]`.
        teacher_strong: Float array `[batch, classes]`, logits of the strongly augmented samples. Constant.
        student_strong: Float array `[batch, classes]`.
        labels: Integer array `[batch]`, class indices.
        temperatures: Positive numbers. Defaults to `(2.0, 3.0, 4.0, 5.0, 6.0)`.
        strong_temperatures: The temperatures at which the strong view is compared. Defaults to `(3.0, 4.0, 5.0)`.
        ce_weight: Weight of the hard labels. Defaults to 1.0.
        kd_weight: Weight of the three levels. Defaults to 1.0.

    Returns:
        Dict of float scalars whose sum is the loss: `"ce"`, `"kd"` (instances), `"cc"` (classes), `"bc"` (batch).

    Example:

    >>> import numpy as np
    >>> z = np.zeros((4, 8), "float32")
    >>> parts = multi_level_two_views(z, z, z, z, labels=np.arange(4))
    >>> {name: round(float(part), 4) for name, part in parts.items()}  # Twice log 8
    {'ce': 4.1589, 'kd': 0.0, 'cc': 0.0, 'bc': 0.0}

    Reference:
        Jin, Wang, Lin, "Multi-level Logit Distillation", CVPR 2023.
    """
    weak, strong = (teacher_weak, student_weak), (teacher_strong, student_strong)
    unsure, rare = _count_up_to_medians(teacher_weak)

    def levels(level: Callable, view: tuple, each: Iterable[float]) -> Any:
        return sum(ops.mean(level(*view, temperature)) for temperature in each)

    hard = sum(ops.mean(target_cross_entropy(student, labels)) for student in (student_weak, student_strong))
    instances = levels(instance_level, weak, temperatures)
    added = levels(instance_level, strong, [each for each in temperatures if each in strong_temperatures])
    added += levels(instance_level, weak, [each for each in temperatures if each not in strong_temperatures])
    return {
        "ce": ce_weight * hard,
        "kd": kd_weight * (ops.cast(unsure, instances.dtype) * instances + added),
        "cc": kd_weight * ops.cast(rare, instances.dtype) * levels(class_level, weak, temperatures),
        "bc": kd_weight * ops.cast(unsure, instances.dtype) * levels(batch_level, weak, temperatures),
    }


def _count_up_to_medians(teacher_logits):
    """Return the fraction of samples up to the median confidence, and of classes up to the median mass."""
    # In float64 if the backend has it: in float32, all samples and classes of a confident teacher are equal.
    p = ops.stop_gradient(ops.softmax(ops.cast(teacher_logits, wide_dtype("float32")), axis=-1))
    return _fraction_up_to_median(ops.max(p, axis=-1)), _fraction_up_to_median(ops.sum(p, axis=0))


def _fraction_up_to_median(values):
    # The lower of two medians: the values up to it are those up to the mean of both.
    median = ops.sort(values)[(ops.shape(values)[0] - 1) // 2]
    return ops.mean(ops.cast(values <= median, values.dtype))
