"""Reading the files that commands are given."""

import pathlib

from keras_distill._core.messages import expected


def existing(path, suffix, what):
    """Return the path of a file that is there, and of that kind.

    Raises:
        FileNotFoundError: if it is not.
    """
    path = pathlib.Path(path)
    if path.suffix != suffix or not path.is_file():
        raise FileNotFoundError(expected(f"an existing {suffix} file, {what}", str(path)))
    return path


def samples(path):
    """Read samples, and labels where there are any.

    Args:
        path: None, or path of an .npz file with an array `x`, or one per input, and, for labels, `y`.

    Returns:
        None without a path; the samples, an array or a dict of them; or a tuple of samples and labels.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it holds no samples, or pickles.
    """
    if path is None:
        return None
    import numpy as np

    path = existing(path, ".npz", "arrays named x and, for labels, y")
    try:
        # A pickle could run code.
        with np.load(path, allow_pickle=False) as arrays:
            held = {name: arrays[name] for name in arrays.files}
    except (ValueError, OSError) as error:
        raise ValueError(expected(f"{path} to be a NumPy file without pickles", str(error))) from error
    labels = held.pop("y", None)
    # NumPy's own names say that nobody gave any.
    if all(name.startswith("arr_") for name in held):
        raise ValueError(expected(f"{path} to hold an array named x", ", ".join(held) or "no samples"))
    x = held["x"] if set(held) == {"x"} else held
    return x if labels is None else (x, labels)


def lines(path, what):
    """Return the lines of a text file that are not empty; None without a path.

    Raises:
        FileNotFoundError: if there is no such file.
    """
    if path is None:
        return None
    text = existing(path, ".txt", what).read_text(encoding="utf-8")
    return [line.strip() for line in text.splitlines() if line.strip()]
