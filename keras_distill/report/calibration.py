"""Reliability diagrams: whether a model is right as often as it is sure."""

from keras_distill.drawing import style

_GAP = "#9c2f2f"
# Fewer samples than this say little; their bars are pale.
FEW = 10


def draw(bins, way):
    """Draw accuracy by confidence, in outline what it is short of confidence or above, and how many samples there are.

    Args:
        bins: A list of dicts of `start`, `end`, `confidence`, `accuracy` and `samples`, one for each range of
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
        alphas = [0.35 if each["samples"] < FEW else 1.0 for each in bins]
        colours = [(style.COLOURS[way], alpha) for alpha in alphas]
        look = {"align": "edge", "edgecolor": "white", "linewidth": 0.8}
        axes.bar(starts, accuracies, widths, color=colours, **look)
        axes.bar(starts, gaps, widths, bottom=accuracies, align="edge", color="none", edgecolor=_GAP, linewidth=0.9)
        axes.plot([0, 1], [0, 1], color="#8c8c8c", linewidth=1.0, linestyle="--")
        axes.set(title=style.LABELS[way].capitalize(), ylabel="accuracy", xlim=(0, 1), ylim=(0, 1))
        below.bar(starts, [each["samples"] for each in bins], widths, color=colours, **look)
        below.set(xlabel="confidence", ylabel="samples", yscale="log")
        style.plain_numbers(below.yaxis)
        return figure
