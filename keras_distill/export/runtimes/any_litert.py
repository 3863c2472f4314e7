"""LiteRT for files of any origin: without a signature or with one of another name, of any batch, of free sizes."""

import pathlib

import numpy as np

from keras_distill._core.litert import dequantized, interpreter_class, quantized
from keras_distill._core.messages import expected
from keras_distill.export.runtimes.litert import LiteRTRuntime
from keras_distill.export.tflite import tensors


class AnyLiteRTRuntime(LiteRTRuntime):
    """LiteRT with XNNPACK; samples are run in batches of the file's own size, the last one filled up."""

    def __init__(self, path, threads=1):
        from ai_edge_litert.interpreter import OpResolverType

        self._ends = tensors.ends(tensors.opened(pathlib.Path(path).read_bytes()))
        self._interpreter = interpreter_class()(
            model_path=str(path), num_threads=threads, experimental_op_resolver_type=OpResolverType[self._resolver]
        )
        self.input_dtypes, self.output_dtypes = ({end.name: end.dtype for end in side} for side in self._ends)
        self._shapes = None

    def __call__(self, inputs):
        """Run as many samples as are given."""
        count, batch = len(next(iter(inputs.values()))), self._batch()
        parts = []
        for start in range(0, count, batch):
            rows = np.minimum(np.arange(start, start + batch), count - 1)
            parts.append(self._run({name: array[rows] for name, array in inputs.items()}))
        return {end.name: np.concatenate([part[end.name] for part in parts])[:count] for end in self._ends[1]}

    def prepared(self, inputs):
        """Return a function of no arguments that runs one batch, filled with the first sample, and nothing else."""
        rows = np.zeros(self._batch(), int)
        self._set({end.name: np.asarray(inputs[end.name])[rows] for end in self._ends[0]})
        return self._interpreter.invoke

    def _run(self, inputs):
        self._set(inputs)
        self._interpreter.invoke()
        get = self._interpreter.get_tensor
        pairs = zip(self._ends[1], self._details("output"), strict=True)
        return {end.name: dequantized(get(detail["index"]), detail) for end, detail in pairs}

    def _set(self, inputs):
        arrays = [np.asarray(inputs[end.name]) for end in self._ends[0]]
        for end, array in zip(self._ends[0], arrays, strict=True):
            _check(end, array)
        self._fit([array.shape for array in arrays])
        for array, detail in zip(arrays, self._details("input"), strict=True):
            self._interpreter.set_tensor(detail["index"], quantized(array, detail))

    def _batch(self):
        """Return how many samples the file takes at once, one where the number is free."""
        return max([1, *(end.shape[0] for end in self._ends[0] if end.shape)])

    def _details(self, side):
        return getattr(self._interpreter, f"get_{side}_details")()

    def _fit(self, shapes):
        """Give free sizes the numbers of the data."""
        if shapes == self._shapes:
            return
        for end, shape, detail in zip(self._ends[0], shapes, self._details("input"), strict=True):
            if -1 in end.shape:
                self._interpreter.resize_tensor_input(detail["index"], shape)
        self._interpreter.allocate_tensors()
        self._shapes = shapes


def _check(end, array):
    sizes = zip(end.shape, array.shape, strict=False)
    if len(end.shape) != array.ndim or any(wanted not in (-1, size) for wanted, size in sizes):
        wanted = " × ".join("any" if size < 0 else str(size) for size in end.shape[1:]) or "one number"
        raise ValueError(expected(f"samples of {wanted} for input {end.name!r}", f"shape {array.shape[1:]}"))
