"""What an export says about itself: one row per format."""

import dataclasses
import html
import io
import json

from keras_distill._core.messages import expected, unknown_name
from keras_distill.export.reporting import figures, tables

PASSED = "passed"
FAILED_VERIFICATION = "exported, but failed verification"
FAILED = "failed"


@dataclasses.dataclass(frozen=True)
class Artifact:
    """One row of a report: what became of one format.

    Attributes:
        format: str, name in the table of formats.
        status: str: `"passed"`, `"exported, but failed verification: <why>"` or `"failed: <why>"`.
        path: str, where the file or folder is; None unless it passed.
        bytes: int, its size, or the size it had before it was withheld; None if it was never written.
        agreement: float, share of samples with the student's top-1 answer; the worst output's. None without classes.
        max_difference: float, largest difference from the student's outputs.
        mean_difference: float, mean difference; the worst output's.
        accuracy: float, share of right answers, averaged over the outputs that have labels; None without labels.
        student_accuracy: float, the same of the student.
        finite: bool, whether all outputs are.
        latency_us: float, median time of a single sample on one thread, in microseconds.
        latency_range_us: tuple of two floats, the 10th and 90th percentile of that time.
        latency_4_threads_us: float, median time on four threads; None where the runtime does not take their count.
        peak_memory: int, bytes that opening the file and running one sample took; None where the system does not tell.
        partitions: int, in how many pieces LiteRT's delegate runs the graph; None for other runtimes.
        arena_bytes: int, working memory that a microcontroller needs for it; None unless that was asked for.
        operators: dict of str to int, the file's operators and how many there are of each.
        targets: dict of str to str, the targets asked for: `"passed"`, `"failed: <why>"` or `"not run: <why>"`.
        samples: int, how many it was compared on.
        input_dtypes: dict of str to str, as the file has them.
        output_dtypes: dict of str to str, as the file has them.
        outputs: dict of output name to the figures of that output.
        log: str, what converter or runtime printed, if it did not pass.
    """

    format: str
    status: str
    path: str | None = None
    bytes: int | None = None
    agreement: float | None = None
    max_difference: float | None = None
    mean_difference: float | None = None
    accuracy: float | None = None
    student_accuracy: float | None = None
    finite: bool | None = None
    latency_us: float | None = None
    latency_range_us: tuple | None = None
    latency_4_threads_us: float | None = None
    peak_memory: int | None = None
    partitions: int | None = None
    arena_bytes: int | None = None
    operators: dict = dataclasses.field(default_factory=dict)
    targets: dict = dataclasses.field(default_factory=dict)
    samples: int = 0
    input_dtypes: dict = dataclasses.field(default_factory=dict)
    output_dtypes: dict = dataclasses.field(default_factory=dict)
    outputs: dict = dataclasses.field(default_factory=dict)
    log: str = dataclasses.field(default="", repr=False)

    @property
    def passed(self):
        """Whether the file was run by another runtime, agreed with the student, and is there."""
        return self.status == PASSED

    @property
    def quality(self):
        """Accuracy, or agreement with the student where there are no labels; None where there are no classes."""
        return self.agreement if self.accuracy is None else self.accuracy

    def to_dict(self):
        """Return the row as JSON types."""
        return dataclasses.asdict(self)


