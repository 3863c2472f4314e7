"""The running comparison of one output of the student and of a file."""

from typing import Any

import numpy as np

from keras_distill._core.messages import expected
from keras_distill.export.comparison.decisions import Decisions, make_decisions
from keras_distill.export.comparison.limits import LEAST_SUPPORT
from keras_distill.export.comparison.units import Units


class Tally:
    """The running comparison of one output of the student and of a file.

    Args:
        kind: One of `kinds.KINDS`. Defaults to `None`: `"indices"` for integers, `"classes"` if the output has several
            units and its labels are not the targets of a regression, else `"numbers"`.
    """

    def __init__(self, kind: str | None = None):
        self._kind = kind
        self._units = Units()
        self._decisions: Decisions | None = None
        self._finite = self._student_finite = True

    def add(self, student: np.ndarray, file: np.ndarray, labels: np.ndarray | None = None) -> None:
        """Add a batch.

        Args:
            student: Array `(batch, ...)`.
            file: Array of the same shape.
            labels: Labels, as `labels.read_labels` returns them. Defaults to `None`.

        Raises:
            ValueError: If the shapes differ, which broadcasting would hide.
        """
        if student.shape != file.shape:
            raise ValueError(expected(f"an output of shape {student.shape}", file.shape))
        if self._kind is None:
            named = labels is None or labels.dtype.kind == "i"
            self._kind = "classes" if student.ndim > 1 and student.shape[-1] > 1 and named else "numbers"
            if student.dtype.kind in "iu":
                self._kind = "indices"
        if self._decisions is None:
            self._decisions = make_decisions(self._kind, student, labels)
        student, file = student.astype(np.float64), file.astype(np.float64)
        self._student_finite &= bool(np.isfinite(student).all())
        self._finite &= bool(np.isfinite(file).all())
        self._units.add(student, file)
        if self._decisions is not None:
            self._decisions.add(student, file, labels)

    def figures(self) -> dict[str, Any]:
        """Return a dict of plain numbers; `None` where there is nothing to measure."""
        measurable = self._finite and self._student_finite
        nothing: dict[str, Any] = dict.fromkeys(("agreement", "accuracy", "student_accuracy"))
        return {
            "kind": self._kind,
            "finite": self._finite,
            "student_finite": self._student_finite,
            **nothing,
            "groups": [],
            **(self._decisions.figures() if self._decisions is not None else {}),
            **self._units.figures(measurable),
        }


def condense(figures: dict[str, Any]) -> dict[str, Any]:
    """Return the figures of an output without a number for every class and unit.

    In their place are `worst`, the decision of which the file keeps the smallest share, and `unchecked`, how many
    classes or labels have too few samples to be checked by themselves.
    """
    groups = figures["groups"]
    checked = [group for group in groups if group["support"] >= LEAST_SUPPORT]
    worst = min(checked, key=lambda group: group["kept"] / group["support"], default=None)
    unchecked = len({group["unit"] for group in groups}) - len({group["unit"] for group in checked})
    rest = {name: value for name, value in figures.items() if name not in ("groups", "units")}
    return rest | {"worst": worst, "unchecked": unchecked}
