"""A runtime in a process of its own: a file that crashes its runtime must not take a notebook along."""

import pathlib

from keras_distill.export import arrays
from keras_distill.export.processes import Process
from keras_distill.export.runtimes import session
from keras_distill.export.runtimes.table import runtime_class

THREADS = (1, 4)


class RemoteRuntime:
    """A file opened by a runtime in a process of its own; ends with the `with` block.

    Attributes:
        input_dtypes: dict of str to str, as the file has them.
        output_dtypes: dict of str to str, as the file has them.
        log: path of what the process printed.

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

    def __init__(self, runtime, path, work, time_limit=600.0):
        """Open a file.

        Args:
            runtime: str, name in `RUNTIMES`.
            path: str or path, the file or folder.
            work: str or path, folder for files that come and go.
            time_limit: float, seconds that any one request may take. Defaults to 600.

        Raises:
            ProcessError: if it cannot be opened.
        """
        self._work = pathlib.Path(work)
        self.log = self._work / "runtime.log"
        self._process = Process(session.__name__, self.log, time_limit)
        try:
            dtypes = self._process.ask("open_file", runtime=runtime, path=str(path))
        except BaseException:
            self._process.end()
            raise
        self.input_dtypes, self.output_dtypes = dtypes["input_dtypes"], dtypes["output_dtypes"]

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        self._process.end()

    def __call__(self, inputs):
        """Run a batch: dict of str to array in, dict of str to float array out."""
        outputs = self._work / "outputs.npz"
        self._process.ask("run", inputs=self._saved(inputs), outputs=str(outputs))
        return arrays.load(outputs)

    def measure(self, inputs, threads=THREADS):
        """Return what `session.measure` says of the first sample of a batch."""
        sample = {name: array[:1] for name, array in inputs.items()}
        return self._process.ask("measure", inputs=self._saved(sample), threads=list(threads))

    def _saved(self, inputs):
        path = self._work / "inputs.npz"
        arrays.save(path, inputs)
        return str(path)


def require(runtime):
    """Raise an ImportError that names the extra to install if a runtime is not there."""
    runtime_class(runtime).require()
