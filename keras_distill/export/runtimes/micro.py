"""The microcontroller's interpreter, tflite-micro, on this machine: which files it runs, and in how much memory.

It checks little of what it is given: a damaged file or an arena that is too small can end the process. Whoever opens
a file that is not trusted does so in a process of its own, see `remote.RemoteRuntime`.
"""

import contextlib
import functools
import math
import os
import pathlib
import re
import sys
import tempfile

import numpy as np

from keras_distill._core.litert import dequantized, quantized
from keras_distill._core.messages import expected
from keras_distill.export.processes import Process, ProcessError
from keras_distill.export.runtimes.runtime import Runtime
from keras_distill.export.tflite.flatbuffer import content_of, operators

_SIGNATURE = "serving_default"
_ARENA_STEP = 64
_PROBE_SECONDS = 60.0
_ABSENT = re.compile(r"Failed to get registration from op code (\S+)")
_FAILED = re.compile(r"Node (\S+) \(number (\d+)\) failed to (?:prepare|invoke)")
_ARENA_TOTAL = re.compile(r"Arena allocation total (\d+) bytes")


class MicroRuntime(Runtime):
    """tflite-micro, one sample at a time: its kernels are those that are compiled for microcontrollers.

    Attributes:
        input_dtypes: dict of str to str, as the file has them.
        output_dtypes: dict of str to str, as the file has them.
    """

    @staticmethod
    def require():
        """Import tflite-micro and LiteRT's schema of files."""
        try:
            from ai_edge_litert import schema_py_generated  # noqa: F401
            from tflite_micro import runtime  # noqa: F401
        except ImportError as error:
            fix = 'pip install "keras_distill[micro]"'
            raise ImportError(expected("tflite-micro and ai-edge-litert to be installed", str(error), fix)) from error

    def __init__(self, path, threads=1):
        """Open a file and run it once on zeros, which is when operators say what they cannot do."""
        self.require()
        self._path = pathlib.Path(path)
        data = content_of(self._path)
        model, inputs, outputs = _read(data)
        self._plenty = _plenty(model, len(data))
        with _complaints(self._path):
            self._interpreter = _tried(data, self._plenty, len(inputs))
        self._inputs = {name: _detail(self._interpreter.get_input_details(index), index) for name, index in inputs}
        self._outputs = {name: _detail(self._interpreter.get_output_details(index), index) for name, index in outputs}
        self.input_dtypes = {name: detail["dtype"].name for name, detail in self._inputs.items()}
        self.output_dtypes = {name: detail["dtype"].name for name, detail in self._outputs.items()}

    def __call__(self, inputs):
        """Run a batch, sample by sample."""
        raw = self.run_quantized({name: quantized(inputs[name], detail) for name, detail in self._inputs.items()})
        return {name: dequantized(array, self._outputs[name]) for name, array in raw.items()}

    def run_quantized(self, inputs):
        """Run a batch of arrays as the file has them, and return what it computes as it is.

        Args:
            inputs: dict of str to array, batch first, of the dtypes in `input_dtypes`.

        Returns:
            dict of str to array, batch first, of the dtypes in `output_dtypes`.
        """
        count = len(next(iter(inputs.values())))
        with _complaints(self._path):
            rows = [self._run({name: array[row : row + 1] for name, array in inputs.items()}) for row in range(count)]
        return {name: np.concatenate([row[name] for row in rows]) for name in self._outputs}

    def prepared(self, inputs):
        """Return a function of no arguments that runs these inputs and nothing else, for timing."""
        self._set({name: quantized(inputs[name], detail) for name, detail in self._inputs.items()})
        return self._interpreter.invoke

    def facts(self):
        """Return how much memory the file needs on a device, beside its own bytes."""
        return {"arena_bytes": self.arena_bytes}

    @functools.cached_property
    def arena_bytes(self):
        """The smallest arena, to 64 bytes, in which the file was really opened and run.

        On this machine: pointers of a 32-bit controller are half as long, so that it needs a little less.
        """
        recorded = _steps(self._recorded())
        with tempfile.TemporaryDirectory() as work:
            with Process(__name__, pathlib.Path(work) / "arena.log", _PROBE_SECONDS) as process:

                def fits(steps):
                    try:
                        return process.ask("runs_in", path=str(self._path.resolve()), arena=steps * _ARENA_STEP)
                    except ProcessError:
                        return False

                return _ARENA_STEP * _least(fits, recorded, _steps(self._plenty))

    def _recorded(self):
        """Return what the interpreter says it holds; opening the file takes more for a while, or as much."""
        with _standard_error() as printed:
            self._interpreter.print_allocations()
        return int(_ARENA_TOTAL.search("\n".join(printed))[1])

    def _run(self, inputs):
        self._set(inputs)
        self._interpreter.invoke()
        return {name: self._interpreter.get_output(detail["index"]) for name, detail in self._outputs.items()}

    def _set(self, inputs):
        for name, detail in self._inputs.items():
            self._interpreter.set_input(np.ascontiguousarray(inputs[name]), detail["index"])


