"""Results of a benchmark of TFLite files: one row per file."""

import dataclasses
import pathlib
from collections.abc import Iterator, Sequence
from typing import Any

from keras_distill.export.reporting import tables
from keras_distill.export.reporting.report import PASSED


@dataclasses.dataclass(frozen=True)
class Measured:
    """One row of a benchmark: the figures of one file.

    Attributes:
        file: Path of the file.
        status: `"passed"` if the file ran and returned finite numbers, else `"failed: <why>"`.
        bytes: Size of the file.
        inputs: Name, shape and dtype of each input.
        outputs: Name, shape and dtype of each output.
        operators: Number of operators by name.
        computing: Number of operators by the type of their results.
        partitions: Number of partitions of the graph that the delegate runs.
        latency_us: Median time of one run in microseconds, by the number of threads.
        latency_range_us: 10th and 90th percentile of that time, by the number of threads.
        peak_memory: Bytes that opening and running the file took; `None` where the system does not report it.
        agreement: Share of samples with the first file's top-1 answer; `None` without data or classes.
        worst: The same share for the class on which the files agree least; `None` likewise.
        max_difference: Largest difference from the first file's outputs; `None` without data.
        accuracy: Share of right answers; `None` without labels.
        samples: Number of samples that it was compared on.
    """

    file: str
    status: str
    bytes: int | None = None
    inputs: list[str] = dataclasses.field(default_factory=list)
    outputs: list[str] = dataclasses.field(default_factory=list)
    operators: dict[str, int] = dataclasses.field(default_factory=dict)
    computing: dict[str, int] = dataclasses.field(default_factory=dict)
    partitions: int | None = None
    latency_us: dict[int, float] = dataclasses.field(default_factory=dict)
    latency_range_us: dict[int, tuple[float, float]] = dataclasses.field(default_factory=dict)
    peak_memory: int | None = None
    agreement: float | None = None
    worst: float | None = None
    max_difference: float | None = None
    accuracy: float | None = None
    samples: int = 0

    @property
    def passed(self) -> bool:
        """Whether the file ran and returned finite numbers."""
        return self.status == PASSED


class BenchmarkReport(tables.TableReport):
    """Rows of a benchmark, in the order of the files; print it for a table.

    Args:
        rows: `Measured` of each file.
    """

    _first = "file"

    def __init__(self, rows: Sequence[Measured]):
        super().__init__(rows)

    @property
    def passed(self) -> bool:
        """Whether every file passed."""
        return all(row.passed for row in self)

    def __getitem__(self, place: int) -> Measured:
        return self._rows[place]

    def to_dict(self) -> dict[str, Any]:
        """Return the report as JSON types."""
        return {"passed": self.passed, "files": [dataclasses.asdict(row) for row in self]}

    def __repr__(self):
        return f"<BenchmarkReport {', '.join(f'{row.file}: {row.status}' for row in self)}>"

    def __rich_console__(self, console: Any, options: Any) -> Iterator[Any]:
        """Yield the table, then the inputs and outputs of each file, or why it failed."""
        from rich.text import Text

        yield self._rich_table(self._columns(), options.max_width)
        for row, name in zip(self, self._names(), strict=True):
            ends = f"{name}: {', '.join(row.inputs)} → {', '.join(row.outputs)}"
            yield Text(ends if row.passed else f"{name}: {row.status}")

    def _names(self) -> list[str]:
        """Return the names of the files, with their folders where two are equal."""
        names = [pathlib.Path(row.file).name for row in self]
        return [name if names.count(name) == 1 else row.file for name, row in zip(names, self, strict=True)]

    def _columns(self) -> tables.Cells:
        counts = list(dict.fromkeys(count for row in self for count in row.latency_us))
        columns = [
            tables.SIZE,
            tables.Column("operators", lambda row: _count_operators(row.computing), "opera-\ntors"),
            tables.PARTITIONS,
            *[_make_latency_column(count) for count in counts],
            tables.MEMORY,
            *[column for column in tables.AGREEMENT if column.heading != "mean diff."],
        ]
        return tables.fill(columns, list(self))


def _count_operators(computing: dict[str, int]) -> str | None:
    """Return how many operators compute in integers, and how many in floats."""
    whole = sum(count for kind, count in computing.items() if "INT" in kind or kind == "BOOL")
    rest = sum(computing.values()) - whole
    return " + ".join(f"{count} {kind}" for count, kind in ((whole, "int"), (rest, "float")) if count) or None


def _make_latency_column(count: int) -> tables.Column:
    def cell(row: Measured) -> str | None:
        if count not in row.latency_us:
            return None
        low, high = row.latency_range_us[count]
        return f"{tables.format_time(row.latency_us[count])}\n{low:.0f}–{high:.0f}"

    heading = f"{count} thread{'s' * (count > 1)}"
    return tables.Column(heading, cell, heading.replace(" ", "\n"))
