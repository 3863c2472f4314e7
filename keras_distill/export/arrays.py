"""Dicts of arrays in files, by which the processes of an export exchange data."""

import os
from typing import IO, Any

import numpy as np

Arrays = dict[str, np.ndarray]
"""Arrays by the name of an input or output, samples along the first axis."""


def save(path: str | os.PathLike | IO[bytes], arrays: Arrays) -> None:
    """Write a dict of arrays to an `.npz` file.

    Example:
        >>> import io
        >>> file = io.BytesIO()
        >>> save(file, {"file": np.arange(3)})
        >>> _ = file.seek(0)
        >>> load(file)
        {'file': array([0, 1, 2])}
    """
    # An array may be called `file`, which is the name of an argument of savez.
    prefixed: dict[str, Any] = {f"array.{name}": array for name, array in arrays.items()}
    np.savez(path, **prefixed)


def load(path: str | os.PathLike | IO[bytes]) -> Arrays:
    """Read a file that `save` wrote."""
    with np.load(path, allow_pickle=False) as archive:
        return {name.removeprefix("array."): archive[name] for name in archive.files}
