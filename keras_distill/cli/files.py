"""Reading the input files of commands."""

import os
import pathlib
import zipfile
import zlib
from typing import Any

from keras_distill._core.messages import expected


def existing(path: str | os.PathLike, suffix: str, what: str) -> pathlib.Path:
    """Return the path of an existing file with a suffix.

    Raises:
        FileNotFoundError: If the file does not exist, or has another suffix.
    """
    path = pathlib.Path(path)
    if path.suffix != suffix or not path.is_file():
        raise FileNotFoundError(expected(f"an existing {suffix} file, {what}", str(path)))
    return path


def samples(path: str | os.PathLike | None) -> Any:
    """Read samples and, if the file has them, labels.

    Args:
        path: Path of an .npz file with an array `x`, or one array per input, and optionally labels `y`; or `None`.

    Returns:
        The samples, an array or a dict of arrays; or a tuple of samples and labels; `None` without a path.

    Raises:
        FileNotFoundError: If the file does not exist.
        ValueError: If it has no samples, or contains pickles.
    """
    if path is None:
        return None
    import numpy as np

    path = existing(path, ".npz", "arrays named x and, for labels, y")
    try:
        # A pickle could run code.
        with np.load(path, allow_pickle=False) as arrays:
            held = {name: arrays[name] for name in arrays.files}
    except (ValueError, OSError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise ValueError(expected(f"{path} to be a whole NumPy file without pickles", str(error))) from error
    labels = held.pop("y", None)
    # NumPy names arrays so if the user gave no name.
    if all(name.startswith("arr_") for name in held):
        raise ValueError(expected(f"{path} to hold an array named x", ", ".join(held) or "no samples"))
    x = held["x"] if set(held) == {"x"} else held
    return x if labels is None else (x, labels)


def lines(path: str | os.PathLike | None, what: str) -> list[str] | None:
    """Return the lines of a text file that are not empty; `None` without a path.

    Raises:
        FileNotFoundError: If the file does not exist.
        ValueError: If it is not text in UTF-8.
    """
    if path is None:
        return None
    try:
        text = existing(path, ".txt", what).read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise ValueError(expected(f"{path} to be text in UTF-8", str(error), "Save it in this encoding.")) from error
    return [line.strip() for line in text.splitlines() if line.strip()]
