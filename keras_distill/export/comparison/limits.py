"""Limits within which a file agrees with its student, and what is wrong with one that does not."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np

from keras_distill.export.comparison.units import find_scales

LEAST_SUPPORT = 3
"""Samples from which on a class is checked by itself: with fewer, one doubtful sample would refuse a right file."""
_ROUNDING = 50 * float(np.finfo(np.float32).eps)
"""What float32 may lose in a unit, as a share of the largest number in the output."""


@dataclasses.dataclass(frozen=True)
class Limits:
    """Limits within which a file agrees with the student; `None` leaves a figure unlimited.

    A class, or a label's yes or no, may lose twice the share of samples that the whole output may lose, or one sample
    if that is less than one; never all of them. The units of an output of numbers have the limits of differences each
    by its own range; a unit of classes or labels may be shifted by twice the limit of the mean difference. Classes as
    integers are equal or not: how far apart two of them are has no limit.

    Attributes:
        min_agreement: Smallest share of samples with the student's decision: the class, or each label at one half.
        max_difference: Largest difference from the student, as a share of the range of the student's output.
        max_mean_difference: Largest mean difference, as a share of the same range.
    """

    min_agreement: float | None
    max_difference: float | None
    max_mean_difference: float | None

    def complaints(self, name: str, figures: dict[str, Any], units: Sequence[str] = ()) -> list[str]:
        """Return what is wrong with the figures of the output `name`, whose units may have names."""
        if not figures["student_finite"]:
            return [f"output {name!r} of the student itself is not finite"]
        if not figures["finite"]:
            return [f"output {name!r} is not finite"]
        found = []
        agreement = figures["agreement"]
        if agreement is not None and self.min_agreement is not None and agreement < self.min_agreement:
            found.append(f"agreement of output {name!r} is {agreement:.4f}, less than {self.min_agreement:g}")
        for figure, limit in (("max", self.max_difference), ("mean", self.max_mean_difference)):
            difference = figures[f"{figure}_difference"]
            if figures["kind"] != "indices" and limit is not None and difference > limit * figures["range"]:
                allowed = f"more than {limit:g} of the student's range {figures['range']:.3g}"
                found.append(f"{figure} difference of output {name!r} is {difference:.3g}, {allowed}")
        lost = self._find_lost(figures)
        if lost is not None:
            advice = "; calibration='percentile' helps if a few extreme values stretch the ranges of integers"
            found.append(_describe_lost(name, lost, units) + advice * (self.max_difference is None))
        return found or self._complain_of_units(name, figures, units)

    def _find_lost(self, figures: dict[str, Any]) -> dict[str, Any] | None:
        """Return the group of decisions that lost the most beyond what it may lose, if there is one."""
        if not self.min_agreement:
            return None
        share = 2 * (1 - self.min_agreement)

        def excess(group: dict[str, Any]) -> float:
            support = group["support"]
            allowed = min(max(share * support, 1), support - 1)
            return (support - group["kept"] - allowed) / support

        checked = [group for group in figures["groups"] if group["support"] >= LEAST_SUPPORT]
        worst = max(checked, key=excess, default=None)
        return worst if worst is not None and excess(worst) > 0 else None

    def _complain_of_units(self, name: str, figures: dict[str, Any], names: Sequence[str]) -> list[str]:
        units = figures["units"]
        if not units or len(units["low"]) < 2 or self.max_mean_difference is None or figures["kind"] == "indices":
            return []
        if figures["kind"] == "numbers":
            pairs = [("mean_difference", self.max_mean_difference, "mean difference")]
            if self.max_difference is not None:
                pairs.append(("max_difference", self.max_difference, "max difference"))
            scales = find_scales(units)
        else:
            pairs = [("shift", 2 * self.max_mean_difference, "mean shift")]
            scales = _find_score_scales(figures)
        rounding = _ROUNDING * float(np.max(np.abs([units["low"], units["high"]])))
        for figure, limit, words in pairs:
            values = np.abs(units[figure])
            excess = (values - rounding) / (limit * scales)
            worst = int(excess.argmax())
            if excess[worst] > 1:
                unit = _name_unit(worst, names)
                text = f"{words} of {unit} of output {name!r} is {values[worst]:.3g}, "
                text += f"more than {limit:g} of its range {scales[worst]:.3g}"
                return [text + _advise(figures, scales[worst])]
        return []


def _find_score_scales(figures: dict[str, Any]) -> np.ndarray:
    """Return what shifts of scores are measured by: their own range, but at least what could change a decision."""
    low, high = np.array(figures["units"]["low"]), np.array(figures["units"]["high"])
    probabilities = low.min() >= 0 and high.max() <= 1
    return np.maximum(high - low, 0.05 if probabilities else 0.2 * figures["range"])


def _describe_lost(name: str, group: dict[str, Any], units: Sequence[str]) -> str:
    support, kept = group["support"], group["kept"]
    label = f"{_name_unit(group['unit'], units, 'class' if group['answer'] is None else 'label')} of output {name!r}"
    if group["answer"] is None:
        return f"the student puts {support} samples into {label}, the file only {kept} of them"
    if group["answer"]:
        return f"the student gives {label} to {support} samples, the file to only {kept} of them"
    return f"the student withholds {label} from {support} samples, the file from only {kept} of them"


def _name_unit(place: int, names: Sequence[str], word: str = "unit") -> str:
    return f"{word} {names[place]!r}" if place < len(names) else f"{word} {place}"


def _advise(figures: dict[str, Any], scale: float) -> str:
    if figures["kind"] != "numbers" or scale > 0.1 * figures["range"]:
        return ""
    return (
        f", which is small beside that of the output, {figures['range']:.3g}: integers share one scale. Train on "
        "targets of like ranges, or give the unit an output of its own with `kd.export.split_head(student)`"
    )
