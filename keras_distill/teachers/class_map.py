"""Teachers with other classes than the student: more classes, in another order, or finer ones."""

import collections
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_distill._core.checked import checked
from keras_distill._core.checks import check_items
from keras_distill._core.messages import expected, unknown_name
from keras_distill.answers.answer import TemperedLogits
from keras_distill.teachers.combined import CombinedTeacher, check_member, infer, one_class_count
from keras_distill.teachers.log_space import group_logits


@checked(teacher_classes=Sequence[str] | None)
def map_classes(teacher: Any, mapping: Any, classes: Any = None, teacher_classes: Any = None) -> Any:
    """Map the classes of a teacher to those of the student.

    The mapping is one of

    - a sequence with the student class of each teacher class, -1 or `None` for a class that the student does not have:
      `[2, 0, None, 1]` permutes three classes and drops a fourth, `[0, 0, 1]` merges two;
    - the same with names, and the names of the student's classes in `classes`: `map_classes(teacher, ["cat", "dog",
      "car"], classes=["dog", "cat"])`. Other names are dropped;
    - a dict from each student class to the teacher class, or the list of teacher classes, that it stands for:
      `{0: [1, 3], 1: 0}`. Keys that are names are ordered as in `classes`, or, without it, as in the dict; values that
      are names are looked up in `teacher_classes`. Teacher classes in no group are dropped;
    - the values of such a dict, as a list of lists.

    At each temperature, the probabilities within a group are added up and divided by their sum over all groups; see
    `MappedClasses`.

    Args:
        teacher: A `keras.Model` that returns logits or ends in a softmax, or an `Ensemble`.
        mapping: See above.
        classes: Names of the student's classes, or their number as a check. Defaults to `None`: as in the mapping.
        teacher_classes: Names of the teacher's classes. Defaults to `None`: the mapping uses none.

    Returns:
        A `MappedClasses`.

    Raises:
        ValueError: If a student class has no teacher class, a teacher class is in two groups, an index is out of
            range, or a name is unknown.

    Example:

    >>> layers = [keras.Input((4,)), keras.layers.Dense(4, kernel_initializer="zeros")]
    >>> teacher = map_classes(keras.Sequential(layers), {"animal": [0, 1, 2], "vehicle": 3})
    >>> ops.softmax(teacher(np.ones((1, 4)))).numpy().round(4).tolist()
    [[0.75, 0.25]]
    """
    check_member("teacher", teacher)
    mapping = mapping.tolist() if isinstance(mapping, np.ndarray) else mapping
    if isinstance(mapping, dict):
        groups, width = _by_student_class(mapping, classes, teacher_classes), None
    elif isinstance(mapping, (list, tuple)) and all(isinstance(entry, (list, tuple)) for entry in mapping):
        groups, width = [_indices(group, teacher_classes) for group in mapping], None
    elif isinstance(mapping, (list, tuple)):
        groups, width = _by_teacher_class(mapping, classes), len(mapping)
    else:
        raise ValueError(expected("mapping to be a sequence or a dict", f"mapping={mapping!r}"))
    count = len(classes) if hasattr(classes, "__len__") else classes
    if count not in (None, len(groups)):
        raise ValueError(expected(f"a mapping to {count} classes, as `classes` says", f"one to {len(groups)}"))
    width = width if teacher_classes is None else len(teacher_classes)
    return MappedClasses(teacher, groups, width)


@keras.saving.register_keras_serializable(package="keras_distill")
class MappedClasses(CombinedTeacher):
    """Add up a teacher's probabilities over groups of its classes. `map_classes` makes it.

    At the temperature T, the soft targets of the teacher at T (for an ensemble, those of the ensemble at T) are added
    up within each group and divided by their sum over all groups: for a teacher with logits `z`, the logits are `v_g(T)
    = T log(sum over i in g of exp(z_i / T))`. Classes in no group are dropped and the others renormalised: on samples
    of a dropped class, the soft targets are then the teacher's guess among classes that are all wrong.

    A group of many classes is likely at a high temperature for its size alone: as T grows, a group of three gets three
    times the probability of a group of one.

    Args:
        teacher: A `keras.Model` that returns logits or ends in a softmax.
        groups: For each student class, the list of teacher classes that it stands for.
        width: Number of classes of the teacher. Defaults to `None`: taken from the teacher.
        name: Name of the model. Defaults to `"mapped_classes"`.
        **kwargs: Passed to `keras.Model`.

    Raises:
        ValueError: If a group is empty or two overlap, an index is out of range, or there are fewer than two groups.

    Example:

    >>> inner = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3, kernel_initializer="zeros")])
    >>> inner.layers[0].set_weights([np.zeros((4, 3)), np.array([0.0, 0.0, 5.0])])
    >>> answer = MappedClasses(inner, [[2], [0, 1]]).answer(np.ones((1, 4)))
    >>> print(ops.softmax(answer.logits).numpy().round(3), ops.softmax(answer.at(1e4) / 1e4).numpy().round(3))
    [[0.987 0.013]] [[0.333 0.667]]
    """

    _nested = ("teacher",)

    @checked()
    def __init__(self, teacher: Any, groups: Any, width: Any = None, name: str = "mapped_classes", **kwargs: Any):
        check_member("teacher", teacher)
        known = one_class_count("teacher", teacher)
        if None not in (width, known) and width != known:
            fix = "Give one entry for each class of the teacher, -1 or None to drop it."
            raise ValueError(expected(f"a mapping of the teacher's {known} classes", f"one of {width}", fix))
        width = known if width is None else width
        groups = _check_groups(groups, width)
        super().__init__([teacher], classes=len(groups), name=name, **kwargs)
        self.teacher = teacher
        self.groups = groups
        self.width = width

    def soft_targets(self, inputs: Any) -> Any:
        answer = infer(self.teacher, inputs)
        self._check_answer(answer)
        if all(len(group) == 1 for group in self.groups):  # A choice of logits, the same one at every temperature.
            return answer.map(lambda logits: merge_classes(logits, self.groups))
        merged = merge_classes(answer.logits, self.groups)
        return TemperedLogits(merged, lambda T: merge_classes(answer.at(T), self.groups, T))

    def _check_answer(self, answer):
        if keras.tree.is_nested(answer):
            raise ValueError(expected("a teacher of one output", f"{len(keras.tree.flatten(answer))} outputs"))
        count, largest = answer.shape[-1], max(map(max, self.groups))
        if self.width not in (None, count) or largest >= count:
            what = f"a teacher of {self.width} classes" if self.width else f"a teacher of {largest + 1} classes or more"
            raise ValueError(expected(what, f"logits of shape {tuple(answer.shape)}"))

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "teacher": keras.saving.serialize_keras_object(self.teacher),
            "groups": [list(group) for group in self.groups],
            "width": self.width,
        }


