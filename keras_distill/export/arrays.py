"""Dicts of arrays in files, which is how processes give each other data."""

import numpy as np


def save(path, arrays):
    """Write a dict of arrays; the prefix, since an array may be called `file`, as savez's own argument is.

    Example:
        >>> import io
        >>> file = io.BytesIO()
        >>> save(file, {"file": np.arange(3)})
        >>> _ = file.seek(0)
        >>> load(file)
        {'file': array([0, 1, 2])}
    """
    np.savez(path, **{f"array.{name}": array for name, array in arrays.items()})


def load(path):
    """Read what `save` wrote."""
    with np.load(path, allow_pickle=False) as archive:
        return {name.removeprefix("array."): archive[name] for name in archive.files}
