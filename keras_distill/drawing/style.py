"""The look of every figure: colours, fonts and axes."""

from typing import Any

from keras_distill._core.extras import missing

# Okabe and Ito's palette: colour-blind readers can tell the colours apart, and so can readers of a grey print.
TEACHER, ALONE, DISTILLED = "#4d4d4d", "#56b4e9", "#d55e00"
COLOURS = {"teacher": TEACHER, "alone": ALONE, "distilled": DISTILLED}
LABELS = {"teacher": "teacher", "alone": "student alone", "distilled": "student distilled"}
STYLE: dict[Any, Any] = {
    "font.size": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": "#8c8c8c",
    "axes.titlesize": 11,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.titlepad": 10,
    "axes.labelcolor": "#404040",
    "xtick.color": "#595959",
    "ytick.color": "#595959",
    "legend.frameon": False,
    "figure.dpi": 100,
    "savefig.dpi": 220,
}


def plain_numbers(axis: Any) -> None:
    """Label a logarithmic axis with plain numbers: 1, 10, 100."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

    low, high = axis.get_view_interval()
    axis.set_major_locator(LogLocator(subs=(1.0,) if high / low > 30.0 else (1.0, 2.0, 5.0)))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,g}"))
    axis.set_minor_locator(NullLocator())


def new_figure(width: float, height: float, rows: int = 1, columns: int = 1, **options: Any) -> tuple[Any, Any]:
    """Return a figure of a size in inches, and its axes. `options` are those of `Figure.subplots`."""
    figure = empty_figure(width, height)
    return figure, figure.subplots(rows, columns, **options)


def empty_figure(width: float, height: float) -> Any:
    """Return a figure without a window or an entry in a global list, so it does not have to be closed."""
    matplotlib()
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def matplotlib() -> Any:
    """Return matplotlib; raise an `ImportError` that says what to install if it is missing."""
    try:
        import matplotlib
    except ImportError as error:
        raise missing("matplotlib, which draws the plots", error, "report") from error
    return matplotlib
