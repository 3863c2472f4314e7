"""Accuracy against what it costs: teacher, students and files, and the front that none surpasses."""

import numpy as np

from keras_distill.drawing import style
from keras_distill.drawing.pareto import front

# Field, title, axis, factor.
COSTS = {
    "bytes": ("Accuracy against size", "size (kB, log scale)", 1 / 1024),
    "latency_us": ("Accuracy against latency", "one sample (µs, log scale)", 1.0),
}
_FILES, _FRONT = "#009e73", "#b0b0b0"
_SHAPES = "sD^vP<>Xp*hHd8"
_MODEL_SHAPE = "o"


def points(content, cost):
    """Return what is drawn against a cost.

    Args:
        content: What `keras_distill.report.contents.contents` returns.
        cost: `"bytes"` or `"latency_us"`.

    Returns:
        A list of dicts: `label`, `kind` (a key of `style.COLOURS`, or `"file"`), `cost`, `accuracy` as a list of the
        trainings' shares, and whether it `passed`.
    """
    found = [
        {"label": style.LABELS[way], "kind": way, "cost": model[cost][0], "accuracy": model["accuracy"], "passed": True}
        for way, model in content["models"].items()
    ]
    for row in content["files"]:
        if row[cost] is not None and row["accuracy"] is not None:
            passed = row["status"] == "passed"
            found.append(
                {
                    "label": row["format"],
                    "kind": "file",
                    "cost": row[cost],
                    "accuracy": [row["accuracy"]],
                    "passed": passed,
                }
            )
    return found


def draw(content, cost):
    """Draw accuracy against a cost; students as the mean of their seeds, with a bar from the worst to the best.

    Args:
        content: What `keras_distill.report.contents.contents` returns.
        cost: `"bytes"` or `"latency_us"`.

    Returns:
        A `matplotlib.figure.Figure`.
    """
    title, axis, factor = COSTS[cost]
    drawn = [(factor * point["cost"], 100 * np.array(point["accuracy"]), point) for point in points(content, cost)]
    with style.matplotlib().rc_context(style.STYLE):
        # The key below has two columns.
        figure, axes = style.new_figure(4.8, 3.6 + 0.2 * (len(drawn) // 2))
        passed = [(x, float(np.mean(shares))) for x, shares, point in drawn if point["passed"]]
        best = [passed[place] for place in front(passed)]
        axes.plot(*zip(*best, strict=True), color=_FRONT, linewidth=1.2, zorder=1)
        shapes = iter(_SHAPES)
        for x, shares, point in drawn:
            _mark(axes, x, shares, point, shapes)
        axes.set(title=title, xlabel=axis, ylabel="test accuracy (%)", xscale="log")
        axes.margins(x=0.12, y=0.12)
        style.plain_numbers(axes.xaxis)
        figure.legend(loc="outside lower center", ncols=2, fontsize=9, handletextpad=0.4)
        return figure


def _mark(axes, x, shares, point, shapes):
    model = point["kind"] != "file"
    colour = style.COLOURS.get(point["kind"], _FILES)
    mean = float(np.mean(shares))
    if len(shares) > 1:
        axes.vlines(x, np.min(shares), np.max(shares), color=colour, linewidth=1.4, alpha=0.6, zorder=2)
    axes.plot(
        x,
        mean,
        linestyle="none",
        marker=_MODEL_SHAPE if model else next(shapes),
        markersize=9 if model else 6.5,
        color=colour,
        markerfacecolor=colour if point["passed"] else "none",
        label=point["label"] if point["passed"] else f"{point['label']}, not passed",
        zorder=3,
    )
