"""What student and file decide: the class, or whether each label applies; counted for every class and every label."""

import abc
from typing import Any

import numpy as np

Groups = list[dict[str, Any]]
"""What the student decides and how often: `unit`, `answer`, `support`, and `kept`, how often the file agrees."""


class Decisions(abc.ABC):
    """Running counts of the decisions on one output."""

    def __init__(self) -> None:
        self._answers = self._agreed = self._labelled = 0
        self._correct = self._student_correct = 0

    def add(self, student: np.ndarray, file: np.ndarray, labels: np.ndarray | None) -> None:
        """Add a batch of outputs, and of labels if there are any; a label of -1 is left out."""
        ours, theirs = self.decide(student), self.decide(file)
        self._answers += ours.size
        self._agreed += int((ours == theirs).sum())
        self.count(ours, ours == theirs)
        if labels is not None:
            known = labels >= 0
            self._labelled += int(known.sum())
            self._student_correct += int((ours == labels)[known].sum())
            self._correct += int((theirs == labels)[known].sum())

    @abc.abstractmethod
    def decide(self, output: np.ndarray) -> np.ndarray:
        """Return the decisions of an output, integers in the shape of its labels."""

    @abc.abstractmethod
    def count(self, ours: np.ndarray, kept: np.ndarray) -> None:
        """Count the student's decisions, and those of them that the file keeps."""

    @abc.abstractmethod
    def groups(self) -> Groups:
        """Return the counts of every decision that the student takes, or could take."""

    def figures(self) -> dict[str, Any]:
        """Return the shares of equal and of right decisions, and the groups."""
        labelled = self._labelled
        return {
            "agreement": self._agreed / self._answers if self._answers else None,
            "accuracy": self._correct / labelled if labelled else None,
            "student_accuracy": self._student_correct / labelled if labelled else None,
            "groups": self.groups(),
        }


class Classes(Decisions):
    """The largest of the scores along the last axis."""

    def __init__(self, classes: int):
        super().__init__()
        self._support, self._kept = np.zeros(classes, int), np.zeros(classes, int)

    def decide(self, output: np.ndarray) -> np.ndarray:
        return output.argmax(-1)

    def count(self, ours: np.ndarray, kept: np.ndarray) -> None:
        self._support += np.bincount(ours.ravel(), minlength=len(self._support))
        self._kept += np.bincount(ours[kept].ravel(), minlength=len(self._support))

    def groups(self) -> Groups:
        return [
            {"unit": unit, "answer": None, "support": int(support), "kept": int(kept)}
            for unit, (support, kept) in enumerate(zip(self._support, self._kept, strict=True))
        ]


class Indices(Classes):
    """Classes that the student gives as integers."""

    def __init__(self) -> None:
        super().__init__(0)

    def decide(self, output: np.ndarray) -> np.ndarray:
        return output.astype(np.int64)

    def count(self, ours: np.ndarray, kept: np.ndarray) -> None:
        most = max(len(self._support), int(ours.max(initial=0)) + 1)
        self._support, self._kept = (np.pad(counts, (0, most - len(counts))) for counts in (self._support, self._kept))
        super().count(np.maximum(ours, 0), kept)


class Labels(Decisions):
    """Whether each label applies: its probability is at least one half.

    Args:
        labels: Number of labels.
        threshold: Value of the output from which on a label applies.
    """

    def __init__(self, labels: int, threshold: float):
        super().__init__()
        self._threshold = threshold
        self._support, self._kept = np.zeros((2, labels), int), np.zeros((2, labels), int)

    def decide(self, output: np.ndarray) -> np.ndarray:
        return (output >= self._threshold).astype(np.int64)

    def count(self, ours: np.ndarray, kept: np.ndarray) -> None:
        width = self._support.shape[1]
        ours, kept = ours.reshape(-1, width), kept.reshape(-1, width)
        for answer in (0, 1):
            self._support[answer] += (ours == answer).sum(axis=0)
            self._kept[answer] += ((ours == answer) & kept).sum(axis=0)

    def groups(self) -> Groups:
        return [
            {"unit": unit, "answer": bool(answer), "support": int(support), "kept": int(kept)}
            for answer in (1, 0)
            for unit, (support, kept) in enumerate(zip(self._support[answer], self._kept[answer], strict=True))
        ]


def make_decisions(kind: str, student: np.ndarray, labels: np.ndarray | None) -> Decisions | None:
    """Return the counts for an output of a kind, given its first batch; `None` for `numbers`.

    Labels apply from a probability of one half, or a logit of 0. A linear output that was trained on 0 and 1 is no
    logit: its threshold is one half if the student is right more often with that.
    """
    if kind == "numbers":
        return None
    if kind == "indices":
        return Indices()
    if kind == "classes":
        return Classes(student.shape[-1])
    probabilities = bool((student >= 0).all() and (student <= 1).all())
    threshold = 0.5 if probabilities else 0.0
    if labels is not None and not probabilities:
        known = labels >= 0
        right = [((student >= each) == labels)[known].mean() if known.any() else 0.0 for each in (0.0, 0.5)]
        threshold = 0.5 if right[1] > right[0] else 0.0
    return Labels(student.shape[-1] if student.ndim > 1 else 1, threshold)
