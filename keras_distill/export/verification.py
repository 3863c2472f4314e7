"""Comparing a file, run by another runtime, with the student on real data."""

import dataclasses
import pathlib
from collections.abc import Iterable
from typing import Any

import numpy as np

from keras_distill._core.messages import expected
from keras_distill.export.arrays import Arrays
from keras_distill.export.labels import are_classes
from keras_distill.export.runtimes.remote import RemoteRuntime
from keras_distill.export.signature import Signature


@dataclasses.dataclass(frozen=True)
class Limits:
    """Limits within which a file agrees with the student; `None` leaves a figure unlimited.

    Attributes:
        min_agreement: Smallest share of samples with the student's top-1 answer, for outputs that are class scores.
        max_difference: Largest difference from the student, as a share of the range of the student's output.
        max_mean_difference: Largest mean difference, as a share of the same range.
    """

    min_agreement: float | None
    max_difference: float | None
    max_mean_difference: float | None

    def complaints(self, name: str, figures: dict[str, Any]) -> list[str]:
        """Return what is wrong with the figures of the output `name`."""
        if not figures["student_finite"]:
            return [f"output {name!r} of the student itself is not finite"]
        if not figures["finite"]:
            return [f"output {name!r} is not finite"]
        found = []
        agreement = figures["agreement"]
        if agreement is not None and self.min_agreement is not None and agreement < self.min_agreement:
            found.append(f"agreement of output {name!r} is {agreement:.4f}, less than {self.min_agreement:g}")
        for figure, limit in (("max", self.max_difference), ("mean", self.max_mean_difference)):
            difference = figures[f"{figure}_difference"]
            if limit is not None and difference > limit * figures["range"]:
                allowed = f"more than {limit:g} of the student's range {figures['range']:.3g}"
                found.append(f"{figure} difference of output {name!r} is {difference:.3g}, {allowed}")
        return found


class Tally:
    """Running comparison of one output of the student and of the file."""

    def __init__(self):
        self._numbers = self._answers = self._agreed = self._labelled = 0
        self._student_correct = self._correct = 0
        self._largest, self._total = 0.0, 0.0
        self._low, self._high = np.inf, -np.inf
        self._finite, self._student_finite, self._has_classes = True, True, True

    def add(self, student: np.ndarray, file: np.ndarray, labels: np.ndarray | None = None) -> None:
        """Add a batch.

        Args:
            student: Array `(batch, ...)`.
            file: Array of the same shape.
            labels: Labels, as `labels.read_labels` returns them. Defaults to `None`.

        Raises:
            ValueError: If the shapes differ, which broadcasting would hide.
        """
        if student.shape != file.shape:
            raise ValueError(expected(f"an output of shape {student.shape}", file.shape))
        student, file = student.astype(np.float64), file.astype(np.float64)
        self._student_finite &= bool(np.isfinite(student).all())
        self._finite &= bool(np.isfinite(file).all())
        difference = np.abs(student - file)
        self._largest = max(self._largest, difference.max(initial=0.0))
        self._total += difference.sum()
        self._numbers += difference.size
        self._low = min(self._low, student.min(initial=np.inf))
        self._high = max(self._high, student.max(initial=-np.inf))
        # If the labels are the targets of a regression, the largest output has no meaning.
        regression = labels is not None and not are_classes(labels)
        self._has_classes &= student.ndim > 1 and student.shape[-1] > 1 and not regression
        if self._has_classes:
            self._count_answers(student.argmax(-1), file.argmax(-1), labels)

    def _count_answers(self, student: np.ndarray, file: np.ndarray, labels: np.ndarray | None) -> None:
        self._answers += student.size
        self._agreed += int((student == file).sum())
        if labels is not None:
            self._labelled += labels.size
            self._student_correct += int((student == labels).sum())
            self._correct += int((file == labels).sum())

    def figures(self) -> dict[str, Any]:
        """Return a dict of plain numbers; `None` where there is nothing to measure."""
        measurable = self._finite and self._student_finite
        labelled = self._labelled if self._has_classes else 0
        return {
            "finite": self._finite,
            "student_finite": self._student_finite,
            "agreement": self._agreed / self._answers if self._has_classes else None,
            "max_difference": float(self._largest) if measurable else None,
            "mean_difference": float(self._total / self._numbers) if measurable else None,
            "range": float(self._high - self._low or abs(self._high) or 1.0) if measurable else None,
            "accuracy": self._correct / labelled if labelled else None,
            "student_accuracy": self._student_correct / labelled if labelled else None,
        }


