"""The microcontroller's interpreter, tflite-micro, on this machine: which files it runs, and in how much memory.

It validates little: a damaged file or an arena that is too small can crash the process. Open a file that you do not
trust in a process of its own, see `remote.RemoteRuntime`.
"""

import contextlib
import functools
import math
import os
import pathlib
import re
import tempfile
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from keras_distill._core.extras import missing
from keras_distill._core.litert import dequantized, quantized
from keras_distill._core.messages import expected
from keras_distill.export.arrays import Arrays
from keras_distill.export.quiet import redirect_descriptors
from keras_distill.export.runtimes.runtime import Runtime
from keras_distill.export.tflite import flatbuffer
from keras_distill.export.worker import Process, ProcessError

_SIGNATURE = "serving_default"
_ARENA_STEP = 64
_PROBE_SECONDS = 60.0
_ABSENT = re.compile(r"Failed to get registration from op code (\S+)")
_FAILED = re.compile(r"Node (\S+) \(number (\d+)\) failed to (?:prepare|invoke)")
_ARENA_TOTAL = re.compile(r"Arena allocation total (\d+) bytes")


class MicroRuntime(Runtime):
    """tflite-micro, one sample at a time, with the kernels that are compiled for microcontrollers.

    Opening a file runs it once on zeros, since operators report only then what they do not support.
    """

    @staticmethod
    def require() -> None:
        try:
            from ai_edge_litert import schema_py_generated  # noqa: F401
            from tflite_micro import runtime  # noqa: F401
        except ImportError as error:
            raise missing("tflite-micro and ai-edge-litert, for files on microcontrollers", error, "micro") from error

    def __init__(self, path: str | os.PathLike, threads: int = 1):
        self.require()
        self._path = pathlib.Path(path)
        data = flatbuffer.read_content(self._path)
        model, inputs, outputs = _read(data)
        self._largest_arena = _bound_arena(model, len(data))
        with _explain_errors(self._path):
            self._interpreter = _open(data, self._largest_arena, len(inputs))
        self._inputs = {
            name: _convert_detail(self._interpreter.get_input_details(index), index) for name, index in inputs
        }
        self._outputs = {
            name: _convert_detail(self._interpreter.get_output_details(index), index) for name, index in outputs
        }
        self.input_dtypes = {name: detail["dtype"].name for name, detail in self._inputs.items()}
        self.output_dtypes = {name: detail["dtype"].name for name, detail in self._outputs.items()}

    def __call__(self, inputs: Arrays) -> Arrays:
        raw = self.run_quantized({name: quantized(inputs[name], detail) for name, detail in self._inputs.items()})
        return {name: dequantized(array, self._outputs[name]) for name, array in raw.items()}

    def run_quantized(self, inputs: Arrays) -> Arrays:
        """Run a batch without quantizing the inputs and dequantizing the outputs.

        Args:
            inputs: Dict of str to array, batch first, of the dtypes in `input_dtypes`.

        Returns:
            Dict of str to array, batch first, of the dtypes in `output_dtypes`.
        """
        count = len(next(iter(inputs.values())))
        with _explain_errors(self._path):
            rows = [self._run({name: array[row : row + 1] for name, array in inputs.items()}) for row in range(count)]
        return {name: np.concatenate([row[name] for row in rows]) for name in self._outputs}

    def prepared(self, inputs: Arrays) -> Callable[[], Any]:
        integers = {name: quantized(inputs[name], detail) for name, detail in self._inputs.items()}
        # Other tensors take the memory of an input once it was read, so each run needs it anew.
        return lambda: self._run(integers)

    def facts(self) -> dict[str, Any]:
        """Return how much memory the file needs on a device, in addition to its own bytes."""
        return {"arena_bytes": self.arena_bytes}

    @functools.cached_property
    def arena_bytes(self) -> int:
        """The smallest arena, to 64 bytes, in which the file was opened and run on this machine.

        A 32-bit controller needs a little less, since its pointers are half as long.
        """
        recorded = _count_steps(self._read_recorded_bytes())
        with tempfile.TemporaryDirectory() as work:
            with Process(__name__, pathlib.Path(work) / "arena.log", _PROBE_SECONDS) as process:

                def fits(steps: int) -> bool:
                    try:
                        return process.ask("runs_in", path=str(self._path.resolve()), arena=steps * _ARENA_STEP)
                    except ProcessError:
                        return False

                return _ARENA_STEP * _find_least(fits, recorded, _count_steps(self._largest_arena))

    def _read_recorded_bytes(self) -> int:
        """Return the bytes that the interpreter reports; opening the file takes at least as much."""
        with _capture_standard_error() as printed:
            self._interpreter.print_allocations()
        return int(_ARENA_TOTAL.findall("\n".join(printed))[0])

    def _run(self, inputs: Arrays) -> Arrays:
        self._set(inputs)
        self._interpreter.invoke()
        return {name: self._interpreter.get_output(detail["index"]) for name, detail in self._outputs.items()}

    def _set(self, inputs: Arrays) -> None:
        for name, detail in self._inputs.items():
            self._interpreter.set_input(np.ascontiguousarray(inputs[name]), detail["index"])


