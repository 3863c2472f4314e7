"""Tables of files, for a terminal, for Markdown and for notebooks; columns without figures are left out."""

import abc
import dataclasses
import html
import io
import json
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from keras_distill.drawing import numbers

WIDTH = 110
NOTHING = "–"
_MARKS = {"passed": "✓ passed", "exported, but failed verification": "✗ failed verification", "failed": "✗ failed"}


@dataclasses.dataclass(frozen=True)
class Column:
    """One figure of every row.

    Attributes:
        heading: Heading of the column.
        text: Function of a row that returns the figure as text, or `None` if the row does not have it.
        narrow: Heading for narrow tables, lines separated by `\\n`. Defaults to `""`.
    """

    heading: str
    text: Callable[[Any], str | None]
    narrow: str = ""


Cells = list[tuple[Column, list[str]]]
"""Columns, each with the text of its cells."""


class TableReport(abc.ABC):
    """A report with one row per file; print it for a table.

    Args:
        rows: Rows in the order of the table.
    """

    _first = "format"

    def __init__(self, rows: Sequence[Any]):
        self._rows = list(rows)

    def __iter__(self) -> Iterator[Any]:
        return iter(self._rows)

    def __len__(self) -> int:
        return len(self._rows)

    @abc.abstractmethod
    def to_dict(self) -> dict[str, Any]:
        """Return the report as JSON types."""

    def to_json(self) -> str:
        """Return the report as JSON text."""
        return json.dumps(self.to_dict(), indent=2)

    def to_markdown(self) -> str:
        """Return the report as a Markdown table."""
        return format_markdown(self._names(), self._statuses(), self._columns(), self._first)

    def __str__(self):
        from rich.console import Console

        text = io.StringIO()
        Console(file=text, width=WIDTH, color_system=None, force_jupyter=False).print(self)
        return "\n".join(line.rstrip() for line in text.getvalue().rstrip().splitlines())

    def _repr_html_(self):
        return format_html(self._names(), self._statuses(), self._columns(), self._first)

    def _rich_table(self, columns: Cells, width: int) -> Any:
        return make_rich_table(self._names(), self._statuses(), columns, width, self._first)

    def _statuses(self) -> list[str]:
        return [row.status for row in self]

    @abc.abstractmethod
    def _names(self) -> list[str]:
        """Return the first column."""

    @abc.abstractmethod
    def _columns(self) -> Cells:
        """Return the columns behind the status."""


def make_column(heading: str, attribute: str, text: Callable[[Any], str], narrow: str = "") -> Column:
    """Return the column of a row's attribute, written by `text` where it is not `None`."""

    def cell(row: Any) -> str | None:
        value = getattr(row, attribute)
        return None if value is None else text(value)

    return Column(heading, cell, narrow or heading)


def format_difference(number: float) -> str:
    """Format a difference."""
    return f"{number:.2g}"


def format_time(microseconds: float) -> str:
    """Format a time.

    Example:
        >>> format_time(583.4), format_time(12_345.6)
        ('583 µs', '12.3 ms')
    """
    return f"{microseconds:.0f} µs" if microseconds < 10_000 else f"{microseconds / 1000:.1f} ms"


def shorten_status(status: str) -> str:
    """Return a status in the few characters of a column.

    Example:
        >>> shorten_status("failed: no kernel for NEG"), shorten_status("not run: it is not installed")
        ('✗ failed', '– not run')
    """
    kind = status.split(":")[0]
    return _MARKS.get(kind, f"{NOTHING} {kind}")


def fill(columns: Sequence[Column], rows: Sequence[Any]) -> Cells:
    """Return the columns with their cells, without those for which no row has a figure."""
    pairs = [(column, [column.text(row) for row in rows]) for column in columns]
    return [(column, [cell or NOTHING for cell in cells]) for column, cells in pairs if any(cells)]


def format_markdown(names: list[str], statuses: list[str], columns: Cells, first: str = "format") -> str:
    """Return a table as Markdown.

    Args:
        names: Cells of the first column.
        statuses: Cells of the second column.
        columns: Further columns, as `fill` returns them.
        first: Heading of the first column. Defaults to `"format"`.
    """
    lines = _list_lines(names, statuses, columns, first)
    head, *rows = [
        "| " + " | ".join(" ".join(cell.split()).replace("|", "\\|") for cell in line) + " |" for line in lines
    ]
    return "\n".join([head, "|" + "---|" * len(lines[0]), *rows])


