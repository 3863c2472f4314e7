"""Results of an export: one row per format."""

import dataclasses
import html
import os
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from keras_distill._core import deprecation
from keras_distill._core.messages import expected, unknown_name
from keras_distill.export.reporting import figures, tables

PASSED = "passed"
FAILED_VERIFICATION = "exported, but failed verification"
FAILED = "failed"


@dataclasses.dataclass(frozen=True)
class Artifact:
    """One row of a report: the result for one format.

    Attributes:
        format: Name in the table of formats.
        status: `"passed"`, `"exported, but failed verification: <why>"` or `"failed: <why>"`.
        path: Path of the file or folder; `None` unless it passed.
        bytes: Its size, or the size that it had before it was withheld; of C++ source, the bytes of flash memory that
            it takes. `None` if it was never written.
        agreement: Share of the student's decisions that the file shares: the class, or each label at one half; of the
            worst output. `None` for numbers.
        max_difference: Largest difference from the student's outputs.
        mean_difference: Mean difference, of the worst output.
        accuracy: Share of right answers, averaged over the outputs that have labels; `None` without labels.
        student_accuracy: The same of the student.
        finite: Whether all outputs are finite.
        latency_us: Median time of a single sample on one thread, in microseconds.
        latency_range_us: 10th and 90th percentile of that time.
        latency_4_threads_us: Median time on four threads; `None` where the runtime cannot set their number.
        peak_memory: Bytes that opening the file and running one sample took; `None` where the system does not report
            them.
        partitions: Number of partitions of the graph that LiteRT's delegate runs; `None` for other runtimes.
        arena_bytes: Working memory that a microcontroller needs; `None` for files that were not run by its runtime.
        operators: The file's operators: the number of each by name.
        devices: Status on each requested device: `"passed"`, `"failed: <why>"` or `"not run: <why>"`.
        samples: Number of samples that it was compared on.
        input_dtypes: Dict of input name to its dtype in the file.
        output_dtypes: Dict of output name to its dtype in the file.
        outputs: Dict of output name to the figures of that output.
        first_student: Agreement and differences of a quantization-aware student's file from the float student that
            training began from, and that student's accuracy; empty if it is not known.
        log: What the converter or the runtime printed, if the format did not pass.
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
    latency_range_us: tuple[float, float] | None = None
    latency_4_threads_us: float | None = None
    peak_memory: int | None = None
    partitions: int | None = None
    arena_bytes: int | None = None
    operators: dict[str, int] = dataclasses.field(default_factory=dict)
    devices: dict[str, str] = dataclasses.field(default_factory=dict)
    samples: int = 0
    input_dtypes: dict[str, str] = dataclasses.field(default_factory=dict)
    output_dtypes: dict[str, str] = dataclasses.field(default_factory=dict)
    outputs: dict[str, dict[str, Any]] = dataclasses.field(default_factory=dict)
    first_student: dict[str, Any] = dataclasses.field(default_factory=dict)
    log: str = dataclasses.field(default="", repr=False)

    @property
    def passed(self) -> bool:
        """Whether another runtime ran the file, it agreed with the student, and it was kept."""
        return self.status == PASSED

    @property
    def quality(self) -> float | None:
        """Accuracy, or agreement with the student where there are no labels; `None` where there are no classes."""
        return self.agreement if self.accuracy is None else self.accuracy

    @property
    def worst(self) -> float | None:
        """Share of the samples of the worst class, or of the worst label's yes or no, that the file finds.

        Classes with fewer than three samples do not count; `None` without decisions.
        """
        groups = [figures["worst"] for figures in self.outputs.values() if figures.get("worst")]
        return min((group["kept"] / group["support"] for group in groups), default=None)

    @property
    def targets(self) -> dict[str, str]:
        """Old name of `devices`."""
        deprecation.warn("Artifact.targets", "Artifact.devices")
        return self.devices

    def to_dict(self) -> dict[str, Any]:
        """Return the row as JSON types; `targets` are the devices, as in earlier versions of the format."""
        return {"targets" if name == "devices" else name: value for name, value in dataclasses.asdict(self).items()}


_accept_old_names = deprecation.renamed_arguments(targets="devices")
Artifact.__init__ = _accept_old_names(Artifact.__init__)  # type: ignore[method-assign]


class ExportReport(tables.TableReport):
    """Rows of an export, in the order of the formats; print it for a table.

    Args:
        path: Directory of the export; `None` if nothing passed and nothing was written.
        artifacts: `Artifact` of each format.
        missing_devices: Requested devices on which no file passed. Defaults to `()`.

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

    @deprecation.renamed_arguments(missing_targets="missing_devices")
    def __init__(self, path: str | None, artifacts: Sequence[Artifact], missing_devices: Sequence[str] = ()):
        super().__init__(artifacts)
        self.path, self.missing_devices = path, tuple(missing_devices)

    @property
    def missing_targets(self) -> tuple[str, ...]:
        """Old name of `missing_devices`."""
        deprecation.warn("ExportReport.missing_targets", "ExportReport.missing_devices")
        return self.missing_devices

    @property
    def passed(self) -> bool:
        """Whether every format passed, and every device has a file that passed on it."""
        return all(artifact.passed for artifact in self) and not self.missing_devices

    def __getitem__(self, name: str) -> Artifact:
        """Return the row of a format."""
        rows = {artifact.format: artifact for artifact in self}
        if name not in rows:
            raise KeyError(unknown_name("format of this report", name, rows))
        return rows[name]

    def smallest(self, min_accuracy: float | None = None) -> Artifact:
        """Return the smallest file that passed; C++ source counts only if nothing else passed.

        Args:
            min_accuracy: Smallest accuracy, or smallest agreement where there are no labels. Defaults to `None`, any.

        Raises:
            ValueError: If no file is that accurate.
        """
        return self._find_least("bytes", min_accuracy)

    def fastest(self, min_accuracy: float | None = None) -> Artifact:
        """Return the file that passed and takes the least time for one sample on one thread, see `smallest`."""
        return self._find_least("latency_us", min_accuracy)

    def plot(self, path: str | os.PathLike | None = None) -> Any:
        """Draw accuracy against size and against latency, one point per file, with the Pareto front.

        Where there are no labels, agreement with the student replaces accuracy; for outputs without classes, the mean
        difference from the student does.

        Args:
            path: Image file to write. Defaults to `None`.

        Returns:
            `matplotlib.figure.Figure`.

        Raises:
            ImportError: If matplotlib is missing.
            ValueError: If no row has figures to draw.
        """
        figure = figures.draw_trade_offs(list(self))
        if path is not None:
            figure.savefig(path, bbox_inches="tight", facecolor="white")
        return figure

    def to_dict(self) -> dict[str, Any]:
        """Return the report as JSON types; `missing_targets` are the missing devices, as in earlier versions."""
        return {
            "path": self.path,
            "passed": self.passed,
            "missing_targets": list(self.missing_devices),
            "artifacts": [artifact.to_dict() for artifact in self],
        }

    def __repr__(self):
        rows = ", ".join(f"{artifact.format}: {artifact.status.split(':')[0]}" for artifact in self)
        return f"<ExportReport {rows}>"

    def _repr_html_(self):
        return super()._repr_html_() + "".join(f"<p>{html.escape(note)}</p>" for note in self._list_notes())

    def __rich_console__(self, console: Any, options: Any) -> Iterator[Any]:
        """Yield the tables, then why rows did not pass and which file to ship."""
        from rich.text import Text

        columns = self._fill()
        if any(row.arena_bytes is not None for row in self):  # A terminal has no room for all of them.
            left_out = (tables.PARTITIONS, tables.FOUR_THREADS)
            columns = [(column, cells) for column, cells in columns if column not in left_out]
        yield self._rich_table(columns, options.max_width)
        device_table = tables.make_device_table(self._names(), [row.devices for row in self])
        if device_table is not None:
            yield device_table
        yield from map(Text, self._list_notes())

    def _names(self) -> list[str]:
        return [row.format for row in self]

    def _columns(self) -> tables.Cells:
        names = dict.fromkeys(device for row in self for device in row.devices)
        return self._fill([_make_device_column(name) for name in names])

    def _fill(self, more: Sequence[tables.Column] = ()) -> tables.Cells:
        return tables.fill((tables.SIZE, *tables.AGREEMENT, *tables.COST, tables.ARENA, *more), list(self))

    def _list_notes(self) -> list[str]:
        """Return the lines below the table."""
        notes = [f"{row.format}: {row.status}; no file was kept" for row in self if not row.passed]
        notes += _list_larger(self)
        notes += [_describe_first(row) for row in self if row.first_student.get("max_difference") is not None]
        notes += [
            f"{row.format} on {device}: {status}"
            for row in self
            for device, status in row.devices.items()
            if status != PASSED
        ]
        notes += [f"no file passed for device {device}" for device in self.missing_devices]
        if sum(row.passed for row in self) > 1:
            notes.append(self._advise())
        nothing = "Nothing passed, so nothing was written or replaced."
        return [*notes, f"Written to {self.path}" if self.path else nothing]

    def _advise(self) -> str:
        """Return which file to ship, in one line."""
        smallest = self.smallest()
        advice = f"Smallest that passed: {smallest.format} ({tables.SIZE.text(smallest)}{_format_quality(smallest)})"
        if any(row.passed and row.latency_us is not None for row in self):
            fastest = self.fastest()
            time = tables.format_time(fastest.latency_us or 0.0)
            advice += f"; fastest: {fastest.format} ({time}{_format_quality(fastest)})"
        return f"{advice}."

    def _find_least(self, attribute: str, min_accuracy: float | None) -> Artifact:
        rows = [row for row in self if row.passed and getattr(row, attribute) is not None]
        rows = [row for row in rows if not row.format.startswith("c_array")] or rows
        good = [row for row in rows if min_accuracy is None or (row.quality or 0.0) >= min_accuracy]
        if not good:
            wanted = "a file that passed" + ("" if min_accuracy is None else f" with an accuracy of {min_accuracy:g}")
            best = max((row.quality or 0.0 for row in rows), default=None)
            raise ValueError(expected(wanted, "no such file" if best is None else f"{best:g} at best"))
        return min(good, key=lambda row: getattr(row, attribute))


