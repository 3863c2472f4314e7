"""Figures for TensorBoard: inputs with their soft targets, and the confusion of teacher and student.

A figure is one axes without ticks and with coordinates in inches: ticks and computed layouts would take most of the
time.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from keras_distill.drawing.pictures import is_picture, pixels
from keras_distill.drawing.style import COLOURS, STYLE, matplotlib, new_figure

_INK = {"teacher": COLOURS["teacher"], "student": COLOURS["distilled"]}
_GREY, _PALE, _SHADE = "#595959", "#e4e4e4", "#ececec"
_ALL_CLASSES, _MOST_LIKELY, _LETTERS = 12, 10, 12
_EDGE, _PICTURE, _GAP, _BARS, _ROW, _PLOT, _TOP = 0.15, 0.9, 0.58, 2.55, 1.05, 0.84, 0.8
_SUPERSCRIPTS = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


def soft_targets(
    inputs: np.ndarray,
    columns: dict[str, tuple[np.ndarray, np.ndarray]],
    right: np.ndarray | None,
    names: Sequence[str],
    floor: float,
    title: str,
) -> np.ndarray:
    """Draw inputs with the probabilities that teacher and student assign to the classes, on a logarithmic axis.

    The axis goes from `floor` to 1 in every figure. Smaller probabilities are marked at its lower end. If there are
    more than 12 classes, each row shows the 10 that are most likely for the teacher.

    Args:
        inputs: Array `[rows, ...]`; not drawn unless its samples are images.
        columns: Dict from the heading of a column to a pair (teacher, student) of arrays `[rows, classes]` of
            logarithms to base 10 of probabilities.
        right: Correct classes `[rows]`, -1 for unknown, or `None`.
        names: Names of the classes.
        floor: Smallest probability on the axis.
        title: Title of the figure.

    Returns:
        A `uint8` array `[height, width, 3]`.
    """
    rows, pictured, few = len(inputs), is_picture(inputs[0]), len(names) <= _ALL_CLASSES
    left = _EDGE + (_PICTURE if pictured else 0.0)
    under = 0.2 + _slant_height(names)
    foot, row_height = (0.22 + under, _ROW) if few else (0.32, _ROW + under)
    width, height = left + len(columns) * (_GAP + _BARS) + _EDGE, foot + rows * row_height + _TOP
    with matplotlib().rc_context(STYLE):
        axes = _new_axes(width, height)
        feet = foot + row_height * np.arange(1, rows + 1)[::-1] - _PLOT - 0.06
        for row, sample in enumerate(inputs if pictured else ()):
            _draw_picture(axes, sample, _EDGE, feet[row])
        for number, (heading, pair) in enumerate(columns.items()):
            start = left + _GAP + number * (_GAP + _BARS)
            axes.text(start, height - 0.65, heading, fontsize=11)
            _draw_column(axes, start, feet, pair, right, names, floor)
        axes.text(_EDGE, height - 0.32, title, weight="bold", fontsize=13)
        _draw_legend(axes, width - _EDGE, height - 0.32)
        lowest = f"{floor:g}".replace("e-0", "e-")
        note = f"log axis from {lowest} to 1;  ▾ smaller" + ("" if right is None else ";  shaded: the correct class")
        axes.text(width - _EDGE, 0.12, note, ha="right", color=_GREY, fontsize=9.5)
        return _render(axes)


def confusion(counts: np.ndarray, names: Sequence[str], title: str) -> np.ndarray:
    """Draw how often the student predicted each class for each class that the teacher predicted.

    Args:
        counts: Integer array `[classes, classes]`, with the teacher's predictions as rows and the student's as columns.
        names: Names of the classes.
        title: Title of the figure.

    Returns:
        A `uint8` array `[height, width, 3]`.
    """
    classes = len(counts)
    few = classes <= 2 * _ALL_CLASSES
    side = min(max(0.44 * classes, 3.6), 5.4)
    margin = 0.6 + (_slant_height(names) if few else 0.0)
    with matplotlib().rc_context(STYLE):
        axes = _new_axes(margin + side + _EDGE, margin + side + 0.75)
        colours = _confusion_colours(counts)
        extent = (margin, margin + side, margin, margin + side)
        axes.imshow(colours, extent=extent, interpolation="nearest" if few else "antialiased", aspect="auto")
        _reset_limits(axes)
        if few:
            centres = (np.arange(classes) + 0.5) * side / classes
            _draw_counts(axes, counts, colours, margin + centres, margin + side - centres)
            _write_names(axes, names, margin + centres, margin - 0.07)
            for name, place in zip(names, margin + side - centres, strict=True):
                text: dict[str, Any] = {"ha": "right", "va": "center", "color": _GREY, "parse_math": False}
                axes.text(margin - 0.08, place, _shorten(name), **text)
        axes.text(margin + side / 2, 0.12, "student's prediction", ha="center", color=_INK["student"], fontsize=11)
        text = {"ha": "left", "va": "center", "rotation": 90, "color": _INK["teacher"], "fontsize": 11}
        axes.text(0.1, margin + side / 2, "teacher's prediction", **text)
        axes.text(margin, margin + side + 0.43, title, weight="bold", fontsize=13)
        note = f"equal for {100 * np.trace(counts) / counts.sum():.1f} % of {counts.sum():,} samples"
        axes.text(margin, margin + side + 0.14, note, color=_GREY)
        return _render(axes)


def _draw_column(axes, start, feet, pair, right, names, floor):
    few = len(names) <= _ALL_CLASSES
    shown = np.tile(np.arange(len(names)), (len(feet), 1)) if few else np.argsort(-pair[0])[:, :_MOST_LIKELY]
    step = _BARS / shown.shape[1]
    centres = start + step * (np.arange(shown.shape[1]) + 0.5)
    _draw_axis(axes, start, feet, floor)
    if right is not None:
        rows, places = np.nonzero(shown == np.asarray(right)[:, np.newaxis])
        boxes = [
            _rectangle(centres[place], 0.5 * step, feet[row], _PLOT) for row, place in zip(rows, places, strict=True)
        ]
        _draw_rectangles(axes, boxes, _SHADE, zorder=0)
    for side, owner, logarithms in zip((-0.2, 0.2), _INK, pair, strict=True):
        # From 0 at the floor to 1; everything above the floor stays visible.
        heights = 1 - np.take_along_axis(logarithms, shown, axis=1) / np.log10(floor)
        above, at = heights > 0, centres + side * step
        boxes = [
            _rectangle(at[place], 0.18 * step, feet[row], _PLOT * max(heights[row, place], 0.02))
            for row, place in zip(*np.nonzero(above), strict=True)
        ]
        _draw_rectangles(axes, boxes, _INK[owner], zorder=2)
        rows, places = np.nonzero(~above)
        axes.plot(at[places], feet[rows] + 0.05, "v", color=_INK[owner], markersize=3.5, zorder=2)
    for foot, each in [(feet[-1], shown[-1])] if few else zip(feet, shown, strict=True):
        _write_names(axes, [names[index] for index in each], centres, foot - 0.07)


def _draw_axis(axes, start, feet, floor):
    decades = np.log10(floor)
    ticks = np.arange(0, decades - 1e-6, -np.ceil(-decades / 3))
    heights = (feet[:, np.newaxis] + _PLOT * (1 - ticks / decades)).ravel()
    axes.hlines(heights, start, start + _BARS, color=_PALE, linewidth=0.7, zorder=1)
    axes.hlines(feet, start, start + _BARS, color="#8c8c8c", linewidth=0.9, zorder=3)
    for height, tick in zip(heights, np.tile(ticks, len(feet)), strict=True):
        label = "1" if tick == 0 else "10" + f"{tick:.0f}".translate(_SUPERSCRIPTS)
        axes.text(start - 0.07, height, label, ha="right", va="center", fontsize=8.5, color=_GREY)


def _draw_picture(axes, sample, left, foot):
    picture = pixels(sample)
    scale = min((_PICTURE - 0.05) / picture.shape[1], _PLOT / picture.shape[0])
    height, width = scale * picture.shape[0], scale * picture.shape[1]
    low, left = foot + (_PLOT - height) / 2, left + (_PICTURE - width) / 2
    axes.imshow(
        picture,
        cmap="gray",
        vmin=0,
        vmax=255,
        extent=(left, left + width, low, low + height),
        interpolation="nearest" if max(picture.shape) <= 64 else "antialiased",
        aspect="auto",
    )
    _reset_limits(axes)


def _draw_counts(axes, counts, colours, across, down):
    size = 10.5 if len(counts) <= _ALL_CLASSES else 7
    for row, column in zip(*np.nonzero(counts), strict=True):
        colour = "white" if colours[row, column].mean() < 0.6 else "#262626"
        text = {"ha": "center", "va": "center", "color": colour, "fontsize": size}
        axes.text(across[column], down[row], str(counts[row, column]), **text)


def _confusion_colours(counts):
    """Return the colour of each cell: the teacher's for agreement or the student's, darker for more samples."""
    from matplotlib.colors import to_rgb

    shares = np.sqrt(counts / np.maximum(counts.sum(axis=1, keepdims=True), 1))[..., np.newaxis]
    diagonal = np.eye(len(counts), dtype=bool)[..., np.newaxis]
    ink = np.where(diagonal, to_rgb(_INK["teacher"]), to_rgb(_INK["student"]))
    return 1 - (0.03 + 0.97 * shares) * (1 - ink)


def _draw_legend(axes, right, height):
    for place, (owner, colour) in zip((right - 1.75, right - 0.75), _INK.items(), strict=True):
        _draw_rectangles(axes, [_rectangle(place - 0.12, 0.06, height, 0.13)], colour, zorder=2)
        axes.text(place, height, owner, fontsize=10.5)


def _write_names(axes, names, places, height):
    """Write names below a line, all slanted if one of them is long."""
    slanted = {"rotation": 45, "rotation_mode": "anchor", "ha": "right"} if _slant_height(names) else {"ha": "center"}
    for name, place in zip(names, places, strict=True):
        axes.text(place, height, _shorten(name), va="top", color=_GREY, parse_math=False, **slanted)


def _new_axes(width, height):
    """Return axes that fill a new figure, with coordinates in inches."""
    figure, axes = new_figure(width, height, subplot_kw={"xlim": (0, width), "ylim": (0, height)})
    figure.set_layout_engine("none")
    axes.set_position([0, 0, 1, 1])
    axes.set_axis_off()
    return axes


def _reset_limits(axes):
    """Restore the limits of the axes, which drawing an image changes."""
    axes.set(xlim=(0, axes.figure.get_figwidth()), ylim=(0, axes.figure.get_figheight()))


def _render(axes):
    axes.figure.canvas.draw()
    return np.asarray(axes.figure.canvas.buffer_rgba())[..., :3].copy()


def _rectangle(centre, half, low, height):
    left, right = centre - half, centre + half
    return ((left, low), (left, low + height), (right, low + height), (right, low))


def _draw_rectangles(axes, boxes, colour, zorder):
    from matplotlib.collections import PolyCollection

    axes.add_collection(PolyCollection(boxes, facecolor=colour, linewidth=0, zorder=zorder), autolim=False)


def _slant_height(names):
    """Return the extra height in inches of slanted names, or 0.0 if no name is long."""
    letters = max(len(_shorten(name)) for name in names)
    return 0.0 if letters <= 3 else 0.055 * letters


def _shorten(name):
    return name if len(name) <= _LETTERS else name[: _LETTERS - 1] + "…"
