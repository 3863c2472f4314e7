"""The one typed thing that every loader returns."""

import dataclasses

import numpy as np

from keras_distill._core.messages import expected

SPLITS = ("train", "validation", "test")


@dataclasses.dataclass(frozen=True)
class Data:
    """Hold the three splits of a labelled set: learn on one, choose on the second, read the third once.

    Attributes:
        train: Pair `(x, y)`: inputs `[samples, ...]`, float32; hard labels `[samples]`, int32.
        validation: Pair of the same form, for every choice that is made.
        test: Pair of the same form, for the figures that are reported.
        class_names: The classes' names, in the order of their labels.

    Raises:
        ValueError: If a split is empty, its inputs and labels differ in number, or a label has no class name.

    Example:

    >>> import numpy as np
    >>> pair = (np.zeros((4, 2), "float32"), np.array([0, 1, 0, 1]))
    >>> Data(pair, pair, pair, ("no", "yes"))
    Data(train=4, validation=4, test=4, classes=2)
    """

    train: tuple
    validation: tuple
    test: tuple
    class_names: tuple

    def __post_init__(self):
        for split in SPLITS:
            x, y = getattr(self, split)
            if len(x) != len(y) or not len(y):
                raise ValueError(expected(f"as many labels as inputs in {split}, not none", f"{len(x)} and {len(y)}"))
            if np.min(y) < 0 or np.max(y) >= len(self.class_names):
                labels = f"labels from {np.min(y)} to {np.max(y)}"
                raise ValueError(expected(f"{split} labels from 0 to {len(self.class_names) - 1}", labels))

    def __repr__(self):
        sizes = ", ".join(f"{split}={len(getattr(self, split)[1])}" for split in SPLITS)
        return f"Data({sizes}, classes={len(self.class_names)})"

    def first(self, count):
        """Keep the first `count` training samples; validation and test stay whole.

        Args:
            count: Positive number of training samples; `None` keeps all.

        Returns:
            A `Data`.

        Raises:
            ValueError: If there are fewer training samples than that.
        """
        x, y = self.train
        if count is None:
            return self
        if not 0 < count <= len(y):
            raise ValueError(expected(f"from 1 to {len(y)} training samples", f"count={count!r}"))
        return dataclasses.replace(self, train=(x[:count], y[:count]))