def _list_larger(rows: Iterable[Artifact]) -> list[str]:
    """Return a line for each file of integers that is larger than that of floats, which nobody expects."""
    passed = {row.format: row for row in rows if row.passed}
    plain, small = passed.get("tflite"), passed.get("tflite_int8")
    if plain is None or small is None or (small.bytes or 0) <= (plain.bytes or 0):
        return []
    counts = [sum(row.operators.values()) for row in (plain, small)]
    why = f"it has {counts[1]} operators where tflite has {counts[0]}"
    if counts[1] > 2 * counts[0]:
        why += ", because quantizers need recurrent layers unrolled; tflite_weights_int8 keeps their loops"
    return [f"tflite_int8 is larger than tflite: {why}"]


def _describe_first(row: Artifact) -> str:
    """Return how far a file is from the float student before quantization-aware training, in one line."""
    figures = row.first_student
    words = [f"max difference {tables.format_difference(figures['max_difference'])}"]
    words.append(f"mean difference {tables.format_difference(figures['mean_difference'])}")
    if figures["agreement"] is not None:
        words.insert(0, f"agreement {figures['agreement']:.2%}".replace("%", " %"))
    if figures["student_accuracy"] is not None:
        words.append(f"whose accuracy was {figures['student_accuracy']:.2%}".replace("%", " %"))
    return f"{row.format} and the float student before quantization-aware training: {', '.join(words)}"


def _make_device_column(name: str) -> tables.Column:
    return tables.Column(name, lambda row: tables.shorten_status(row.devices[name]) if name in row.devices else None)


def _format_quality(row: Artifact) -> str:
    if row.quality is None:
        return ""
    return f", {'agreement' if row.accuracy is None else 'accuracy'} {row.quality:.2%}".replace("%", " %")
