"""Files of a store, on a local disk or any file system of `tf.io.gfile`; each is written beside its place and renamed.

A local file is opened, mapped, renamed and removed by the operating system; everything else goes through `tf.io.gfile`.
"""

import hashlib
import io
import json
import os
import re
import shutil
from collections.abc import Callable
from typing import Any

import numpy as np

from keras_distill._core.messages import expected

BESIDE = ".beside"
"""Suffix of a file while it is being written."""


def normalize(path: str | os.PathLike) -> str:
    """Return a path as a string: absolute if it is local, unchanged if it is a URL."""
    path = os.fspath(path)
    return path if is_remote(path) else os.path.abspath(os.path.expanduser(path))


def is_remote(path: str) -> bool:
    """Return whether a path is a URL, such as `gs://bucket/folder`, whose files cannot be mapped into memory."""
    return re.match(r"[a-z][a-z0-9+.-]*://", path) is not None


def join(path: str, *names: str) -> str:
    """Return the path of a file or folder inside a folder."""
    return "/".join([path.rstrip("/"), *names])


def exists(path: str) -> bool:
    """Return whether there is a file or a folder at a path."""
    return _gfile().exists(path)


def list_folder(path: str) -> list[str]:
    """Return the sorted names in a folder, an empty list if there is no folder."""
    gfile = _gfile()
    return sorted(name.rstrip("/") for name in gfile.listdir(path)) if gfile.isdir(path) else []


def size(path: str) -> int:
    """Return the number of bytes of a file, -1 if there is no file."""
    gfile = _gfile()
    return gfile.stat(path).length if gfile.exists(path) and not gfile.isdir(path) else -1


def make_folder(path: str) -> None:
    """Make a folder and its parents.

    Raises:
        OSError: If it cannot be made, such as where a parent is a file or belongs to another user.
    """
    import tensorflow as tf

    try:
        _gfile().makedirs(path)
    except (tf.errors.OpError, OSError) as error:
        raise OSError(expected("the path of a folder that can be made", f"{path}: {error}")) from error


def remove(path: str) -> None:
    """Remove a file or a folder if it exists."""
    if is_remote(path):
        gfile = _gfile()
        if gfile.exists(path):
            gfile.rmtree(path) if gfile.isdir(path) else gfile.remove(path)
    elif os.path.isdir(path) and not os.path.islink(path):
        shutil.rmtree(path)
    elif os.path.lexists(path):
        os.remove(path)


def read(path: str) -> bytes:
    """Return the bytes of a file."""
    with _open(path, "rb") as file:
        return file.read()


def write(path: str, content: bytes | Callable[[Any], object]) -> dict[str, Any]:
    """Write a file beside its place, then rename it, so that a reader never finds half a file.

    Args:
        path: Path of the file.
        content: Bytes, or a function that writes to the open file.

    Returns:
        `{"bytes": ..., "sha256": ...}`.
    """
    beside = path + BESIDE
    remove(beside)  # Some file systems append to a file that exists.
    with _open(beside, "wb") as file:
        hashing = _Hashing(file)
        content(hashing) if callable(content) else hashing.write(content)
    if is_remote(path):
        _gfile().rename(beside, path, overwrite=True)
    else:
        os.replace(beside, path)
    return {"bytes": hashing.bytes, "sha256": hashing.digest.hexdigest()}


def write_json(path: str, record: Any) -> dict[str, Any]:
    """Write a record as JSON; equal records give equal bytes."""
    return write(path, (json.dumps(record, indent=1, sort_keys=True) + "\n").encode())


def write_array(path: str, array: np.ndarray) -> dict[str, Any]:
    """Write an array as `.npy`."""
    return write(path, lambda file: np.lib.format.write_array(file, np.ascontiguousarray(array), allow_pickle=False))


def read_array(path: str, sha256: str | None = None) -> np.ndarray:
    """Return the array of a `.npy` file: mapped into memory if the file is local, read whole if it is remote.

    The checksum is that of the array returned, even if the file is replaced meanwhile.

    Args:
        path: Path of the file.
        sha256: Checksum that the file must have. Defaults to `None`, any.

    Raises:
        ValueError: If the checksum differs, or the file holds Python objects or no array.
    """
    with _open(path, "rb") as file:
        content = file.read() if is_remote(path) else None
        if sha256 is not None:
            found = _hash(file) if content is None else hashlib.sha256(content).hexdigest()
            if found != sha256:
                raise ValueError(expected(f"{path} of SHA-256 {sha256[:16]}...", f"{found[:16]}..."))
        try:
            return _map(file) if content is None else np.load(io.BytesIO(content), allow_pickle=False)
        except OSError:
            raise
        except Exception as error:  # NumPy raises many kinds of error for a damaged header.
            raise ValueError(expected(f"{path} to be an array", str(error).rstrip("."))) from error


def _hash(file: Any) -> str:
    digest = hashlib.sha256()
    while portion := file.read(1 << 22):
        digest.update(portion)
    return digest.hexdigest()


def _map(file: Any) -> np.ndarray:
    """Map the array of an open file; `np.load` would open the file again, which may be another one by then."""
    file.seek(0)
    version = np.lib.format.read_magic(file)
    if version not in ((1, 0), (2, 0)):
        raise ValueError(expected("a .npy file of version 1.0 or 2.0", f"version {version}"))
    read_header = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, in_fortran_order, dtype = read_header(file)
    if dtype.hasobject:
        raise ValueError(expected("an array of numbers", "Python objects, which are not read"))
    return np.memmap(file, dtype, "r", file.tell(), shape, "F" if in_fortran_order else "C")


class _Hashing:
    """A file for writing that counts and hashes the bytes."""

    def __init__(self, file: Any):
        self._file, self.bytes, self.digest = file, 0, hashlib.sha256()

    def write(self, portion: Any) -> None:
        self._file.write(portion)
        self.digest.update(portion)
        self.bytes += len(portion)


def _open(path: str, mode: str) -> Any:
    return _gfile().GFile(path, mode) if is_remote(path) else open(path, mode)


def _gfile() -> Any:
    import tensorflow as tf

    return tf.io.gfile
