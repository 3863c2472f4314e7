"""How every figure looks: colours, fonts, axes, and matplotlib where it is installed."""

from keras_distill._core.messages import expected

# Okabe and Ito's palette: told apart by colour-blind eyes, and by their lightness in grey.
TEACHER, ALONE, DISTILLED = "#4d4d4d", "#56b4e9", "#d55e00"
COLOURS = {"teacher": TEACHER, "alone": ALONE, "distilled": DISTILLED}
LABELS = {"teacher": "teacher", "alone": "student alone", "distilled": "student distilled"}
STYLE = {
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
    "savefig.dpi": 160,
}


def plain_numbers(axis):
    """Label an axis of a log scale by numbers as they are spoken: 1, 10, 100."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

    low, high = axis.get_view_interval()
    axis.set_major_locator(LogLocator(subs=(1.0,) if high / low > 30.0 else (1.0, 2.0, 5.0)))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,g}"))
    axis.set_minor_locator(NullLocator())


def new_figure(width, height, rows=1, columns=1, **options):
    """Return a figure of that size in inches, and its axes."""
    figure = empty_figure(width, height)
    return figure, figure.subplots(rows, columns, **options)


def empty_figure(width, height):
    """Make a figure that belongs to no window and to no global list, so that nothing has to be closed."""
    matplotlib()
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def matplotlib():
    """Return matplotlib; raise an ImportError that names the extra to install where there is none."""
    try:
        import matplotlib
    except ImportError as error:
        fix = 'Install it: pip install "keras_distill[report]"'
        raise ImportError(expected("matplotlib, which draws the plots", f"{error}", fix)) from error
    return matplotlib
