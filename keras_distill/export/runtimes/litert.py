"""LiteRT, the interpreter of TFLite files on phones: with its default kernels and with its reference kernels."""

import os
import pathlib
from collections.abc import Callable
from typing import Any

import numpy as np

from keras_distill._core.litert import check_initialised, dequantized, interpreter_class, quantized
from keras_distill._core.messages import expected
from keras_distill.export.arrays import Arrays
from keras_distill.export.runtimes.runtime import Runtime
from keras_distill.export.tflite import flatbuffer


class LiteRTRuntime(Runtime):
    """LiteRT with XNNPACK, for files with the signature `serving_default`; runs one sample at a time."""

    takes_threads = True
    _resolver = "AUTO"

    @staticmethod
    def require() -> None:
        interpreter_class()

    def __init__(self, path: str | os.PathLike, threads: int = 1):
        self._interpreter = self._open(path, threads)
        self._interpreter.allocate_tensors()
        runner = self._interpreter.get_signature_runner("serving_default")
        self._inputs, self._outputs = runner.get_input_details(), runner.get_output_details()
        self.input_dtypes, self.output_dtypes = _list_dtypes(self._inputs), _list_dtypes(self._outputs)

    def _open(self, path: str | os.PathLike, threads: int) -> Any:
        from ai_edge_litert.interpreter import OpResolverType

        interpreter = interpreter_class()(
            model_path=str(path), num_threads=threads, experimental_op_resolver_type=OpResolverType[self._resolver]
        )
        check_initialised(interpreter, pathlib.Path(path).name)
        return interpreter

    def __call__(self, inputs: Arrays) -> Arrays:
        rows = [
            self._run({name: array[row : row + 1] for name, array in inputs.items()}) for row in range(_count(inputs))
        ]
        return {name: np.concatenate([row[name] for row in rows]) for name in self._outputs}

    def prepared(self, inputs: Arrays) -> Callable[[], Any]:
        for name, detail in self._inputs.items():
            self._interpreter.set_tensor(detail["index"], quantized(inputs[name], detail))
        return self._interpreter.invoke

    def facts(self) -> dict[str, Any]:
        """Return the number of partitions that the delegate runs; plain kernels run between them."""
        operators = [operator["op_name"] for operator in self._interpreter._get_ops_details()]
        return {"partitions": operators.count("DELEGATE")}

    def _run(self, inputs: Arrays) -> Arrays:
        self.prepared(inputs)()
        return self._read(self._outputs)

    def _read(self, details: dict[str, dict]) -> Arrays:
        get = self._interpreter.get_tensor
        return {name: dequantized(get(detail["index"]), detail) for name, detail in details.items()}


class ReferenceRuntime(LiteRTRuntime):
    """LiteRT with its reference kernels, which are slow and simple, and with which other runtimes are compared."""

    _resolver = "BUILTIN_REF"


class BatchRuntime(LiteRTRuntime):
    """LiteRT with XNNPACK on whole batches, for files of a free batch; never runs a batch of one sample."""

    def __call__(self, inputs: Arrays) -> Arrays:
        count = _count(inputs)
        rows = {name: np.concatenate([array, array]) if count == 1 else array for name, array in inputs.items()}
        return {name: array[:count] for name, array in self._run(rows).items()}

    def prepared(self, inputs: Arrays) -> Callable[[], Any]:
        for name, detail in self._inputs.items():
            self._interpreter.resize_tensor_input(detail["index"], inputs[name].shape, strict=True)
        self._interpreter.allocate_tensors()
        return super().prepared(inputs)


class AnyLiteRTRuntime(LiteRTRuntime):
    """LiteRT with XNNPACK, for files of any origin: with any signature or none, of any batch, with free sizes.

    Samples are run in batches of the file's own size, the last one filled up.
    """

    def __init__(self, path: str | os.PathLike, threads: int = 1):
        self._ends = flatbuffer.read_ends(flatbuffer.load_model(path))
        self._interpreter = self._open(path, threads)
        self.input_dtypes, self.output_dtypes = ({end.name: end.dtype for end in side} for side in self._ends)
        self._shapes: list[tuple] | None = None

    def __call__(self, inputs: Arrays) -> Arrays:
        count, batch = _count(inputs), self._batch_size()
        parts = []
        for start in range(0, count, batch):
            rows = np.minimum(np.arange(start, start + batch), count - 1)
            parts.append(self._run({name: array[rows] for name, array in inputs.items()}))
        return {end.name: np.concatenate([part[end.name] for part in parts])[:count] for end in self._ends[1]}

    def prepared(self, inputs: Arrays) -> Callable[[], Any]:
        """Return a function without arguments that runs one batch, filled with the first sample, for timing."""
        rows = np.zeros(self._batch_size(), int)
        self._set({end.name: np.asarray(inputs[end.name])[rows] for end in self._ends[0]})
        return self._interpreter.invoke

    def _run(self, inputs: Arrays) -> Arrays:
        self._set(inputs)
        self._interpreter.invoke()
        names = [end.name for end in self._ends[1]]
        return self._read(dict(zip(names, self._interpreter.get_output_details(), strict=True)))

    def _set(self, inputs: Arrays) -> None:
        arrays = [np.asarray(inputs[end.name]) for end in self._ends[0]]
        for end, array in zip(self._ends[0], arrays, strict=True):
            _check(end, array)
        self._resize([array.shape for array in arrays])
        for array, detail in zip(arrays, self._interpreter.get_input_details(), strict=True):
            self._interpreter.set_tensor(detail["index"], quantized(array, detail))

    def _batch_size(self) -> int:
        """Return how many samples the file takes at once, 1 if their number is free."""
        return max([1, *(end.shape[0] for end in self._ends[0] if end.shape)])

    def _resize(self, shapes: list[tuple]) -> None:
        """Give free sizes the sizes of the data."""
        if shapes == self._shapes:
            return
        for end, shape, detail in zip(self._ends[0], shapes, self._interpreter.get_input_details(), strict=True):
            if -1 in end.shape:
                self._interpreter.resize_tensor_input(detail["index"], shape)
        self._interpreter.allocate_tensors()
        self._shapes = shapes


def _count(inputs: Arrays) -> int:
    return len(next(iter(inputs.values())))


def _list_dtypes(details: dict[str, dict]) -> dict[str, str]:
    return {name: np.dtype(detail["dtype"]).name for name, detail in sorted(details.items())}


def _check(end: flatbuffer.End, array: np.ndarray) -> None:
    sizes = zip(end.shape, array.shape, strict=False)
    if len(end.shape) != array.ndim or any(wanted not in (-1, size) for wanted, size in sizes):
        wanted = " × ".join("any" if size < 0 else str(size) for size in end.shape[1:]) or "one number"
        raise ValueError(expected(f"samples of {wanted} for input {end.name!r}", f"shape {array.shape[1:]}"))
