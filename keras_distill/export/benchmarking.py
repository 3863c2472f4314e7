"""Comparing TFLite files of any origin: size, operators, time, memory, and agreement with the first of them."""

import os
import pathlib
import tempfile
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np

from keras_distill._core.checked import SECONDS, checked
from keras_distill._core.checks import check_whole_number
from keras_distill._core.messages import expected
from keras_distill.export.arrays import Arrays
from keras_distill.export.comparison.tally import Tally, condense
from keras_distill.export.labels import read_labels
from keras_distill.export.reporting.benchmark_report import BenchmarkReport, Measured
from keras_distill.export.reporting.report import FAILED, PASSED
from keras_distill.export.runtimes.remote import RemoteRuntime, require
from keras_distill.export.signature import Tensor
from keras_distill.export.tflite import flatbuffer
from keras_distill.export.worker import ProcessError

_RUNTIME = "any_litert"
_BATCH = 64


@checked(rounds=Any, files=str | os.PathLike | Iterable[str | os.PathLike], time_limit=SECONDS)
def benchmark(
    files: Any,
    data: Any = None,
    threads: Sequence[int] = (1, 4),
    rounds: int = 3,
    time_limit: float = 600.0,
) -> BenchmarkReport:
    """Run TFLite files by LiteRT, each in a process of its own, and compare them.

    The files may be of any origin, with or without a signature, of any batch. They are timed in turns over several
    rounds, so that other load on the machine affects all of them.

    Args:
        files: Path of a file, or a sequence of paths; the others are compared with the first.
        data: Samples to compare on: an array `x`, a dict of arrays by input, or a tuple `(x, y)` with class indices
            of the first output. An array goes to the only input, whatever its name. Values are those before
            quantization. Defaults to `None`: the files are timed on random numbers and not compared.
        threads: Numbers of threads to time with. Defaults to `(1, 4)`.
        rounds: Number of times that each file is timed. Defaults to 3.
        time_limit: Seconds that one request to a file's process may take. Defaults to 600.

    Returns:
        `BenchmarkReport`; a file that cannot be run is a row `failed: <why>`.

    Raises:
        ValueError: If there are no files, or a number is not positive.
        FileNotFoundError: If a file does not exist.
        ImportError: If LiteRT is not installed.

    Example:
        >>> import tempfile, tensorflow as tf
        >>> from keras_distill.export.quiet import quiet
        >>> double = tf.function(lambda x: 2 * x, [tf.TensorSpec((1, 3), name="x")]).get_concrete_function()
        >>> with tempfile.TemporaryDirectory() as folder, quiet():
        ...     path = pathlib.Path(folder, "double.tflite")
        ...     converter = tf.lite.TFLiteConverter.from_concrete_functions([double], tf.Module())
        ...     _ = path.write_bytes(converter.convert())
        ...     report = benchmark(path, np.eye(3, dtype="float32"), threads=[1], rounds=1)
        >>> report[0].status, report[0].computing, report[0].samples
        ('passed', {'FLOAT32': 1}, 3)
    """
    paths = [pathlib.Path(file) for file in ([files] if isinstance(files, (str, os.PathLike)) else files)]
    _check(paths, threads, rounds)
    threads = tuple(dict.fromkeys([1, *threads]))
    x, y = data if isinstance(data, tuple) else (data, None)
    with tempfile.TemporaryDirectory() as work:
        trials = [_Trial(path, pathlib.Path(work, str(place)), time_limit) for place, path in enumerate(paths)]
        try:
            for trial in trials:
                trial.attempt(trial.open, x)
            for _ in range(rounds):
                for trial in trials:
                    trial.attempt(trial.time, threads)
            for trial in trials if x is not None else ():
                trial.attempt(trial.compare, trials[0], y)
        finally:
            for trial in trials:
                trial.close()
    return BenchmarkReport([trial.row() for trial in trials])


