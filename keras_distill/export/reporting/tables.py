"""Tables of files: the same columns for a terminal, for Markdown and for notebooks, but those without figures."""

import dataclasses
import html
from collections.abc import Callable

from keras_distill.drawing import numbers

WIDTH = 110
NOTHING = "–"
_MARKS = {"passed": "✓ passed", "exported, but failed verification": "✗ failed verification", "failed": "✗ failed"}


@dataclasses.dataclass(frozen=True)
class Column:
    """One figure of every row.

    Attributes:
        heading: str.
        text: function of a row that returns the figure as text, or None where there is none.
        narrow: str, the heading where there is little room, lines separated by `\\n`.
    """

    heading: str
    text: Callable
    narrow: str = ""


def figure(heading, attribute, text, narrow=""):
    """Return the column of a row's attribute, written by `text` where it is not None."""

    def cell(row):
        value = getattr(row, attribute)
        return None if value is None else text(value)

    return Column(heading, cell, narrow or heading)


def difference(number):
    """Write a difference."""
    return f"{number:.2g}"


def time(microseconds):
    """Write a time.

    Example:
        >>> time(583.4), time(12_345.6)
        ('583 µs', '12.3 ms')
    """
    return f"{microseconds:.0f} µs" if microseconds < 10_000 else f"{microseconds / 1000:.1f} ms"


def mark(status):
    """Return a status in the few characters that a column has.

    Example:
        >>> mark("failed: no kernel for NEG"), mark("not run: it is not installed")
        ('✗ failed', '– not run')
    """
    kind = status.split(":")[0]
    return _MARKS.get(kind, f"{NOTHING} {kind}")


def filled(columns, rows):
    """Return the columns of which some row has a figure, each with its cells.

    Args:
        columns: sequence of `Column`.
        rows: list.

    Returns:
        list of tuples of a `Column` and a list of str.
    """
    pairs = [(column, [column.text(row) for row in rows]) for column in columns]
    return [(column, [cell or NOTHING for cell in cells]) for column, cells in pairs if any(cells)]


def markdown(names, statuses, columns, first="format"):
    """Return a table as Markdown.

    Args:
        names: list of str, the first column.
        statuses: list of str, the second one.
        columns: as `filled` returns them.
        first: str, heading of the first column. Defaults to `"format"`.
    """
    lines = _lines(names, statuses, columns, first)
    head, *rows = [
        "| " + " | ".join(" ".join(cell.split()).replace("|", "\\|") for cell in line) + " |" for line in lines
    ]
    return "\n".join([head, "|" + "---|" * len(lines[0]), *rows])


def html_table(names, statuses, columns, first="format"):
    """Return a table as HTML, for notebooks; arguments as those of `markdown`."""
    head, *rows = [[html.escape(cell) for cell in line] for line in _lines(names, statuses, columns, first)]
    body = "".join(f"<tr><td>{'</td><td>'.join(row)}</td></tr>" for row in rows)
    return f"<table><thead><tr><th>{'</th><th>'.join(head)}</th></tr></thead><tbody>{body}</tbody></table>"


def rich_table(names, statuses, columns, width, first="format"):
    """Return a table for a terminal, narrow in its headings, marks and margins where the width is small.

    Args:
        names: list of str, the first column.
        statuses: list of str, shown as marks.
        columns: as `filled` returns them.
        width: int, characters that there are.
        first: str, heading of the first column. Defaults to `"format"`.
    """
    marks = [mark(status) for status in statuses]
    wide = [(column.heading, cells) for column, cells in columns]
    narrow = [(column.narrow, cells) for column, cells in columns]
    short = [text[0] for text in marks]
    layouts = ((marks, wide, 1), (marks, narrow, 1), (marks, narrow, 0), (short, narrow, 0))
    tables = [_table(names, *layout[:2], first, layout[2]) for layout in layouts]
    return next((table for table in tables if _wide(table) <= width), tables[-1])


def targets(names, results):
    """Return a table of which file passed on which target, None if none was asked for.

    Args:
        names: list of str, of the files.
        results: list of dict, target to status; empty for files that no target asked for is meant to run.
    """
    asked = list(dict.fromkeys(target for statuses in results for target in statuses))
    if not asked:
        return None
    names = [name for name, statuses in zip(names, results, strict=True) if statuses]
    results = [statuses for statuses in results if statuses]
    cells = [[mark(statuses[target]) if target in statuses else NOTHING for statuses in results] for target in asked]
    return _table(names, None, list(zip(asked, cells, strict=True)), "on target", 1)


def _lines(names, statuses, columns, first):
    heading = [first, "status", *(column.heading for column, _ in columns)]
    return [heading, *map(list, zip(names, statuses, *(cells for _, cells in columns), strict=True))]


def _table(names, marks, columns, first, margin):
    from rich.table import Table
    from rich.text import Text

    table = Table(padding=(0, margin))
    # Figures are never cut short; a name of any length may take two lines.
    table.add_column(first, overflow="fold", min_width=8)
    sides = [names] if marks is None else [names, marks]
    if marks is not None:
        table.add_column("status", no_wrap=True)
    for heading, _ in columns:
        table.add_column(heading, justify="right", no_wrap=True)
    for cells in zip(*sides, *(cells for _, cells in columns), strict=True):
        table.add_row(*map(Text, cells))
    return table


def _wide(table):
    from rich.console import Console

    return Console(width=1000).measure(table).maximum


AGREEMENT = (
    figure("agreement", "agreement", numbers.percent),
    figure("max diff.", "max_difference", difference, "max\ndiff."),
    figure("mean diff.", "mean_difference", difference, "mean\ndiff."),
    figure("accuracy", "accuracy", numbers.percent),
)
COST = (
    figure("latency", "latency_us", time),
    figure("4 threads", "latency_4_threads_us", time, "4\nthreads"),
    figure("memory", "peak_memory", numbers.size),
    figure("partitions", "partitions", str, "parti-\ntions"),
)
SIZE = figure("size", "bytes", numbers.size)
