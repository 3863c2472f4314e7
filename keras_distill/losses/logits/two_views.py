"""Distillation on three levels as its authors train: two augmentations of each sample, and hard labels."""

from keras import ops

from keras_distill.losses.divergences import wide_dtype
from keras_distill.losses.logits.labelled_class import target_cross_entropy
from keras_distill.losses.logits.multi_level import TEMPERATURES, batch_level, class_level, instance_level


def multi_level_two_views(
    teacher_weak,
    student_weak,
    teacher_strong,
    student_strong,
    labels,
    temperatures=TEMPERATURES,
    strong_temperatures=(3.0, 4.0, 5.0),
    ce_weight=1.0,
    kd_weight=1.0,
):
    """Compute what the authors train with: hard labels, and the three levels on two augmentations of each sample.

    The weak view is compared on all levels at all temperatures. Its instance and batch levels are multiplied by the
    fraction of samples of which the teacher is at most as sure as of the median one, its class level by the fraction
    of classes that the teacher gives at most as much as the median one: in the published code a mask of those meets
    a mean already taken. The strong view adds instance levels; at the temperatures that are not for it, the weak view
    adds them in its place.

    Args:
        teacher_weak: Float array `[batch, classes]`, logits of the weakly augmented samples. Constant.
        student_weak: Float array `[batch, classes]`.
        teacher_strong: Float array `[batch, classes]`, logits of the strongly augmented samples. Constant.
        student_strong: Float array `[batch, classes]`.
        labels: Integer array `[batch]`, class indices.
        temperatures: Positive numbers. Defaults to 2, 3, 4, 5 and 6.
        strong_temperatures: Those of them at which the strong view is compared. Defaults to 3, 4 and 5.
        ce_weight: Weight of the hard labels. Defaults to 1.0.
        kd_weight: Weight of all levels. Defaults to 1.0.

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
    unsure, rare = _fractions(teacher_weak)

    def levels(level, view, each):
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


def _fractions(teacher_logits):
    """Return which fraction of samples the teacher is at most as sure of as of the median, and of classes likewise."""
    # Ranks, in float64 where there is one: in float32 the samples and classes of a sure teacher are all equal.
    p = ops.stop_gradient(ops.softmax(ops.cast(teacher_logits, wide_dtype("float32")), axis=-1))
    return _fraction_up_to_median(ops.max(p, axis=-1)), _fraction_up_to_median(ops.sum(p, axis=0))


def _fraction_up_to_median(values):
    # The lower of two medians: what is not above it is not above their mean either.
    median = ops.sort(values)[(ops.shape(values)[0] - 1) // 2]
    return ops.mean(ops.cast(values <= median, values.dtype))
