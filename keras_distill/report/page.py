"""Writing the content of a report as HTML, Markdown and JSON."""

import datetime
import html
import json
import re
from collections.abc import Callable, Collection
from typing import Any

import numpy as np

from keras_distill._core import extras
from keras_distill.drawing import numbers, pictures, style, svg
from keras_distill.recipes import plots
from keras_distill.recipes.results import Results
from keras_distill.report import figures
from keras_distill.report.contents import BINS
from keras_distill.report.measures import GROUPS, MEASURES, Measure
from keras_distill.report.reading import Run

_MARKDOWN = re.compile(r"([\\`*_\[\]|~])")
_NO_BREAK = "\N{NO-BREAK SPACE}"
_LARGE = 64
_SHOWN_CLASSES = 20
_CURVES = (4.8, 3.7)


def write_html(content: dict[str, Any], run: Run) -> str:
    """Return the page: one file that loads nothing and runs nothing.

    Args:
        content: The content of the report, from `keras_distill.report.contents.contents`.
        run: The `keras_distill.report.reading.Run` of that content.
    """
    held = run.predictions
    samples = [] if held is None else zip(held["farthest"], held["x"], strict=True)
    shown = {int(sample): _encode_picture(x) for sample, x in samples}
    return _render("page.html", content, figures=_draw_figures(content, run.results), pictures=shown)


def write_markdown(content: dict[str, Any], run: Run) -> str:
    """Return the report as Markdown; takes the arguments of `write_html`."""
    return _render("report.md", content)


def write_json(content: dict[str, Any], run: Run) -> str:
    """Return the report as JSON; takes the arguments of `write_html`."""
    return json.dumps(content, indent=1, allow_nan=False) + "\n"


WRITERS: dict[str, Callable[[dict[str, Any], Run], str]] = {
    "html": write_html,
    "md": write_markdown,
    "json": write_json,
}
"""Format -> the function that writes it."""


def require(formats: Collection[str]) -> None:
    """Raise an `ImportError` that tells how to install a missing package that a format needs."""
    if "html" in formats:
        style.matplotlib()
    if {"html", "md"} & {*formats}:
        _jinja2()


def _render(template: str, content: dict[str, Any], **more: Any) -> str:
    environment: Any = _jinja2().Environment(
        loader=_jinja2().PackageLoader("keras_distill.report"),
        # Names of classes, recipes and files are text, never markup; Markdown would let HTML through, too.
        autoescape=True,
        undefined=_jinja2().StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    filters: dict[str, Callable[..., Any]] = {
        "percent": numbers.percent,
        "size": numbers.size,
        "time": _write_time,
        "date": _write_date,
        "plain": _write_setting,
        "cell": _escape_cell,
        "tight": _tighten,
    }
    environment.filters |= filters
    return environment.get_template(template).render(
        **content,
        measures=MEASURES,
        groups=GROUPS,
        labels=style.LABELS,
        better=_find_better,
        number=numbers.mean,
        smaller=_compare_sizes,
        hardest=_select_hardest,
        points=_write_gain,
        bins=BINS,
        few=figures.FEW,
        **more,
    )


def _draw_figures(content: dict[str, Any], results: Results) -> dict[str, list[str]]:
    """Return the figures as markup, in a list for each part of the page."""
    curves = plots.learning_curves(results), plots.temperature(results)
    for figure in curves:
        figure.set_size_inches(*_CURVES)
    drawn = {
        "costs": [
            (figures.draw_costs(results, cost), cost, figures.describe_costs(results, cost)) for cost in figures.COSTS
        ],
        "learning": [
            (curves[0], "learning", figures.describe_learning(content["learning"])),
            (curves[1], "temperature", figures.describe_temperature(content["temperature"])),
        ],
        "calibration": [
            (figures.draw_reliability(bins, way), f"reliability_{way}", figures.describe_reliability(bins, way))
            for way, bins in (content["calibration"] or {}).items()
        ],
    }
    return {part: [svg.inline(*each) for each in figures_] for part, figures_ in drawn.items()}


def _encode_picture(sample: np.ndarray) -> dict[str, Any] | None:
    if not pictures.is_picture(sample):
        return None
    return {"uri": pictures.data_uri(sample), "large": min(sample.shape[:2]) > _LARGE}


def _find_better(measure: Measure, models: dict[str, Any]) -> str | None:
    """Return the student that is better in a measure; `None` if the means look equal as they are written."""
    values = {way: models[way][measure.name] for way in ("alone", "distilled")}
    if any(not each or None in each for each in values.values()):
        return None
    means = {way: float(np.mean(each)) for way, each in values.items()}
    if len({measure.text([mean]) for mean in means.values()}) == 1:
        return None
    return (max if measure.better == "higher" else min)(means, key=lambda way: means[way])


def _write_gain(models: dict[str, Any], place: int) -> str:
    """Write how many percentage points a seed's student gains by distillation."""
    gain = 100 * (models["distilled"]["accuracy"][place] - models["alone"]["accuracy"][place])
    return f"{gain:+.2f}".replace("-", "−")


def _select_hardest(classes: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the classes to show: all, or out of many those with the least agreement of the distilled student."""
    if len(classes) <= _SHOWN_CLASSES:
        return classes
    shares = [row["agreement"]["distilled"] for row in classes]
    places = sorted(range(len(classes)), key=lambda place: 1.0 if shares[place] is None else shares[place])
    return [classes[place] for place in places[:_SHOWN_CLASSES]]


def _compare_sizes(models: dict[str, Any]) -> str:
    teacher, student = (max(1, models[way]["parameters"][0]) for way in ("teacher", "distilled"))
    ratio, word = (teacher / student, "smaller") if student <= teacher else (student / teacher, "larger")
    return f"{ratio:.0f} × {word}" if ratio >= 10 else f"{ratio:.1f} × {word}"


def _write_time(microseconds: float | None) -> str:
    if microseconds is None:
        return "–"
    return f"{microseconds:,.0f} µs" if microseconds >= 10 else f"{microseconds:.1f} µs"


def _write_date(text: str) -> str:
    try:
        date = datetime.datetime.fromisoformat(text)
    except ValueError:
        return text
    return f"{date.day} {date:%B %Y}"


def _tighten(text: str, spread: bool = True) -> str:
    """Keep a number on one line with its unit and, unless it is for a narrow column, with its spread."""
    text = re.sub(r" (?=[%µkM])|(?<=±) ", _NO_BREAK, text)
    return text.replace(" ±", f"{_NO_BREAK}±") if spread else text


def _write_setting(value: Any) -> str:
    """Write a setting: `None`, `True` and `False` in words, and a list as its items."""
    if value is None or isinstance(value, bool):
        return {None: "–", True: "yes", False: "no"}[value]
    return ", ".join(map(_write_setting, value)) if isinstance(value, list) else f"{value}"


def _escape_cell(text: Any) -> Any:
    """Return a text as a cell of a Markdown table that shows exactly these characters."""
    import markupsafe

    line = " ".join(str(text).split())
    return markupsafe.Markup(_MARKDOWN.sub(r"\\\1", html.escape(line, quote=False)))


def _jinja2() -> Any:
    try:
        import jinja2
    except ImportError as error:
        raise extras.missing("jinja2, which writes the report", error, "report") from error
    return jinja2
