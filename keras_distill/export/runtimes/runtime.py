"""The interface of a runtime, and the table of runtimes: programs other than Keras that run the files.

They run in a process of their own, see `remote.RemoteRuntime`. They do not import Keras, and only that of SavedModels
imports TensorFlow. A new runtime is one file and one entry here.
"""

import abc
import importlib
import os
from collections.abc import Callable
from typing import Any

from keras_distill._core.messages import unknown_name
from keras_distill.export.arrays import Arrays


class Runtime(abc.ABC):
    """An opened file: takes a dict of arrays, batch first, and returns a dict of float arrays.

    Args:
        path: The file or folder.
        threads: Number of threads to run it on. Defaults to 1.

    Attributes:
        input_dtypes: Dict of input name to its dtype in the file.
        output_dtypes: Dict of output name to its dtype in the file.
    """

    # Whether two files that one process has opened can run on different numbers of threads.
    takes_threads = False
    input_dtypes: dict[str, str]
    output_dtypes: dict[str, str]

    @staticmethod
    def require() -> None:
        """Raise an `ImportError` that says what to install if a package of the runtime is missing."""

    @abc.abstractmethod
    def __init__(self, path: str | os.PathLike, threads: int = 1):
        pass

    @abc.abstractmethod
    def __call__(self, inputs: Arrays) -> Arrays:
        """Run a batch: dict of str to array in, dict of str to float array out."""

    @abc.abstractmethod
    def prepared(self, inputs: Arrays) -> Callable[[], Any]:
        """Return a function without arguments that runs these inputs and does nothing else, for timing."""

    def facts(self) -> dict[str, Any]:
        """Return what else the runtime knows about the file, as JSON types."""
        return {}


RUNTIMES = {
    "saved_model": "saved_model.SavedModelRuntime",
    "litert": "litert.LiteRTRuntime",
    "litert_batch": "litert.BatchRuntime",
    "any_litert": "litert.AnyLiteRTRuntime",
    "litert_reference": "litert.ReferenceRuntime",
    "microcontroller": "micro.MicroRuntime",
    "c_array": "c_source.CArrayRuntime",
    "onnx": "onnx.OnnxRuntime",
}
"""Name of a runtime to its module and class."""


def runtime_class(name: str) -> type[Runtime]:
    """Return the class of a runtime; raise a `ValueError` if the name is not in `RUNTIMES`."""
    # Not `check_choice`, which imports Keras: this file runs in a process without it.
    if name not in RUNTIMES:
        raise ValueError(unknown_name("runtime", name, RUNTIMES))
    module, attribute = RUNTIMES[name].split(".")
    return getattr(importlib.import_module(f"{__package__}.{module}"), attribute)
