"""The figures of a report, each drawn and described in words for readers who cannot see it."""

import dataclasses
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from keras_distill.drawing import numbers, style
from keras_distill.drawing.pareto import front
from keras_distill.recipes.results import WAYS, Results

FEW = 10
"""Bars of fewer samples than this are pale: they tell little."""
COSTS = {
    "bytes": ("Accuracy against size", "size (kB, log scale)", 1 / 1024),
    "latency_us": ("Accuracy against latency", "one sample (µs, log scale)", 1.0),
}
"""Cost -> title of its figure, label of its axis, factor to the unit of the axis."""
_GAP, _FILES, _FRONT = "#9c2f2f", "#009e73", "#b0b0b0"
_SHAPES = "sD^vP<>Xp*hHd8"
_MODEL_SHAPE = "o"


@dataclasses.dataclass(frozen=True)
class Point:
    """A model or a file in a figure of accuracy against a cost.

    Attributes:
        label: Name for the key.
        kind: `"teacher"`, `"alone"`, `"distilled"` or `"file"`.
        cost: Bytes, or microseconds.
        accuracies: Accuracy of each training.
        passed: Whether it is a model, or a file that passed its verification.
    """

    label: str
    kind: str
    cost: float
    accuracies: Sequence[float]
    passed: bool = True


def find_points(results: Results, cost: str) -> list[Point]:
    """Return the points of the figure against a cost, `"bytes"` or `"latency_us"`: models, then files with figures."""
    points = [
        Point(
            style.LABELS[way],
            way,
            getattr(results.cost(way), cost),
            [training.test_accuracy for training in results.trainings(way)],
        )
        for way in WAYS
    ]
    for file in results.export.artifacts:
        value, accuracy = getattr(file, cost), file.accuracy
        if value is not None and accuracy is not None and math.isfinite(value) and math.isfinite(accuracy):
            points.append(Point(file.format, "file", value, [accuracy], file.passed))
    return points


