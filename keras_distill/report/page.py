"""Writing what a report says as HTML, Markdown and JSON."""

import datetime
import html as html_
import json
import re

import numpy as np

from keras_distill._core.messages import expected
from keras_distill.drawing import numbers, pictures, style, svg
from keras_distill.recipes import plots
from keras_distill.report import calibration, pareto, words
from keras_distill.report.contents import BINS
from keras_distill.report.measures import GROUPS, MEASURES

_MARKDOWN = re.compile(r"([\\`*_\[\]|~])")
_NO_BREAK = "\N{NO-BREAK SPACE}"
_LARGE = 64
_SHOWN_CLASSES = 20
_CURVES = (4.8, 3.7)


def html(content, run):
    """Return the page, a string: all of it in one file, which loads nothing and runs nothing.

    Args:
        content: What `keras_distill.report.contents.contents` returns.
        run: The `keras_distill.report.reading.Run` that it is made from.
    """
    held = run.predictions or {"farthest": (), "x": ()}
    shown = {int(sample): _picture(x) for sample, x in zip(held["farthest"], held["x"], strict=True)}
    return _rendered("page.html", content, figures=_figures(content, run.results), pictures=shown)


def markdown(content, run):
    """Return the report as Markdown, a string; arguments as those of `html`."""
    return _rendered("report.md", content)


def as_json(content, run):
    """Return the report as JSON, a string; arguments as those of `html`."""
    return json.dumps(content, indent=1, allow_nan=False) + "\n"


# Format -> what writes it.
WRITERS = {"html": html, "md": markdown, "json": as_json}


def require(formats):
    """Raise an ImportError that names the extra to install where a format needs a package that is missing."""
    if "html" in formats:
        style.matplotlib()
    if {"html", "md"} & {*formats}:
        _jinja2()


def _rendered(template, content, **more):
    environment = _jinja2().Environment(
        loader=_jinja2().PackageLoader("keras_distill.report"),
        # Names of classes, recipes and files are text, never markup: in Markdown too, which lets HTML through.
        autoescape=True,
        undefined=_jinja2().StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= {"percent": numbers.percent, "size": numbers.size, "time": _time, "date": _date}
    environment.filters |= {"plain": _plain, "cell": _cell, "tight": _tight}
    return environment.get_template(template).render(
        **content,
        measures=MEASURES,
        groups=GROUPS,
        labels=style.LABELS,
        better=_better,
        number=numbers.mean,
        smaller=_smaller,
        hardest=_hardest,
        points=_points,
        bins=BINS,
        few=calibration.FEW,
        **more,
    )


def _figures(content, results):
    """Return the figures as markup, in lists by the part of the page that they belong to."""
    curves = plots.learning_curves(results), plots.temperature(results)
    for figure in curves:
        figure.set_size_inches(*_CURVES)
    drawn = {
        "costs": [(pareto.draw(content, cost), cost, words.costs(content, cost)) for cost in pareto.COSTS],
        "learning": [
            (curves[0], "learning", words.learning(content["learning"])),
            (curves[1], "temperature", words.temperature(content["temperature"])),
        ],
        "calibration": [
            (calibration.draw(bins, way), f"reliability_{way}", words.reliability(bins, way))
            for way, bins in (content["calibration"] or {}).items()
        ],
    }
    return {part: [svg.inline(*figure) for figure in figures] for part, figures in drawn.items()}


def _picture(sample):
    if not pictures.is_picture(sample):
        return None
    return {"uri": pictures.data_uri(sample), "large": min(sample.shape[:2]) > _LARGE}


def _better(measure, models):
    """Return which student is better in a measure, as far as the means that are written show; None where neither is."""
    values = {way: models[way][measure.name] for way in ("alone", "distilled")}
    if any(not each or None in each for each in values.values()):
        return None
    means = {way: float(np.mean(each)) for way, each in values.items()}
    if len({measure.text([mean]) for mean in means.values()}) == 1:
        return None
    return (max if measure.better == "higher" else min)(means, key=means.get)


def _points(models, place):
    """Write by how many percentage points the distilled student of a seed is better than the one alone."""
    gain = 100 * (models["distilled"]["accuracy"][place] - models["alone"]["accuracy"][place])
    return f"{gain:+.2f}".replace("-", "−")


def _hardest(classes):
    """Return the classes to show: all, or of many those on which the distilled student agrees least."""
    if len(classes) <= _SHOWN_CLASSES:
        return classes
    return sorted(classes, key=lambda row: _or_one(row["agreement"]["distilled"]))[:_SHOWN_CLASSES]


def _or_one(share):
    return 1.0 if share is None else share


def _smaller(models):
    teacher, student = (max(1, models[way]["parameters"][0]) for way in ("teacher", "distilled"))
    ratio, word = (teacher / student, "smaller") if student <= teacher else (student / teacher, "larger")
    return f"{ratio:.0f} × {word}" if ratio >= 10 else f"{ratio:.1f} × {word}"


def _time(microseconds):
    if microseconds is None:
        return "–"
    return f"{microseconds:,.0f} µs" if microseconds >= 10 else f"{microseconds:.1f} µs"


def _date(text):
    try:
        date = datetime.datetime.fromisoformat(text)
    except ValueError:
        return text
    return f"{date.day} {date:%B %Y}"


def _tight(text, spread=True):
    """Keep a number on one line with its unit, and with its spread, unless a narrow column has to break there."""
    text = re.sub(r" (?=[%µkM])|(?<=±) ", _NO_BREAK, text)
    return text.replace(" ±", f"{_NO_BREAK}±") if spread else text


def _plain(value):
    """Write a setting: `None` and `True` in words, a list by its members."""
    known = {None: "–", True: "yes", False: "no"}
    if value is None or isinstance(value, bool):
        return known[value]
    return ", ".join(map(_plain, value)) if isinstance(value, list) else f"{value}"


def _cell(text):
    """Return a text as a cell of a Markdown table that shows these very characters."""
    line = " ".join(str(text).split())
    return _markup()(_MARKDOWN.sub(r"\\\1", html_.escape(line, quote=False)))


def _markup():
    import markupsafe

    return markupsafe.Markup


def _jinja2():
    try:
        import jinja2
    except ImportError as error:
        fix = 'Install it: pip install "keras_distill[report]"'
        raise ImportError(expected("jinja2, which writes the report", f"{error}", fix)) from error
    return jinja2