class _Trial:
    """The measurement of one file."""

    def __init__(self, path: pathlib.Path, work: pathlib.Path, time_limit: float):
        work.mkdir()
        self.path, self._work, self._time_limit = path, work, time_limit
        self._failure: str | None = None
        self._runtime: Any = None
        self._found: dict[str, Any] = {}
        self._rounds: list[dict[str, Any]] = []
        self._inputs: Arrays = {}
        self.outputs: list[np.ndarray] | None = None

    def attempt(self, step: Callable[..., None], *arguments: Any) -> None:
        """Run a step, unless an earlier one failed."""
        if self._failure is None:
            try:
                step(*arguments)
            except (ProcessError, ValueError, OSError) as error:
                self._failure = f"{FAILED}: {' '.join(str(error).split())}"
                self.close()

    def open(self, x: Any) -> None:
        self._found = {"bytes": self.path.stat().st_size}
        described = flatbuffer.describe(self.path)
        self._found |= {key: described[key] for key in ("operators", "computing")}
        inputs, outputs = flatbuffer.read_ends(flatbuffer.load_model(self.path))
        self._found |= {"inputs": [str(end) for end in inputs], "outputs": [str(end) for end in outputs]}
        self._inputs = _make_random(inputs) if x is None else _match_inputs(x, inputs)
        self._runtime = RemoteRuntime(_RUNTIME, self.path, self._work, self._time_limit)

    def time(self, threads: Sequence[int]) -> None:
        self._rounds.append(self._runtime.measure(self._inputs, threads))

    def compare(self, first: "_Trial", y: Any) -> None:
        """Run all samples, and compare the outputs, in the graph's order, with those of the first file."""
        count = len(next(iter(self._inputs.values())))
        parts = [
            self._runtime({name: array[start : start + _BATCH] for name, array in self._inputs.items()})
            for start in range(0, count, _BATCH)
        ]
        self.outputs = [np.concatenate([part[name] for part in parts]) for name in parts[0]]
        if not all(np.isfinite(output).all() for output in self.outputs):
            raise ValueError("an output is not finite")
        self._found["samples"] = count
        if first.outputs is None:
            return
        pairs = list(zip(first.outputs, self.outputs, strict=False))
        if len(first.outputs) != len(self.outputs) or any(one.shape != other.shape for one, other in pairs):
            return  # Files of different tasks are compared by their cost only.
        for place, (one, other) in enumerate(pairs):
            figures = _tally(one, other, y if place == 0 else None)
            for figure in ("agreement", "worst"):
                self._found[figure] = _choose_known(min, self._found.get(figure), figures[figure])
            largest = self._found.get("max_difference"), figures["max_difference"]
            self._found["max_difference"] = _choose_known(max, *largest)
            self._found["accuracy"] = figures["accuracy"] if place == 0 else self._found["accuracy"]

    def close(self) -> None:
        if self._runtime is not None:
            self._runtime.__exit__()
            self._runtime = None

    def row(self) -> Measured:
        """Return the figures of the file; times are medians over the rounds."""
        found = dict(self._found)
        if self._rounds and self._failure is None:
            quantiles = {
                int(count): np.median([turn["latency"][count] for turn in self._rounds], axis=0)
                for count in self._rounds[0]["latency"]
            }
            found["latency_us"] = {count: float(values[0]) for count, values in quantiles.items()}
            found["latency_range_us"] = {
                count: (float(values[1]), float(values[2])) for count, values in quantiles.items()
            }
            found["peak_memory"] = self._rounds[0]["peak_memory"]
            found["partitions"] = self._rounds[0]["facts"].get("partitions")
        return Measured(str(self.path), self._failure or PASSED, **found)


def _check(paths: list[pathlib.Path], threads: Sequence[int], rounds: int) -> None:
    require(_RUNTIME)
    if not paths:
        raise ValueError(expected("at least one TFLite file", "no files"))
    for path in paths:
        if not path.is_file():
            raise FileNotFoundError(expected("an existing TFLite file", str(path)))
    check_whole_number("rounds", rounds)
    for count in threads:
        check_whole_number("threads", count)


def _match_inputs(x: Any, ends: list[flatbuffer.End]) -> Arrays:
    """Return the samples by the file's own input names."""
    names = [end.name for end in ends]
    given = x if isinstance(x, dict) else {name: x for name in names[:1]}
    if len(ends) == 1 and len(given) == 1:
        given = {names[0]: next(iter(given.values()))}
    if set(given) != set(names):
        raise ValueError(expected(f"data for the inputs {', '.join(names)}", ", ".join(map(str, given))))
    return {name: np.asarray(given[name]) for name in names}


def _make_random(ends: list[flatbuffer.End]) -> Arrays:
    """Return one sample that fits any file: numbers from 0 to 1, tokens 0, free sizes 1."""
    generator = np.random.default_rng(0)
    shapes = {end.name: (1, *(max(size, 1) for size in end.shape[1:])) for end in ends}
    floats = {end.name for end in ends if "float" in end.dtype or end.quantized}
    return {
        name: generator.random(shape, dtype=np.float32) if name in floats else np.zeros(shape, np.int32)
        for name, shape in shapes.items()
    }


def _tally(first: np.ndarray, other: np.ndarray, y: Any) -> dict[str, Any]:
    tally = Tally()
    held = None
    if y is not None:
        output = Tensor("output", "first output", (None, *first.shape[1:]), "float32")
        held = read_labels(np.asarray(y), (output,), len(first), "data").get("output")
    tally.add(first, other, held)
    figures = condense(tally.figures())
    worst = figures["worst"]
    return figures | {"worst": worst and worst["kept"] / worst["support"]}


def _choose_known(choose: Callable, *values: float | None) -> float | None:
    known = [value for value in values if value is not None]
    return choose(known) if known else None
