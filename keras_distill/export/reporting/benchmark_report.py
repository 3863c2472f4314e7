"""What a benchmark of TFLite files says: one row per file."""

import dataclasses
import io
import json
import pathlib

from keras_distill.export.reporting import tables
from keras_distill.export.reporting.report import PASSED


@dataclasses.dataclass(frozen=True)
class Measured:
    """One row of a benchmark: what was found of one file.

    Attributes:
        file: str, its path.
        status: str: `"passed"`, which says that it ran and gave finite numbers, or `"failed: <why>"`.
        bytes: int.
        inputs: list of str, name, shape and dtype of each.
        outputs: list of str, name, shape and dtype of each.
        operators: dict of str to int, how many there are of each.
        computing: dict of str to int, how many operators give results of each type.
        partitions: int, in how many pieces the delegate runs the graph.
        latency_us: dict of int to float, count of threads to the median time of one run, in microseconds.
        latency_range_us: dict of int to tuple of two floats, the 10th and 90th percentile of that time.
        peak_memory: int, bytes that opening and running it took; None where the system does not tell.
        agreement: float, share of samples with the first file's top-1 answer; None without data or classes.
        max_difference: float, largest difference from the first file's outputs; None without data.
        accuracy: float, share of right answers; None without labels.
        samples: int, how many it was compared on.
    """

    file: str
    status: str
    bytes: int | None = None
    inputs: list = dataclasses.field(default_factory=list)
    outputs: list = dataclasses.field(default_factory=list)
    operators: dict = dataclasses.field(default_factory=dict)
    computing: dict = dataclasses.field(default_factory=dict)
    partitions: int | None = None
    latency_us: dict = dataclasses.field(default_factory=dict)
    latency_range_us: dict = dataclasses.field(default_factory=dict)
    peak_memory: int | None = None
    agreement: float | None = None
    max_difference: float | None = None
    accuracy: float | None = None
    samples: int = 0

    @property
    def passed(self):
        """Whether it ran and gave finite numbers."""
        return self.status == PASSED


class BenchmarkReport:
    """Rows of a benchmark, in the order the files were given; print it for a table."""

    def __init__(self, rows):
        self._rows = list(rows)

    @property
    def passed(self):
        """Whether every file ran."""
        return all(row.passed for row in self)

    def __iter__(self):
        return iter(self._rows)

    def __len__(self):
        return len(self._rows)

    def __getitem__(self, place):
        return self._rows[place]

    def to_dict(self):
        """Return the report as JSON types."""
        return {"passed": self.passed, "files": [dataclasses.asdict(row) for row in self]}

    def to_json(self):
        """Return the report as JSON text."""
        return json.dumps(self.to_dict(), indent=2)

    def to_markdown(self):
        """Return the report as a Markdown table."""
        return tables.markdown(*self._cells(), first="file")

    def __str__(self):
        from rich.console import Console

        text = io.StringIO()
        Console(file=text, width=tables.WIDTH, color_system=None, force_jupyter=False).print(self)
        return "\n".join(line.rstrip() for line in text.getvalue().rstrip().splitlines())

    def __repr__(self):
        return f"<BenchmarkReport {', '.join(f'{row.file}: {row.status}' for row in self)}>"

    def _repr_html_(self):
        return tables.html_table(*self._cells(), first="file")

    def __rich_console__(self, console, options):
        """Yield the table, and below it what each file takes and gives, and why files failed."""
        from rich.text import Text

        yield tables.rich_table(*self._cells(), options.max_width, first="file")
        for row, name in zip(self, self._names(), strict=True):
            ends = f"{name}: {', '.join(row.inputs)} → {', '.join(row.outputs)}"
            yield Text(ends if row.passed else f"{name}: {row.status}")

    def _cells(self):
        return self._names(), [row.status for row in self], tables.filled(_columns(self), list(self))

    def _names(self):
        """Return the files' names, with their folders where two are alike."""
        names = [pathlib.Path(row.file).name for row in self]
        return [name if names.count(name) == 1 else row.file for name, row in zip(names, self, strict=True)]


def _columns(rows):
    counts = list(dict.fromkeys(count for row in rows for count in row.latency_us))
    agreement = [column for column in tables.AGREEMENT if column.heading != "mean diff."]
    return [
        tables.SIZE,
        tables.Column("operators", lambda row: _operators(row.computing), "opera-\ntors"),
        tables.figure("partitions", "partitions", str, "parti-\ntions"),
        *[_latency(count) for count in counts],
        tables.figure("memory", "peak_memory", tables.bytes_),
        *agreement,
    ]


def _operators(computing):
    """Return how many operators compute in integers, and how many do not."""
    whole = sum(count for kind, count in computing.items() if "INT" in kind or kind == "BOOL")
    rest = sum(computing.values()) - whole
    return " + ".join(f"{count} {kind}" for count, kind in ((whole, "int"), (rest, "float")) if count) or None


def _latency(count):
    def cell(row):
        if count not in row.latency_us:
            return None
        low, high = row.latency_range_us[count]
        return f"{tables.time(row.latency_us[count])}\n{low:.0f}–{high:.0f}"

    heading = f"{count} thread{'s' * (count > 1)}"
    return tables.Column(heading, cell, heading.replace(" ", "\n"))