class ExportReport:
    """Rows of an export, in the order the formats were asked for.

    Args:
        path: str, the export's directory; None if nothing passed and nothing was written.
        artifacts: list of `Artifact`.
        missing_targets: sequence of str, targets asked for that no file passed for. Defaults to none.

    Example:
        >>> report = ExportReport("out", [Artifact("tflite", "passed", "out/student.tflite", 2048, agreement=1.0)])
        >>> report.passed, report["tflite"].bytes, [row.format for row in report]
        (True, 2048, ['tflite'])
        >>> print(report.to_markdown())
        | format | status | size | agreement |
        |---|---|---|---|
        | tflite | passed | 2.0 kB | 100.00 % |
        >>> report.smallest(min_accuracy=0.99).format
        'tflite'
    """

    def __init__(self, path, artifacts, missing_targets=()):
        self.path, self.missing_targets = path, tuple(missing_targets)
        self._artifacts = {artifact.format: artifact for artifact in artifacts}

    @property
    def passed(self):
        """Whether every format asked for passed, and every target has a file."""
        return all(artifact.passed for artifact in self) and not self.missing_targets

    def __iter__(self):
        return iter(self._artifacts.values())

    def __len__(self):
        return len(self._artifacts)

    def __getitem__(self, name):
        """Return the row of a format."""
        if name not in self._artifacts:
            raise KeyError(unknown_name("format of this report", name, self._artifacts))
        return self._artifacts[name]

    def smallest(self, min_accuracy=None):
        """Return the smallest file that passed.

        Args:
            min_accuracy: float, least accuracy, or least agreement where there are no labels. Defaults to None, any.

        Returns:
            `Artifact`.

        Raises:
            ValueError: if no file is as good.
        """
        return self._least("bytes", min_accuracy)

    def fastest(self, min_accuracy=None):
        """Return the file that passed and takes the least time for one sample on one thread; else as `smallest`."""
        return self._least("latency_us", min_accuracy)

    def plot(self, path=None):
        """Draw accuracy against size and against latency, one point per file, with the front that none surpasses.

        Where there are no labels, agreement with the student stands in for accuracy; for outputs without classes, the
        mean difference from the student.

        Args:
            path: str or path of an image file to write. Defaults to None.

        Returns:
            `matplotlib.figure.Figure`.

        Raises:
            ImportError: if matplotlib is missing.
            ValueError: if no row has figures to draw.
        """
        figure = figures.trade_offs(list(self))
        if path is not None:
            figure.savefig(path, bbox_inches="tight", facecolor="white")
        return figure

    def to_dict(self):
        """Return the report as JSON types."""
        return {
            "path": self.path,
            "passed": self.passed,
            "missing_targets": list(self.missing_targets),
            "artifacts": [artifact.to_dict() for artifact in self],
        }

    def to_json(self):
        """Return the report as JSON text."""
        return json.dumps(self.to_dict(), indent=2)

    def to_markdown(self):
        """Return the report as a Markdown table."""
        return tables.markdown(*self._cells(_target_columns(self)))

    def __str__(self):
        from rich.console import Console

        text = io.StringIO()
        Console(file=text, width=tables.WIDTH, color_system=None, force_jupyter=False).print(self)
        return "\n".join(line.rstrip() for line in text.getvalue().rstrip().splitlines())

    def __repr__(self):
        rows = ", ".join(f"{artifact.format}: {artifact.status.split(':')[0]}" for artifact in self)
        return f"<ExportReport {rows}>"

    def _repr_html_(self):
        notes = "".join(f"<p>{html.escape(note)}</p>" for note in self._notes())
        return tables.html_table(*self._cells(_target_columns(self))) + notes

    def __rich_console__(self, console, options):
        """Yield the tables, and below them why rows did not pass and which file to ship."""
        from rich.text import Text

        yield tables.rich_table(*self._cells(), options.max_width)
        on_targets = tables.targets([row.format for row in self], [row.targets for row in self])
        if on_targets is not None:
            yield on_targets
        yield from map(Text, self._notes())

    def _cells(self, more=()):
        columns = tables.filled((tables.SIZE, *tables.AGREEMENT, *tables.COST, *more), list(self))
        return [row.format for row in self], [row.status for row in self], columns

    def _notes(self):
        """Return the lines below the table."""
        notes = [f"{row.format}: {row.status}; no file was kept" for row in self if not row.passed]
        notes += [
            f"{row.format} on {target}: {status}"
            for row in self
            for target, status in row.targets.items()
            if status != PASSED
        ]
        notes += [f"no file passed for target {target}" for target in self.missing_targets]
        if sum(row.passed for row in self) > 1:
            notes.append(self._advice())
        return [
            *notes,
            f"Written to {self.path}" if self.path else "Nothing passed, so nothing was written or replaced.",
        ]

    def _advice(self):
        """Return which file to ship, in one line."""
        smallest = self.smallest()
        advice = f"Smallest that passed: {smallest.format} ({tables.SIZE.text(smallest)}{_quality(smallest)})"
        if any(row.passed and row.latency_us is not None for row in self):
            fastest = self.fastest()
            advice += f"; fastest: {fastest.format} ({tables.time(fastest.latency_us)}{_quality(fastest)})"
        return f"{advice}."

    def _least(self, attribute, min_accuracy):
        rows = [row for row in self if row.passed and getattr(row, attribute) is not None]
        good = [row for row in rows if min_accuracy is None or (row.quality or 0.0) >= min_accuracy]
        if not good:
            wanted = "a file that passed" + ("" if min_accuracy is None else f" with an accuracy of {min_accuracy:g}")
            best = max((row.quality or 0.0 for row in rows), default=None)
            raise ValueError(expected(wanted, "none" if best is None else f"{best:g} at best"))
        return min(good, key=lambda row: getattr(row, attribute))


def _quality(row):
    if row.quality is None:
        return ""
    return f", {'agreement' if row.accuracy is None else 'accuracy'} {row.quality:.2%}".replace("%", " %")


def _target_columns(report):
    names = dict.fromkeys(target for row in report for target in row.targets)

    def column(name):
        return tables.Column(name, lambda row: tables.mark(row.targets[name]) if name in row.targets else None)

    return [column(name) for name in names]
