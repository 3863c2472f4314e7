"""ONNX Runtime, which runs ONNX files on processors of every kind."""

import os
from collections.abc import Callable, Sequence
from typing import Any

from keras_distill._core.extras import missing
from keras_distill.export.arrays import Arrays
from keras_distill.export.runtimes.runtime import Runtime

_TYPES = {"float": "float32", "double": "float64"}


class OnnxRuntime(Runtime):
    """ONNX Runtime on the CPU; runs whole batches."""

    takes_threads = True

    @staticmethod
    def require() -> None:
        try:
            import onnxruntime  # noqa: F401
        except ImportError as error:
            raise missing("onnxruntime, which runs ONNX files", error, "onnx") from error

    def __init__(self, path: str | os.PathLike, threads: int = 1):
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        self._session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        self.input_dtypes = _list_dtypes(self._session.get_inputs())
        self.output_dtypes = _list_dtypes(self._session.get_outputs())

    def __call__(self, inputs: Arrays) -> Arrays:
        return dict(zip(self.output_dtypes, self.prepared(inputs)(), strict=True))

    def prepared(self, inputs: Arrays) -> Callable[[], Any]:
        feed = {name: inputs[name] for name in self.input_dtypes}
        names = list(self.output_dtypes)
        return lambda: self._session.run(names, feed)


def _list_dtypes(ends: Sequence[Any]) -> dict[str, str]:
    kinds = {end.name: end.type.removeprefix("tensor(").removesuffix(")") for end in ends}
    return {name: _TYPES.get(kind) or kind for name, kind in sorted(kinds.items())}
