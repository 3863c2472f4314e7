"""The type that every loader returns: a data set with its three splits."""

import dataclasses
from typing import Any

import numpy as np

from keras_distill._core.checked import checked
from keras_distill._core.checks import check_whole_number
from keras_distill._core.messages import expected

SPLITS = ("train", "validation", "test")

Split = tuple[np.ndarray, np.ndarray]
"""Inputs `[samples, ...]` and hard labels `[samples]`."""


@checked()
@dataclasses.dataclass(frozen=True)
class Data:
    """The three splits of a labelled data set: train on the first, choose on the second, read the third once.

    Attributes:
        train: Pair `(x, y)` of inputs `[samples, ...]`, float32, and hard labels `[samples]`, int32.
        validation: Pair of the same form, for every choice.
        test: Pair of the same form, for the reported figures.
        class_names: Names of the classes, in the order of their labels.

    Raises:
        ValueError: If a split is empty, its inputs and labels differ in number, or a label has no class name.

    Example:

    >>> import numpy as np
    >>> pair = (np.zeros((4, 2), "float32"), np.array([0, 1, 0, 1]))
    >>> Data(pair, pair, pair, ("no", "yes"))
    Data(train=4, validation=4, test=4, classes=2)
    """

    train: Split
    validation: Split
    test: Split
    class_names: tuple[str, ...]

    def __post_init__(self) -> None:
        for split in SPLITS:
            check_split(split, getattr(self, split))
            x, y = getattr(self, split)
            if len(x) != len(y) or not len(y):
                what = f"as many labels as inputs in {split}, at least one"
                raise ValueError(expected(what, f"{len(x)} inputs and {len(y)} labels"))
            if np.min(y) < 0 or np.max(y) >= len(self.class_names):
                labels = f"labels from {np.min(y)} to {np.max(y)}"
                raise ValueError(expected(f"{split} labels from 0 to {len(self.class_names) - 1}", labels))

    def __repr__(self) -> str:
        sizes = ", ".join(f"{split}={len(getattr(self, split)[1])}" for split in SPLITS)
        return f"Data({sizes}, classes={len(self.class_names)})"

    def first(self, count: int | None) -> "Data":
        """Return the data with only its first `count` training samples; validation and test stay whole.

        Args:
            count: Positive number of training samples, or `None` for all.

        Returns:
            A `Data`.

        Raises:
            ValueError: If there are fewer training samples than `count`.
        """
        if count is None:
            return self
        x, y = self.train
        count = check_whole_number("count", count, 1, len(y))
        return dataclasses.replace(self, train=(x[:count], y[:count]))


def check_split(name: str, split: Any) -> None:
    """Raise a `ValueError` unless a split is a pair of arrays, inputs and labels."""
    if not isinstance(split, (tuple, list)) or len(split) != 2 or not all(hasattr(each, "__len__") for each in split):
        raise ValueError(expected(f"{name} to be a pair of arrays, inputs and labels", f"{split!r:.200}"))