def draw_costs(results: Results, cost: str) -> Any:
    """Draw accuracy against a cost, with the front of the points that no other surpasses.

    A student is drawn as the mean of its seeds, with a bar from the worst to the best.

    Args:
        results: The results of the run.
        cost: `"bytes"` or `"latency_us"`.

    Returns:
        A `matplotlib.figure.Figure`.
    """
    title, axis, factor = COSTS[cost]
    points = find_points(results, cost)
    with style.matplotlib().rc_context(style.STYLE):
        # The key below the axes has two columns.
        figure, axes = style.new_figure(4.8, 3.6 + 0.2 * (len(points) // 2))
        passed = [(factor * each.cost, 100 * float(np.mean(each.accuracies))) for each in points if each.passed]
        axes.plot(*zip(*(passed[place] for place in front(passed)), strict=True), color=_FRONT, linewidth=1.2, zorder=1)
        shapes = iter(_SHAPES)
        for point in points:
            _mark(axes, point, factor, shapes)
        axes.set(title=title, xlabel=axis, ylabel="test accuracy (%)", xscale="log")
        axes.margins(x=0.12, y=0.12)
        style.plain_numbers(axes.xaxis)
        figure.legend(loc="outside lower center", ncols=2, fontsize=9, handletextpad=0.4)
        return figure


def _mark(axes: Any, point: Point, factor: float, shapes: Iterator[str]) -> None:
    is_model = point.kind != "file"
    colour = style.COLOURS.get(point.kind, _FILES)
    x, accuracies = factor * point.cost, 100 * np.array(point.accuracies)
    if len(accuracies) > 1:
        axes.vlines(x, np.min(accuracies), np.max(accuracies), color=colour, linewidth=1.4, alpha=0.6, zorder=2)
    axes.plot(
        x,
        float(np.mean(accuracies)),
        linestyle="none",
        marker=_MODEL_SHAPE if is_model else next(shapes),
        markersize=9 if is_model else 6.5,
        color=colour,
        markerfacecolor=colour if point.passed else "none",
        label=point.label if point.passed else f"{point.label}, not passed",
        zorder=3,
    )


def describe_costs(results: Results, cost: str) -> str:
    """Describe the figure of `draw_costs`, which takes the same arguments."""
    write = numbers.size if cost == "bytes" else lambda value: f"{value:,.0f} µs"
    parts = [
        f"{each.label} {numbers.spread(each.accuracies)} at {write(each.cost)}" for each in find_points(results, cost)
    ]
    return f"{COSTS[cost][0]}: {'; '.join(parts)}."


def describe_learning(curves: Mapping[str, Sequence[Sequence[float]]]) -> str:
    """Describe the learning curves.

    Args:
        curves: Dict of `"teacher"`, `"alone"` and `"distilled"` to lists of validation accuracies by epoch.
    """
    parts = [f"{style.LABELS[way]} {numbers.spread([max(curve) for curve in each])}" for way, each in curves.items()]
    return f"Validation accuracy by epoch, over {len(curves['alone'][0])} epochs. At best: {'; '.join(parts)}."


def describe_temperature(values: Sequence[float]) -> str:
    """Describe the curve of the temperature.

    Example:

    >>> describe_temperature([8.0, 4.0, 2.0])
    'Temperature of the soft targets: from 8 in the first epoch to 2 in the last, of 3.'
    """
    first, last = f"{values[0]:g} in the first epoch", f"{values[-1]:g} in the last, of {len(values)}"
    return f"Temperature of the soft targets: from {first} to {last}."


def draw_reliability(bins: Sequence[Mapping[str, Any]], way: str) -> Any:
    """Draw a reliability diagram: accuracy by confidence, the gap between both in outline, and the number of samples.

    Args:
        bins: List of dicts of `start`, `end`, `confidence`, `accuracy` and `samples`, one for each range of
            confidence that has samples.
        way: `"teacher"`, `"alone"` or `"distilled"`.

    Returns:
        A `matplotlib.figure.Figure`.

    Reference:
        Guo, Pleiss, Sun, Weinberger, "On Calibration of Modern Neural Networks", 2017, arXiv:1706.04599.
    """
    with style.matplotlib().rc_context(style.STYLE):
        figure, (axes, below) = style.new_figure(3.9, 4.3, rows=2, height_ratios=[3.6, 1], sharex=True)
        starts = [each["start"] for each in bins]
        widths = [each["end"] - each["start"] for each in bins]
        accuracies = [each["accuracy"] for each in bins]
        gaps = [each["confidence"] - each["accuracy"] for each in bins]
        colours = [(style.COLOURS[way], 0.35 if each["samples"] < FEW else 1.0) for each in bins]
        look = {"align": "edge", "edgecolor": "white", "linewidth": 0.8}
        axes.bar(starts, accuracies, widths, color=colours, **look)
        axes.bar(starts, gaps, widths, bottom=accuracies, align="edge", color="none", edgecolor=_GAP, linewidth=0.9)
        axes.plot([0, 1], [0, 1], color="#8c8c8c", linewidth=1.0, linestyle="--")
        axes.set(title=style.LABELS[way].capitalize(), ylabel="accuracy", xlim=(0, 1), ylim=(0, 1))
        below.bar(starts, [each["samples"] for each in bins], widths, color=colours, **look)
        below.set(xlabel="confidence", ylabel="samples", yscale="log")
        style.plain_numbers(below.yaxis)
        return figure


def describe_reliability(bins: Sequence[Mapping[str, Any]], way: str) -> str:
    """Describe the figure of `draw_reliability`, which takes the same arguments."""
    parts = [f"{each['confidence']:.0%} sure, {each['accuracy']:.0%} right, {each['samples']} samples" for each in bins]
    return f"Reliability of the {style.LABELS[way]}: {'; '.join(parts) or 'no finite outputs'}."
