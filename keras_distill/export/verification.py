"""Comparing a file, run by another runtime, with the student on real data."""

import pathlib
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from keras_distill.export.arrays import Arrays
from keras_distill.export.comparison.limits import Limits
from keras_distill.export.comparison.tally import Tally, condense
from keras_distill.export.runtimes.remote import RemoteRuntime
from keras_distill.export.signature import Signature

_PROBED = 16
_BEYOND = 1.5
_OF_FIRST = ("agreement", "max_difference", "mean_difference", "student_accuracy")


def verify(
    path: pathlib.Path,
    entry: Any,
    source: Any,
    samples: Iterable[tuple[Arrays, Arrays]],
    limits: Limits,
    class_names: dict[str, Sequence[str]] | None = None,
) -> tuple[dict[str, Any], list[str]]:
    """Run a file in another runtime and compare it with the student.

    Args:
        path: The file or folder.
        entry: `Format` of the file.
        source: `Source` that the file was written from.
        samples: `(inputs, labels)` batches to compare on.
        limits: `Limits` of the comparison.
        class_names: Dict of output name to the names of its units, for the complaints. Defaults to `None`.

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
        first = _make_tallies(source) if source.first_student is not None else {}
        tallies = compare(source, runtime, samples, first)
        beyond = probe_beyond(source, runtime, samples, limits)
    outputs = {name: tally.figures() for name, tally in tallies.items()}
    for name, figures in outputs.items():
        complaints += limits.complaints(name, figures, (class_names or {}).get(name, ()))
    outputs = {name: condense(figures) for name, figures in outputs.items()}
    compared = _summarize({name: tally.figures() for name, tally in first.items()}) if first else {}
    compared = {name: compared[name] for name in _OF_FIRST if name in compared}
    return types | _summarize(outputs) | measured | {"first_student": compared}, complaints or beyond


def compare(
    source: Any,
    runtime: RemoteRuntime,
    samples: Iterable[tuple[Arrays, Arrays]],
    first: dict[str, Tally] | None = None,
) -> dict[str, Tally]:
    """Compare the student of a `Source` and a file on all samples; return a dict of output name to `Tally`.

    Args:
        source: The `Source`.
        runtime: The runtime of the file.
        samples: `(inputs, labels)` batches.
        first: Dict of output name to `Tally`, to which the comparison with `source.first_student` is added. Defaults to
            `None`, no such comparison.
    """
    tallies = _make_tallies(source)
    for inputs, labels in samples:
        student_outputs = _run_student(source, inputs)
        file_outputs = runtime(inputs)
        for name, tally in tallies.items():
            tally.add(student_outputs[name], file_outputs[name], labels.get(name))
        if first:
            first_outputs = _run_student(source, inputs, source.first_student)
            for name, tally in first.items():
                tally.add(first_outputs[name], file_outputs[name], labels.get(name))
    return tallies


def _make_tallies(source: Any) -> dict[str, Tally]:
    return {tensor.name: Tally(source.kinds.get(tensor.name)) for tensor in source.signature.outputs}


def probe_beyond(
    source: Any, runtime: RemoteRuntime, samples: Iterable[tuple[Arrays, Arrays]], limits: Limits
) -> list[str]:
    """Return what is wrong with a file at the ends of the data's range and a little beyond.

    There the answers of integers differ, as their ranges end where the data did; but they have to be finite where the
    student's are, and those of floating point have to be the student's.
    """
    inputs, _ = next(iter(samples))
    probes = reach_beyond(inputs)
    if probes is None:
        return []
    student_outputs, file_outputs = _run_student(source, probes), runtime(probes)
    for name, wanted in student_outputs.items():
        wanted, found = wanted.astype(np.float64), file_outputs[name].astype(np.float64)
        rows = np.isfinite(wanted).reshape(len(wanted), -1).all(axis=1)
        words = f"output {name!r} on inputs at the ends of the data's range and half a range beyond"
        if not np.isfinite(found[rows]).all():
            return [f"{words} is not finite, where the student's is"]
        if limits.max_difference is not None and rows.any() and source.kinds.get(name) != "indices":
            difference = float(np.abs(wanted[rows] - found[rows]).max())
            allowed = limits.max_difference * max(float(np.abs(wanted[rows]).max()), 1e-6)
            if difference > allowed:
                return [f"{words} differs by {difference:.3g}, more than {allowed:.3g}"]
    return []


def reach_beyond(inputs: Arrays) -> Arrays | None:
    """Return samples at both ends of the range of the inputs, and others moved away from its middle.

    Only floating-point inputs are changed; if there are none, return `None`.

    Example:
        >>> reach_beyond({"x": np.array([[0.0, 1.0], [2.0, 4.0]])})["x"].tolist()
        [[0.0, 0.0], [4.0, 4.0], [-1.0, 0.5], [2.0, 5.0]]
    """
    if not any(array.dtype.kind == "f" for array in inputs.values()):
        return None

    def probe(array: np.ndarray) -> np.ndarray:
        some = array[:_PROBED]
        ends = np.stack([some[0], some[0]])
        if array.dtype.kind != "f":
            return np.concatenate([ends, some])
        low, high = array.min(), array.max()
        ends[0], ends[1] = low, high
        middle = (low + high) / 2
        return np.concatenate([ends, middle + _BEYOND * (some - middle)]).astype(array.dtype)

    return {name: probe(array) for name, array in inputs.items()}


def _run_student(source: Any, inputs: Arrays, student: Any = None) -> Arrays:
    import tensorflow as tf

    # GPUs may round float32 in matrix products; the files are compared with exact products.
    with tf.device("CPU:0"):
        outputs = source.signature.call(source.student if student is None else student, inputs)
    return {name: np.asarray(output) for name, output in outputs.items()}


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
