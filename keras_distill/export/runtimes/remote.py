"""A runtime in a process of its own, so that a file that crashes its runtime does not crash a notebook."""

import os
import pathlib
from collections.abc import Sequence
from typing import Any

from keras_distill.export import arrays
from keras_distill.export.runtimes import session
from keras_distill.export.runtimes.runtime import runtime_class
from keras_distill.export.worker import Process

THREADS = (1, 4)


class RemoteRuntime:
    """A file opened by a runtime in a process of its own, which ends with the `with` block.

    Args:
        runtime: Name in `RUNTIMES`.
        path: The file or folder.
        work: Folder for temporary files.
        time_limit: Seconds that any one request may take. Defaults to 600.

    Attributes:
        input_dtypes: Dict of input name to its dtype in the file.
        output_dtypes: Dict of output name to its dtype in the file.
        log: Path of what the process printed.

    Raises:
        ProcessError: If the file cannot be opened.

    Example:
        >>> import tempfile, numpy as np, tensorflow as tf
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     module = tf.Module()
        ...     module.double = tf.function(lambda x: {"y": 2 * x}, [tf.TensorSpec([None, 2], name="x")])
        ...     tf.saved_model.save(module, f"{folder}/model", {"serving_default": module.double})
        ...     with RemoteRuntime("saved_model", f"{folder}/model", folder) as runtime:
        ...         print(runtime({"x": np.float32([[1, 2]])}))
        {'y': array([[2., 4.]], dtype=float32)}
    """

    def __init__(self, runtime: str, path: str | os.PathLike, work: str | os.PathLike, time_limit: float = 600.0):
        self._work = pathlib.Path(work)
        self.log = self._work / "runtime.log"
        self._process = Process(session.__name__, self.log, time_limit)
        try:
            dtypes = self._process.ask("open_file", runtime=runtime, path=str(path))
        except BaseException:
            self._process.end()
            raise
        self.input_dtypes: dict[str, str] = dtypes["input_dtypes"]
        self.output_dtypes: dict[str, str] = dtypes["output_dtypes"]

    def __enter__(self):
        return self

    def __exit__(self, *exception: Any) -> None:
        self._process.end()

    def __call__(self, inputs: arrays.Arrays) -> arrays.Arrays:
        """Run a batch: dict of str to array in, dict of str to float array out."""
        outputs = self._work / "outputs.npz"
        self._process.ask("run", inputs=self._save(inputs), outputs=str(outputs))
        return arrays.load(outputs)

    def measure(self, inputs: arrays.Arrays, threads: Sequence[int] = THREADS) -> dict[str, Any]:
        """Return the measurements of `session.measure` for the first sample of a batch."""
        sample = {name: array[:1] for name, array in inputs.items()}
        return self._process.ask("measure", inputs=self._save(sample), threads=list(threads))

    def _save(self, inputs: arrays.Arrays) -> str:
        path = self._work / "inputs.npz"
        arrays.save(path, inputs)
        return str(path)


def require(runtime: str) -> None:
    """Raise an `ImportError` that says what to install if a package of a runtime is missing."""
    runtime_class(runtime).require()
