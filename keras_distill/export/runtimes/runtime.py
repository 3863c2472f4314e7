"""What every runtime offers."""

import abc


class Runtime(abc.ABC):
    """A file, opened: takes a dict of arrays, batch first, and returns a dict of float arrays.

    Attributes:
        input_dtypes: dict of str to str, as the file has them.
        output_dtypes: dict of str to str, as the file has them.
    """

    # Whether the count of threads can differ between two files that one process has opened.
    takes_threads = False

    @staticmethod
    def require():
        """Import what the runtime needs; raise an ImportError that names the extra to install if it is not there."""

    @abc.abstractmethod
    def __init__(self, path, threads=1):
        """Open a file."""

    @abc.abstractmethod
    def __call__(self, inputs):
        """Run a batch: dict of str to array in, dict of str to float array out."""

    @abc.abstractmethod
    def prepared(self, inputs):
        """Return a function of no arguments that runs one sample and nothing else, for timing."""

    def facts(self):
        """Return a dict of what else the runtime knows of the file, JSON types."""
        return {}
