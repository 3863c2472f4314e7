"""One message for a teacher's file that cannot be read, whichever library has tried."""

import contextlib
import json
import os
import zipfile
from collections.abc import Iterator

from keras_distill._core.messages import expected


@contextlib.contextmanager
def explain_unreadable(path: str, what: str, errors: tuple[type[Exception], ...] = (Exception,)) -> Iterator[None]:
    """Raise a `ValueError` for a file that a library cannot read.

    Args:
        path: Path of the file or folder.
        what: What it should be, such as `"TFLite file"`.
        errors: What the library raises for a file that is not whole. Defaults to any exception.

    Raises:
        ValueError: With the path, its size, and what the library has said about it.
    """
    try:
        yield
    except errors as error:
        size = "a folder" if os.path.isdir(path) else f"{os.path.getsize(path):,} bytes"
        reason = " ".join(str(error).split())[:300]
        received = f"{path!r} ({size}), which cannot be read: {type(error).__name__}: {reason}".rstrip(".")
        raise ValueError(expected(f"a whole {what}", received, "If it is incomplete, copy it again.")) from error


HALF_A_KERAS_FILE = (OSError, EOFError, zipfile.BadZipFile, json.JSONDecodeError)
"""What zipfile, h5py and json raise for files that are not whole. Keras explains anything else itself."""


def check_archive(path: str) -> None:
    """Raise what `zipfile` raises unless a `.keras` file can be opened: Keras would say that it does not exist."""
    if path.lower().endswith(".keras"):
        zipfile.ZipFile(path).close()


@contextlib.contextmanager
def explain_old_keras(path: str) -> Iterator[None]:
    """Raise a `ValueError` that says what to do with an `.h5` file of Keras 2 whose layers Keras 3 does not know."""
    try:
        yield
    except (TypeError, ValueError, AttributeError, KeyError) as error:
        version = _read_keras_version(path)
        if version is None or version >= "3":
            raise
        reason = " ".join(str(error).split())[:200].rstrip(".")
        fix = "Where it was trained, write a SavedModel with `model.save(folder)`, and pass that folder."
        raise ValueError(expected("a model file of Keras 3", f"{path!r} of Keras {version}: {reason}", fix)) from error


def _read_keras_version(path: str) -> str | None:
    """Return the version of Keras that wrote an `.h5` file; `None` for other files."""
    if not path.lower().endswith((".h5", ".hdf5")):
        return None
    import h5py

    with h5py.File(path) as file:
        version = file.attrs.get("keras_version")
    return version.decode() if isinstance(version, bytes) else version
