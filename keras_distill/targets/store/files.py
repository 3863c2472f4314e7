"""Files of a store, on a local disk or wherever `tf.io.gfile` reads: written beside, then renamed."""

import hashlib
import io
import json
import os
import re

import numpy as np

_BESIDE = ".beside"


def path_of(path):
    """Return a path as a string without a slash at its end."""
    path = os.fspath(path)
    return path if is_remote(path) else os.path.abspath(os.path.expanduser(path))


def is_remote(path):
    """Tell whether a path is a URL, such as `gs://bucket/folder`, which nothing can map into memory."""
    return re.match(r"[a-z][a-z0-9+.-]*://", path) is not None


def join(path, *names):
    """Return the path of something in a folder."""
    return "/".join([path.rstrip("/"), *names])


def exists(path):
    """Tell whether there is a file or a folder."""
    return _gfile().exists(path) if is_remote(path) else os.path.exists(path)


def listed(path):
    """Return the names of what is in a folder, sorted; none where there is no folder."""
    if not is_remote(path):
        return sorted(os.listdir(path)) if os.path.isdir(path) else []
    gfile = _gfile()
    return sorted(name.rstrip("/") for name in gfile.listdir(path)) if gfile.isdir(path) else []


def size(path):
    """Return the number of bytes of a file, -1 where there is none."""
    if is_remote(path):
        gfile = _gfile()
        return gfile.stat(path).length if gfile.exists(path) and not gfile.isdir(path) else -1
    return os.path.getsize(path) if os.path.isfile(path) else -1


def make_folder(path):
    """Make a folder and those above it."""
    _gfile().makedirs(path) if is_remote(path) else os.makedirs(path, exist_ok=True)


def remove(path):
    """Remove a file or a folder, if there is one."""
    import shutil

    if is_remote(path):
        gfile = _gfile()
        if gfile.exists(path):
            gfile.rmtree(path) if gfile.isdir(path) else gfile.remove(path)
    elif os.path.isdir(path) and not os.path.islink(path):
        shutil.rmtree(path)
    elif os.path.lexists(path):
        os.remove(path)


def read(path):
    """Return the bytes of a file."""
    with _open(path, "rb") as file:
        return file.read()


def write(path, content):
    """Write bytes beside a file, then in its place.

    Args:
        path: Path of the file.
        content: Bytes, or a function that writes to the open file.

    Returns:
        `{"bytes": ..., "sha256": ...}`.
    """
    beside = path + _BESIDE
    remove(beside)  # Not every file system begins a file anew.
    with _open(beside, "wb") as file:
        hashing = _Hashing(file)
        content(hashing) if callable(content) else hashing.write(content)
    if is_remote(path):
        _gfile().rename(beside, path, overwrite=True)
    else:
        os.replace(beside, path)
    return {"bytes": hashing.bytes, "sha256": hashing.digest.hexdigest()}


def write_json(path, record):
    """Write a dict as JSON that is the same wherever and whenever it is written."""
    return write(path, (json.dumps(record, indent=1, sort_keys=True) + "\n").encode())


def write_array(path, array):
    """Write an array as `.npy`."""
    return write(path, lambda file: np.lib.format.write_array(file, np.ascontiguousarray(array), allow_pickle=False))


def read_array(path):
    """Return the array of a `.npy` file: mapped into memory where it is local, read where it is not."""
    if is_remote(path):
        return np.load(io.BytesIO(read(path)), allow_pickle=False)
    return np.load(path, mmap_mode="r", allow_pickle=False)


def sha256(path):
    """Return the checksum of a file."""
    digest = hashlib.sha256()
    with _open(path, "rb") as file:
        while portion := file.read(1 << 22):
            digest.update(portion)
    return digest.hexdigest()


class _Hashing:
    """A file to write to that counts and hashes what is written."""

    def __init__(self, file):
        self._file, self.bytes, self.digest = file, 0, hashlib.sha256()

    def write(self, portion):
        self._file.write(portion)
        self.digest.update(portion)
        self.bytes += len(portion)


def _open(path, mode):
    return _gfile().GFile(path, mode) if is_remote(path) else open(path, mode)


def _gfile():
    import tensorflow as tf

    return tf.io.gfile
