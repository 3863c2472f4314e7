"""The model in a C array, read back from its source and run as on a microcontroller."""

import os
import pathlib
import tempfile
from collections.abc import Callable
from typing import Any

from keras_distill.export.arrays import Arrays
from keras_distill.export.runtimes.litert import ReferenceRuntime
from keras_distill.export.runtimes.micro import MicroRuntime
from keras_distill.export.runtimes.runtime import Runtime
from keras_distill.export.tflite.flatbuffer import read_content


class CArrayRuntime(Runtime):
    """The microcontroller's interpreter; LiteRT's reference kernels if tflite-micro is not installed.

    The microcontroller's kernels are derived from these reference kernels.
    """

    @staticmethod
    def require() -> None:
        # Without tflite-micro, LiteRT is enough.
        ReferenceRuntime.require()

    def __init__(self, path: str | os.PathLike, threads: int = 1):
        self._folder = tempfile.TemporaryDirectory()
        file = pathlib.Path(self._folder.name, "model.tflite")
        file.write_bytes(read_content(path))
        self._runtime = _find_class()(file)
        self.input_dtypes, self.output_dtypes = self._runtime.input_dtypes, self._runtime.output_dtypes

    def __call__(self, inputs: Arrays) -> Arrays:
        return self._runtime(inputs)

    def facts(self) -> dict[str, Any]:
        """Return the working memory on a microcontroller, in place of that of a process on this machine."""
        return {"peak_memory": None, "arena_bytes": self._runtime.facts().get("arena_bytes")}

    def prepared(self, inputs: Arrays) -> Callable[[], Any]:
        return self._runtime.prepared(inputs)


def _find_class() -> type[Runtime]:
    try:
        MicroRuntime.require()
    except ImportError:
        return ReferenceRuntime
    return MicroRuntime