def format_html(names: list[str], statuses: list[str], columns: Cells, first: str = "format") -> str:
    """Return a table as HTML, for notebooks; the arguments are those of `format_markdown`."""
    head, *rows = [[html.escape(cell) for cell in line] for line in _list_lines(names, statuses, columns, first)]
    body = "".join(f"<tr><td>{'</td><td>'.join(row)}</td></tr>" for row in rows)
    return f"<table><thead><tr><th>{'</th><th>'.join(head)}</th></tr></thead><tbody>{body}</tbody></table>"


def make_rich_table(names: list[str], statuses: list[str], columns: Cells, width: int, first: str = "format") -> Any:
    """Return a `rich.table.Table`, with narrow headings, statuses and margins if the terminal is narrow.

    Args:
        names: Cells of the first column.
        statuses: Statuses, which are shortened.
        columns: Further columns, as `fill` returns them.
        width: Width of the terminal in characters.
        first: Heading of the first column. Defaults to `"format"`.
    """
    marks = [shorten_status(status) for status in statuses]
    wide = [(column.heading, cells) for column, cells in columns]
    narrow = [(column.narrow, cells) for column, cells in columns]
    short = [text[0] for text in marks]
    layouts = ((marks, wide, 1), (marks, narrow, 1), (marks, narrow, 0), (short, narrow, 0))
    tables = [_make_table(names, *layout[:2], first, layout[2]) for layout in layouts]
    return next((table for table in tables if _measure_width(table) <= width), tables[-1])


def make_device_table(names: list[str], results: list[dict[str, str]]) -> Any:
    """Return a `rich.table.Table` of the status of each file on each device, or `None` if there are no devices.

    Args:
        names: Names of the files.
        results: Dict of device to status for each file; empty for files that are not meant for any of the devices.
    """
    devices = list(dict.fromkeys(device for statuses in results for device in statuses))
    if not devices:
        return None
    names = [name for name, statuses in zip(names, results, strict=True) if statuses]
    results = [statuses for statuses in results if statuses]
    cells = [
        [shorten_status(statuses[device]) if device in statuses else NOTHING for statuses in results]
        for device in devices
    ]
    return _make_table(names, None, list(zip(devices, cells, strict=True)), "on device", 1)


def _list_lines(names: list[str], statuses: list[str], columns: Cells, first: str) -> list[list[str]]:
    heading = [first, "status", *(column.heading for column, _ in columns)]
    return [heading, *map(list, zip(names, statuses, *(cells for _, cells in columns), strict=True))]


def _make_table(
    names: list[str], marks: list[str] | None, columns: list[tuple[str, list[str]]], first: str, margin: int
) -> Any:
    from rich.table import Table
    from rich.text import Text

    table = Table(padding=(0, margin))
    # Figures are never truncated; a long name may take two lines.
    table.add_column(first, overflow="fold", min_width=8)
    sides = [names] if marks is None else [names, marks]
    if marks is not None:
        table.add_column("status", no_wrap=True)
    for heading, _ in columns:
        table.add_column(heading, justify="right", no_wrap=True)
    for cells in zip(*sides, *(cells for _, cells in columns), strict=True):
        table.add_row(*map(Text, cells))
    return table


def _measure_width(table: Any) -> int:
    from rich.console import Console

    return Console(width=1000).measure(table).maximum


AGREEMENT = (
    make_column("agreement", "agreement", numbers.percent),
    make_column("max diff.", "max_difference", format_difference, "max\ndiff."),
    make_column("mean diff.", "mean_difference", format_difference, "mean\ndiff."),
    make_column("worst class", "worst", numbers.percent, "worst\nclass"),
    make_column("accuracy", "accuracy", numbers.percent),
)
MEMORY = make_column("memory", "peak_memory", numbers.size)
ARENA = make_column("arena", "arena_bytes", numbers.size)
PARTITIONS = make_column("partitions", "partitions", str, "parti-\ntions")
FOUR_THREADS = make_column("4 threads", "latency_4_threads_us", format_time, "4\nthreads")
COST = (
    make_column("latency", "latency_us", format_time),
    FOUR_THREADS,
    MEMORY,
    PARTITIONS,
)
SIZE = make_column("size", "bytes", numbers.size)