@checked(logits="[..., classes]")
def merge_classes(logits: Any, groups: Any, temperature: Any = 1.0) -> Any:
    """Compute the logits of groups of classes: `v_g = T log(sum over i in g of exp(z_i / T))`.

    `softmax(v / T)` holds the sums of `softmax(z / T)` over each group, divided by the sum over all groups.

    Args:
        logits: Float tensor `[..., classes]`.
        groups: For each group the list of its classes; no class is in two groups.
        temperature: Positive number or scalar tensor T. Defaults to 1.0.

    Returns:
        Float tensor `[..., groups]`. A group of one class has the logit of that class, bit for bit.

    Example:

    >>> logits = ops.log(ops.convert_to_tensor([[0.1, 0.2, 0.3, 0.4]]))
    >>> print(ops.softmax(merge_classes(logits, [[3], [0, 1]])).numpy().round(4))
    [[0.5714 0.4286]]
    """
    groups = _check_lists(groups)
    kept = [index for group in groups for index in group]
    logits = ops.take(logits, np.asarray(kept, "int32"), axis=-1)
    if len(kept) == len(groups):
        return logits
    owners = [owner for owner, group in enumerate(groups) for _ in group]
    return group_logits(logits, owners, len(groups), temperature)


_GROUPS = "a list of classes, one for each student class"


def _by_student_class(mapping, classes, teacher_classes):
    names = list(classes) if hasattr(classes, "__len__") else list(mapping)
    if all(_is_index(key) for key in mapping):
        names = range(classes if _is_index(classes) else len(names))
    unknown = [key for key in mapping if key not in names]
    missing = [name for name in names if name not in mapping]
    if unknown or missing:
        received = ", ".join(
            [f"{key!r}, which is not a class" for key in unknown] + [f"nothing for {n!r}" for n in missing]
        )
        raise ValueError(expected(f"a mapping from each of the student's classes {list(names)}", received))
    return [_indices(mapping[name], teacher_classes) for name in names]


def _by_teacher_class(mapping, classes):
    names = list(classes) if hasattr(classes, "__len__") else None
    if names is None and any(isinstance(entry, str) for entry in mapping):
        fix = "Name them: classes=[...]."
        raise ValueError(expected("the names of the student's classes beside a mapping by names", "none", fix))
    owners = [_owner(entry, names) for entry in mapping]
    count = max([*owners, -1]) + 1 if classes is None else len(names) if names else classes
    if any(owner >= count for owner in owners):
        raise ValueError(expected(f"student classes from 0 to {count - 1}, or -1", f"mapping={list(mapping)}"))
    groups = [[] for _ in range(count)]
    for index, owner in enumerate(owners):
        if owner >= 0:
            groups[owner].append(index)
    return groups


def _owner(entry, names):
    if isinstance(entry, str):
        return names.index(entry) if entry in names else -1
    if entry is None or entry == -1:
        return -1
    return _index(entry)


def _indices(group, names):
    group = group if isinstance(group, (list, tuple, set, np.ndarray)) else [group]
    return [_named(entry, names) if isinstance(entry, str) else _index(entry) for entry in group]


def _named(name, names):
    if names is None:
        fix = "Name them: teacher_classes=[...]."
        raise ValueError(expected("the names of the teacher's classes beside groups of names", "none", fix))
    if name not in names:
        raise ValueError(unknown_name("a teacher class", name, names))
    return list(names).index(name)


def _is_index(entry):
    return isinstance(entry, (int, np.integer)) and not isinstance(entry, bool)


def _index(entry):
    if not _is_index(entry) or entry < 0:
        raise ValueError(expected("classes as integers >= 0, or their names", f"{entry!r}"))
    return int(entry)


def _check_lists(groups):
    return [check_items("each group", group, _GROUPS) for group in check_items("groups", groups, _GROUPS)]


def _check_groups(groups, width):
    groups = _check_lists(groups)
    groups = tuple(tuple(_index(entry) for entry in group) for group in groups)
    empty = [student for student, group in enumerate(groups) if not group]
    if empty or len(groups) < 2:
        received = f"none for {empty}" if empty else f"{len(groups)} student classes"
        raise ValueError(expected("two student classes or more, each with a teacher class", received))
    kept = [index for group in groups for index in group]
    repeated = sorted(index for index, count in collections.Counter(kept).items() if count > 1)
    if repeated:
        raise ValueError(expected("each teacher class in one group at most", f"{repeated} more than once"))
    if width is not None and max(kept) >= width:
        raise ValueError(expected(f"teacher classes from 0 to {width - 1}", f"{max(kept)}"))
    return groups
