"""One writer at a time on one path."""

import contextlib
import os
import socket
import uuid

from keras_distill._core.messages import expected
from keras_distill.targets.store import files

try:
    import fcntl
except ImportError:  # Not on every operating system.
    fcntl = None

LOCK = ".lock"


@contextlib.contextmanager
def only_writer(path):
    """Keep other writers off a folder.

    On a local disk by a lock of the operating system, which is free again when the process ends, however it ends. On
    other file systems by a file that names its owner; what a killed process leaves of it has to be removed by hand.

    Args:
        path: Folder, which is there.

    Raises:
        FileExistsError: If another writer is at it.
    """
    lock = files.join(path, LOCK)
    by_file = files.is_remote(path) or fcntl is None
    with _of_file(lock, path) if by_file else _of_system(lock, path):
        yield


@contextlib.contextmanager
def _of_system(lock, path):
    while True:
        handle = os.open(lock, os.O_RDWR | os.O_CREAT)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            owner = os.read(handle, 200).decode(errors="replace") or "another process"
            os.close(handle)
            raise _taken(path, owner) from error
        if os.path.exists(lock) and os.path.samestat(os.fstat(handle), os.stat(lock)):
            break
        os.close(handle)  # Whoever had it removed it in between: what is locked is no longer the file of that name.
    try:
        os.truncate(handle, 0)
        os.write(handle, _owner().encode())
        yield
    finally:
        os.unlink(lock)
        os.close(handle)


@contextlib.contextmanager
def _of_file(lock, path):
    owner = f"{_owner()}, {uuid.uuid4().hex}"
    if files.exists(lock):
        fix = f"If it no longer runs, remove {lock}."
        raise _taken(path, files.read(lock).decode(errors="replace"), fix)
    files.write(lock, owner.encode())
    if files.read(lock).decode(errors="replace") != owner:
        raise _taken(path, "another process, at the same moment")
    try:
        yield
    finally:
        files.remove(lock)


def _owner():
    return f"process {os.getpid()} on {socket.gethostname()}"


def _taken(path, owner, fix="Wait for it, or write to another path."):
    return FileExistsError(expected(f"to be the only writer of {path}", f"a lock held by {owner}", fix))