def verify(
    path: pathlib.Path, entry: Any, source: Any, samples: Iterable[tuple[Arrays, Arrays]], limits: Limits
) -> tuple[dict[str, Any], list[str]]:
    """Run a file in another runtime and compare it with the student.

    Args:
        path: The file or folder.
        entry: `Format` of the file.
        source: `Source` that the file was written from.
        samples: `(inputs, labels)` batches to compare on.
        limits: `Limits` of the comparison.

    Returns:
        Tuple of a dict of figures and a list of complaints; the file passed if there are no complaints.
    """
    complaints = entry.inspect(path, source.signature)
    if complaints:
        return {}, complaints
    with RemoteRuntime(entry.runtime, path, source.work, source.time_limit) as runtime:
        types = {"input_dtypes": runtime.input_dtypes, "output_dtypes": runtime.output_dtypes}
        complaints = _find_missing_names(runtime, source.signature)
        if complaints:
            return types, complaints
        measured = _measure(runtime, samples)
        tallies = compare(source.student, runtime, source.signature, samples)
    outputs = {name: tally.figures() for name, tally in tallies.items()}
    for name, figures in outputs.items():
        complaints += limits.complaints(name, figures)
    return types | _summarize(outputs) | measured, complaints


def compare(
    student: Any, runtime: RemoteRuntime, signature: Signature, samples: Iterable[tuple[Arrays, Arrays]]
) -> dict[str, Tally]:
    """Compare a student and a file on all samples; return a dict of output name to `Tally`."""
    import tensorflow as tf

    tallies = {tensor.name: Tally() for tensor in signature.outputs}
    for inputs, labels in samples:
        # GPUs may round float32 in matrix products; the files are compared with exact products.
        with tf.device("CPU:0"):
            student_outputs = signature.call(student, inputs)
        file_outputs = runtime(inputs)
        for name, tally in tallies.items():
            tally.add(np.asarray(student_outputs[name]), file_outputs[name], labels.get(name))
    return tallies


def _measure(runtime: RemoteRuntime, samples: Iterable[tuple[Arrays, Arrays]]) -> dict[str, Any]:
    inputs, _ = next(iter(samples))
    figures = runtime.measure(inputs)
    latency = {int(threads): quantiles for threads, quantiles in figures["latency"].items()}
    return {
        "latency_us": latency[1][0],
        "latency_range_us": latency[1][1:],
        "latency_4_threads_us": latency[4][0] if 4 in latency else None,
        "peak_memory": figures["peak_memory"],
        **figures["facts"],
    }


def _find_missing_names(runtime: RemoteRuntime, signature: Signature) -> list[str]:
    pairs = (("input", signature.inputs, runtime.input_dtypes), ("output", signature.outputs, runtime.output_dtypes))
    return [
        f"{kind} {tensor.name!r} is missing"
        for kind, tensors, found in pairs
        for tensor in tensors
        if tensor.name not in found
    ]


def _summarize(outputs: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """Summarise several outputs: the worst value of each figure, the mean of accuracies."""

    def known(figure: Any) -> Any:
        return [figures[figure] for figures in outputs.values() if figures[figure] is not None]

    def mean(numbers: Any) -> Any:
        return sum(numbers) / len(numbers) if numbers else None

    return {
        "finite": all(known("finite")),
        "agreement": min(known("agreement"), default=None),
        "max_difference": max(known("max_difference"), default=None),
        "mean_difference": max(known("mean_difference"), default=None),
        "accuracy": mean(known("accuracy")),
        "student_accuracy": mean(known("student_accuracy")),
        "outputs": outputs,
    }
