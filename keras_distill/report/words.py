"""Figures in words, for those who do not see them."""

from keras_distill.drawing import numbers, style
from keras_distill.report import pareto


def costs(content, cost):
    """Say in words what `pareto.draw` shows; arguments as those of it."""
    write = numbers.size if cost == "bytes" else lambda value: f"{value:,.0f} µs"
    said = [
        f"{point['label']} {numbers.spread(point['accuracy'])} at {write(point['cost'])}"
        for point in pareto.points(content, cost)
    ]
    return f"{pareto.COSTS[cost][0]}: {'; '.join(said)}."


def learning(curves):
    """Say in words how the trainings went.

    Args:
        curves: A dict of `"teacher"`, `"alone"` and `"distilled"` to lists of validation accuracies by epoch.
    """
    said = [f"{style.LABELS[way]} {numbers.spread([max(curve) for curve in each])}" for way, each in curves.items()]
    return f"Validation accuracy by epoch, over {len(curves['alone'][0])} epochs. At best: {'; '.join(said)}."


def temperature(values):
    """Say in words how the temperature went.

    Example:

    >>> temperature([8.0, 4.0, 2.0])
    'Temperature of the soft targets: from 8 in the first epoch to 2 in the last, of 3.'
    """
    first, last = f"{values[0]:g} in the first epoch", f"{values[-1]:g} in the last, of {len(values)}"
    return f"Temperature of the soft targets: from {first} to {last}."


def reliability(bins, way):
    """Say in words what `calibration.draw` shows; arguments as those of it."""
    said = [f"{each['confidence']:.0%} sure, {each['accuracy']:.0%} right, {each['samples']} samples" for each in bins]
    return f"Reliability of the {style.LABELS[way]}: {'; '.join(said) or 'no finite outputs'}."