def runs_in(path, arena):
    """Return whether a file opens and runs in an arena of so many bytes; the process may die of it."""
    data = content_of(path)
    try:
        _tried(data, arena, len(_read(data)[1]))
    except RuntimeError:
        return False
    return True


def _tried(data, arena, inputs):
    """Return an interpreter that has run on zeros."""
    from tflite_micro import runtime

    interpreter = runtime.Interpreter.from_bytes(data, arena_size=arena)
    for index in range(inputs):
        detail = interpreter.get_input_details(index)
        interpreter.set_input(np.zeros(detail["shape"], detail["dtype"]), index)
    interpreter.invoke()
    return interpreter


def _detail(found, index):
    parameters = found["quantization_parameters"]
    scales, zero_points = parameters["scales"].tolist(), parameters["zero_points"].tolist()
    quantization = (scales[0], zero_points[0]) if scales else (0.0, 0)
    return {"index": index, "dtype": np.dtype(found["dtype"]), "quantization": quantization}


def _read(data):
    """Return the model and, as (name, place), its inputs and outputs: tflite-micro knows places only."""
    from ai_edge_litert import schema_py_generated as schema

    try:
        model = schema.ModelT.InitFromPackedBuf(data, 0)
        signatures = {entry.signatureKey.decode(): entry for entry in model.signatureDefs or ()}
    except Exception as error:
        received = f"{len(data)} bytes that are none ({type(error).__name__}: {error})"
        raise ValueError(expected("a whole TFLite file", received)) from error
    if _SIGNATURE not in signatures:
        raise ValueError(expected(f"a TFLite file with the signature {_SIGNATURE!r}", f"{sorted(signatures)}"))
    signature, graph = signatures[_SIGNATURE], model.subgraphs[0]
    return model, _places(signature.inputs, graph.inputs), _places(signature.outputs, graph.outputs)


def _places(tensors, graph):
    return sorted((tensor.name.decode(), list(graph).index(tensor.tensorIndex)) for tensor in tensors)


def _plenty(model, file_bytes):
    """Return more bytes than any arena of the model: all its tensors at once, each number as wide as may be."""
    tensors = [tensor for graph in model.subgraphs for tensor in graph.tensors if tensor.shape is not None]
    return 2**20 + 10 * file_bytes + 16 * sum(math.prod(tensor.shape.tolist()) for tensor in tensors)


def _steps(size):
    return -(-size // _ARENA_STEP)


def _least(fits, low, high):
    """Return the least whole number from `low` to `high` that fits; `high` is known to, and most lie near `low`.

    Example:
        >>> [_least(lambda number: number >= least, 10, 1000) for least in (0, 10, 11, 500, 999, 1000)]
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
def _complaints(path):
    """Turn an error of tflite-micro, which says why on standard error only, into one that says why."""
    with _standard_error() as printed:
        try:
            yield
            return
        except RuntimeError as error:
            failure = error
    reason = _reason(printed, operators(path)) or str(failure)
    raise ValueError(expected("a file that the microcontroller runtime can run", reason.rstrip("."))) from failure


def _reason(printed, nodes):
    """Return the operator that is missing, or the one that failed, its types and what was printed before.

    Example:
        >>> _reason(["Failed to get registration from op code GELU"], [])
        'the microcontroller runtime has no GELU'
        >>> printed = ["Hybrid models are not supported.", "Node CONV_2D (number 0) failed to prepare with status 1"]
        >>> _reason(printed, [("CONV_2D", ("FLOAT32", "INT8"))])
        'the microcontroller runtime has no CONV_2D of FLOAT32, INT8: Hybrid models are not supported.'
    """
    text = " ".join(printed)
    if absent := _ABSENT.search(text):
        return f"the microcontroller runtime has no {absent[1]}"
    if not (failed := _FAILED.search(text)):
        return text
    name, types = nodes[int(failed[2])] if int(failed[2]) < len(nodes) else (None, ())
    # The number is that of another node where a graph within the graph failed.
    of_types = f" of {', '.join(types)}" if name == failed[1] else ""
    return f"the microcontroller runtime has no {failed[1]}{of_types}: {text[: failed.start()].strip()}"


@contextlib.contextmanager
def _standard_error():
    """Collect the lines that C++ prints on standard error."""
    lines = []
    sys.stderr.flush()
    with tempfile.TemporaryFile() as file:
        kept = os.dup(2)
        os.dup2(file.fileno(), 2)
        try:
            yield lines
        finally:
            os.dup2(kept, 2)
            os.close(kept)
            file.seek(0)
            lines += [line for line in file.read().decode(errors="replace").splitlines() if line.strip()]
