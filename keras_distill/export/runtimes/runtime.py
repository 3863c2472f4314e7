"""The interface of a runtime."""

import abc
import os
from collections.abc import Callable
from typing import Any

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
