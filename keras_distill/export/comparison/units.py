"""How far the numbers of an output are from the student's: over all of them, and unit by unit."""

from typing import Any

import numpy as np

_MANY = 32
"""Units from which on an output is one quantity, such as an embedding or a picture, rather than a list of them."""

_CONSTANT = 0.02
"""Share of its largest value below which the range of a unit is next to nothing."""


class Units:
    """Running differences of an output, of which the last axis holds the units."""

    def __init__(self) -> None:
        self._count = 0
        self._largest = self._total = self._shift = np.zeros(0)
        self._low = self._high = np.zeros(0)

    def add(self, student: np.ndarray, file: np.ndarray) -> None:
        """Add a batch of float64 arrays `(batch, ..., units)`."""
        if student.ndim < 2:
            student, file = student[:, None], file[:, None]
        student, file = (array.reshape(-1, array.shape[-1]) for array in (student, file))
        if not self._count:
            width = student.shape[-1]
            self._largest, self._total, self._shift = np.zeros(width), np.zeros(width), np.zeros(width)
            self._low, self._high = np.full(width, np.inf), np.full(width, -np.inf)
        with np.errstate(invalid="ignore"):
            difference = file - student
        self._count += len(student)
        self._largest = np.maximum(self._largest, np.abs(difference).max(axis=0, initial=0.0))
        self._total = self._total + np.abs(difference).sum(axis=0)
        self._shift = self._shift + difference.sum(axis=0)
        self._low = np.minimum(self._low, student.min(axis=0, initial=np.inf))
        self._high = np.maximum(self._high, student.max(axis=0, initial=-np.inf))

    def figures(self, measurable: bool) -> dict[str, Any]:
        """Return the differences of the whole output, and `units`: a dict of lists with a number for each unit."""
        names = ("max_difference", "mean_difference", "range")
        if not measurable or not self._count:
            return dict.fromkeys(names) | {"units": {}}
        low, high = float(self._low.min()), float(self._high.max())
        return {
            "max_difference": float(self._largest.max()),
            "mean_difference": float(self._total.mean() / self._count),
            "range": high - low or abs(high) or 1.0,
            "units": {
                "max_difference": self._largest.tolist(),
                "mean_difference": (self._total / self._count).tolist(),
                "shift": (self._shift / self._count).tolist(),
                "low": self._low.tolist(),
                "high": self._high.tolist(),
            },
        }


def find_scales(units: dict[str, list[float]]) -> np.ndarray:
    """Return what the differences of each unit of an output of `numbers` are measured by.

    That is its own range, however small beside the others'. A nearly constant unit has next to no range, and counts
    with a quarter of its largest value. Where an output has many units they are one quantity, of which some units may
    hardly move, and a unit's scale is at least a tenth of the median.
    """
    low, high = np.array(units["low"]), np.array(units["high"])
    scales, largest = high - low, np.maximum(np.abs(low), np.abs(high))
    scales = np.where(scales < _CONSTANT * largest, 0.25 * largest, scales)
    if len(scales) > _MANY:
        scales = np.maximum(scales, 0.1 * np.median(scales))
    return np.where(scales > 0, scales, 1.0)