def runs_in(path: str | os.PathLike, arena: int) -> bool:
    """Return whether a file opens and runs in an arena of so many bytes; this may crash the process."""
    data = flatbuffer.read_content(path)
    try:
        _open(data, arena, len(_read(data)[1]))
    except RuntimeError:
        return False
    return True


def _open(data: bytes, arena: int, inputs: int) -> Any:
    """Return an interpreter that has run on zeros."""
    from tflite_micro import runtime

    interpreter = runtime.Interpreter.from_bytes(data, arena_size=arena)
    for index in range(inputs):
        detail = interpreter.get_input_details(index)
        interpreter.set_input(np.zeros(detail["shape"], detail["dtype"]), index)
    interpreter.invoke()
    return interpreter


def _convert_detail(found: dict[str, Any], index: int) -> dict[str, Any]:
    """Return the detail of a tensor in the form that LiteRT's interpreter gives it."""
    parameters = found["quantization_parameters"]
    scales, zero_points = parameters["scales"].tolist(), parameters["zero_points"].tolist()
    quantization = (scales[0], zero_points[0]) if scales else (0.0, 0)
    return {"index": index, "dtype": np.dtype(found["dtype"]), "quantization": quantization}


def _read(data: bytes) -> tuple[Any, list[tuple[str, int]], list[tuple[str, int]]]:
    """Return the model, and the name and place of its inputs and outputs: tflite-micro knows places only."""
    model = flatbuffer.parse(data)
    keys = [entry.signatureKey.decode() for entry in model.signatureDefs or ()]
    if _SIGNATURE not in keys:
        raise ValueError(expected(f"a TFLite file with the signature {_SIGNATURE!r}", f"{sorted(keys)}"))
    inputs, outputs = (sorted((end.name, end.place) for end in side) for side in flatbuffer.read_ends(model))
    return model, inputs, outputs


def _bound_arena(model: Any, file_bytes: int) -> int:
    """Return more bytes than any arena of the model needs: room for all tensors at once, in the widest dtype."""
    tensors = [tensor for graph in model.subgraphs for tensor in graph.tensors if tensor.shape is not None]
    return 2**20 + 10 * file_bytes + 16 * sum(math.prod(tensor.shape.tolist()) for tensor in tensors)


def _count_steps(size: int) -> int:
    return -(-size // _ARENA_STEP)


def _find_least(fits: Callable[[int], bool], low: int, high: int) -> int:
    """Return the least whole number from `low` to `high` that fits, which is usually near `low`; `high` always fits.

    Example:
        >>> [_find_least(lambda number: number >= least, 10, 1000) for least in (0, 10, 11, 500, 999, 1000)]
        [10, 10, 11, 500, 999, 1000]
    """
    if low >= high or fits(low):
        return low
    step = 1
    while low + step < high and not fits(low + step):
        low, step = low + step, 2 * step
    high = min(low + step, high)
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if fits(middle) else (middle, high)
    return high


@contextlib.contextmanager
def _explain_errors(path: str | os.PathLike) -> Iterator[None]:
    """Turn an error of tflite-micro, which gives the reason on standard error only, into one with the reason."""
    with _capture_standard_error() as printed:
        try:
            yield
            return
        except RuntimeError as error:
            failure = error
    nodes = flatbuffer.list_operators(flatbuffer.load_model(path))
    reason = _find_reason(printed, nodes) or str(failure)
    raise ValueError(expected("a file that the microcontroller runtime can run", reason.rstrip("."))) from failure


def _find_reason(printed: list[str], nodes: list[tuple[str, tuple[str, ...]]]) -> str:
    """Return the missing operator, or the failed one with its types and what was printed before.

    Example:
        >>> _find_reason(["Failed to get registration from op code GELU"], [])
        'the microcontroller runtime has no GELU'
        >>> printed = ["Hybrid models are not supported.", "Node CONV_2D (number 0) failed to prepare with status 1"]
        >>> _find_reason(printed, [("CONV_2D", ("FLOAT32", "INT8"))])
        'the microcontroller runtime has no CONV_2D of FLOAT32, INT8: Hybrid models are not supported.'
    """
    text = " ".join(printed)
    if absent := _ABSENT.search(text):
        return f"the microcontroller runtime has no {absent[1]}"
    if not (failed := _FAILED.search(text)):
        return text
    name, types = nodes[int(failed[2])] if int(failed[2]) < len(nodes) else (None, ())
    # If a graph within the graph failed, the number is that of another node.
    of_types = f" of {', '.join(types)}" if name == failed[1] else ""
    return f"the microcontroller runtime has no {failed[1]}{of_types}: {text[: failed.start()].strip()}"


@contextlib.contextmanager
def _capture_standard_error() -> Iterator[list[str]]:
    """Collect the lines that C++ prints on standard error."""
    lines: list[str] = []
    with tempfile.TemporaryFile() as file:
        try:
            with redirect_descriptors(file, (2,)):
                yield lines
        finally:
            file.seek(0)
            lines += [line for line in file.read().decode(errors="replace").splitlines() if line.strip()]
