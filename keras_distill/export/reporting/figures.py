"""Plots of the quality of files against their cost."""

from collections.abc import Sequence
from typing import Any

from keras_distill._core.messages import expected
from keras_distill.drawing import style
from keras_distill.drawing.pareto import front
from keras_distill.export.reporting import tables

_COSTS = (("bytes", "size (kB, log scale)", 1 / 1024), ("latency_us", "latency, one thread (µs, log scale)", 1.0))
# Field, label, factor, and whether larger is better.
_QUALITIES = (
    ("accuracy", "accuracy (%)", 100.0, True),
    ("agreement", "agreement with the student (%)", 100.0, True),
    ("mean_difference", "mean difference from the student", 1.0, False),
)
# Colours of Okabe and Ito, each with a shape, so that points can be told apart in grey too.
_COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#4d4d4d")
_SHAPES = "osD^vPX<>*"
_FRONT = "#8c8c8c"


def draw_trade_offs(rows: Sequence[Any]) -> Any:
    """Draw quality against size and against latency, one point per file.

    A line joins the files on the Pareto front, for which no other file is both better and cheaper. Hollow points are
    files that failed their verification. Points may lie close together, so a legend has their names and figures.

    Args:
        rows: `Artifact` of each format.

    Returns:
        `matplotlib.figure.Figure`.

    Raises:
        ImportError: If matplotlib is missing.
        ValueError: If no row has figures to draw.
    """
    matplotlib = style.matplotlib()
    quality = _choose_quality(rows)
    drawn = [(*cost, [row for row in rows if _has_figures(row, cost[0], quality[0])]) for cost in _COSTS]
    drawn = [panel for panel in drawn if panel[-1]]
    if not drawn:
        raise ValueError(expected("rows with accuracy or agreement, and a size, to draw", f"{len(rows)} rows without"))
    looks = {row.format: (_COLOURS[place % 7], _SHAPES[place % 10]) for place, row in enumerate(rows)}
    settings: dict[Any, Any] = {**style.STYLE}
    with matplotlib.rc_context(settings):
        figure, grid = style.new_figure(
            4.9 * len(drawn) + 3.6, max(4.4, 0.43 * len(rows)), columns=len(drawn), squeeze=False, sharey=True
        )
        for axes, (field, label, factor, shown) in zip(grid[0], drawn, strict=True):
            _draw_panel(axes, shown, (field, label, factor), quality, looks)
        grid[0][0].set_ylabel(quality[1])
        _draw_legend(figure, drawn[0][-1], quality, looks)
    return figure


def _choose_quality(rows: Sequence[Any]) -> tuple[str, str, float, bool]:
    """Return the first kind of quality that every passed file has."""
    passed = [row for row in rows if row.passed] or rows
    known = [kind for kind in _QUALITIES if passed and all(getattr(row, kind[0]) is not None for row in passed)]
    return known[0] if known else _QUALITIES[0]


def _has_figures(row: Any, *fields: str) -> bool:
    return all(getattr(row, field) is not None for field in fields)


def _locate(row: Any, cost: str, factor: float, quality: tuple) -> tuple[float, float]:
    return getattr(row, cost) * factor, getattr(row, quality[0]) * quality[2]


def _draw_panel(axes: Any, rows: list, cost: tuple, quality: tuple, looks: dict) -> None:
    field, label, factor = cost
    sign = 1.0 if quality[3] else -1.0
    points = [_locate(row, field, factor, quality) for row in rows]
    passed = [point for row, point in zip(rows, points, strict=True) if row.passed]
    best = front([(x, sign * y) for x, y in passed])
    if len(best) > 1:
        axes.plot(*zip(*(passed[place] for place in best), strict=True), color=_FRONT, linewidth=1.2, zorder=1)
    for row, point in zip(rows, points, strict=True):
        axes.plot(*point, **_style(row, looks))
    axes.set(xscale="log", xlabel=label, title=f"{quality[1].split(' (')[0].capitalize()} by {label.split(' (')[0]}")
    axes.margins(x=0.12, y=0.14)
    if not quality[3] and not axes.yaxis_inverted():
        axes.invert_yaxis()
    _format_numbers(axes)


def _style(row: Any, looks: dict) -> dict[str, Any]:
    colour, shape = looks[row.format]
    face = colour if row.passed else "white"
    return {
        "color": colour,
        "marker": shape,
        "markerfacecolor": face,
        "markersize": 7,
        "linestyle": "none",
        "zorder": 3,
    }


def _draw_legend(figure: Any, rows: list, quality: tuple, looks: dict) -> None:
    """Draw a legend of all points beside the panels, the best first."""
    from matplotlib.lines import Line2D

    order = sorted(rows, key=lambda row: getattr(row, quality[0]), reverse=quality[3])
    handles = [
        Line2D([], [], label=f"{row.format}\n{_format_figures(row, quality)}", **_style(row, looks)) for row in order
    ]
    handles.append(Line2D([], [], color=_FRONT, linewidth=1.2, label="Pareto front"))
    if not all(row.passed for row in rows):
        hollow: dict[str, Any] = {"color": _FRONT, "marker": "o", "markerfacecolor": "white", "linestyle": "none"}
        handles.append(Line2D([], [], label="failed verification", **hollow))
    figure.legend(handles=handles, loc="outside right center", fontsize=8.5, labelspacing=0.7)


def _format_figures(row: Any, quality: tuple) -> str:
    number = getattr(row, quality[0]) * quality[2]
    parts = [
        f"{number:.2f} %" if quality[2] == 100.0 else tables.format_difference(number),
        tables.SIZE.text(row) or "",
    ]
    return ", ".join(parts + ([] if row.latency_us is None else [tables.format_time(row.latency_us)]))


def _format_numbers(axes: Any) -> None:
    """Label a log axis with plain numbers, 20, 50, 100, instead of powers."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter, NullLocator

    low, high = axes.get_xlim()
    few = high / low < 100
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 3, 5, 7) if high / low < 8 else (1, 2, 5) if few else (1,)))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda number, _: f"{number:,.10g}"))
