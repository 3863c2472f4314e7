"""What an export says about itself: one row per format."""

import dataclasses
import io
import json

from keras_distill._messages import unknown_name

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
    samples: int = 0
    input_dtypes: dict = dataclasses.field(default_factory=dict)
    output_dtypes: dict = dataclasses.field(default_factory=dict)
    outputs: dict = dataclasses.field(default_factory=dict)
    log: str = dataclasses.field(default="", repr=False)

    @property
    def passed(self):
        """Whether the file was run by another runtime, agreed with the student, and is there."""
        return self.status == PASSED

    def to_dict(self):
        """Return the row as JSON types."""
        return dataclasses.asdict(self)


class ExportReport:
    """Rows of an export, in the order the formats were asked for.

    Args:
        path: str, the export's directory; None if nothing passed and nothing was written.
        artifacts: list of `Artifact`.

    Example:
        >>> report = ExportReport("out", [Artifact("tflite", "passed", "out/student.tflite", 2048, agreement=1.0)])
        >>> report.passed, report["tflite"].bytes, [row.format for row in report]
        (True, 2048, ['tflite'])
        >>> print(report.to_markdown())
        | format | status | size | agreement | max diff. | mean diff. | accuracy | latency |
        |---|---|---|---|---|---|---|---|
        | tflite | passed | 2.0 kB | 100.00 % | – | – | – | – |
    """

    def __init__(self, path, artifacts):
        self.path = path
        self._artifacts = {artifact.format: artifact for artifact in artifacts}

    @property
    def passed(self):
        """Whether every format asked for passed."""
        return all(artifact.passed for artifact in self)

    def __iter__(self):
        return iter(self._artifacts.values())

    def __len__(self):
        return len(self._artifacts)

    def __getitem__(self, name):
        """Return the row of a format."""
        if name not in self._artifacts:
            raise KeyError(unknown_name("format of this report", name, self._artifacts))
        return self._artifacts[name]

    def to_dict(self):
        """Return the report as JSON types."""
        return {"path": self.path, "passed": self.passed, "artifacts": [artifact.to_dict() for artifact in self]}

    def to_json(self):
        """Return the report as JSON text."""
        return json.dumps(self.to_dict(), indent=2)

    def to_markdown(self):
        """Return the report as a Markdown table."""
        lines = [_COLUMNS, ["---"] * len(_COLUMNS), *map(_cells, self)]
        head, rule, *rows = ["| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines]
        return "\n".join([head, rule.replace(" ", ""), *rows])

    def __str__(self):
        from rich.console import Console

        text = io.StringIO()
        Console(file=text, width=110, color_system=None, force_jupyter=False).print(self.__rich__())
        return "\n".join(line.rstrip() for line in text.getvalue().rstrip().splitlines())

    def __repr__(self):
        rows = ", ".join(f"{artifact.format}: {artifact.status.split(':')[0]}" for artifact in self)
        return f"<ExportReport {rows}>"

    def __rich__(self):
        """Return the table, and below it why rows did not pass."""
        from rich.console import Group
        from rich.table import Table
        from rich.text import Text

        table = Table()
        for position, column in enumerate(_COLUMNS):
            table.add_column(column, justify="left" if position < 2 else "right", no_wrap=True)
        for artifact in self:
            name, _, *figures = _cells(artifact)
            table.add_row(Text(name), Text(_mark(artifact)), *map(Text, figures))
        reasons = [Text(f"{row.format}: {row.status}; no file was kept") for row in self if not row.passed]
        place = f"Written to {self.path}" if self.path else "Nothing passed, so nothing was written or replaced."
        return Group(table, *reasons, Text(place))


_COLUMNS = ["format", "status", "size", "agreement", "max diff.", "mean diff.", "accuracy", "latency"]


def _cells(artifact):
    figures = (
        (artifact.bytes, _size),
        (artifact.agreement, "{:.2%}".format),
        (artifact.max_difference, "{:.2g}".format),
        (artifact.mean_difference, "{:.2g}".format),
        (artifact.accuracy, "{:.2%}".format),
        (artifact.latency_us, "{:.0f} µs".format),
    )
    texts = ["–" if value is None else text(value).replace("%", " %") for value, text in figures]
    return [artifact.format, artifact.status, *texts]


def _mark(artifact):
    """Return the status in the few characters that a column has; the whole of it stands below the table."""
    if artifact.passed:
        return "✓ passed"
    return "✗ failed verification" if artifact.status.startswith(FAILED_VERIFICATION) else "✗ failed"


def _size(count):
    return f"{count / 1024:.1f} kB" if count < 1024**2 else f"{count / 1024**2:.1f} MB"
