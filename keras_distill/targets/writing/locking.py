"""A lock that lets one writer at a time work on a folder."""

import contextlib
import os
import socket
import uuid
from collections.abc import Iterator

from keras_distill._core.messages import expected
from keras_distill.targets.store import files

LOCK = ".lock"


@contextlib.contextmanager
def only_writer(path: str) -> Iterator[None]:
    """Hold the lock of a folder.

    On a local disk the operating system holds the lock and releases it when the process ends, even if it is killed. On
    other file systems the lock is a file that names its owner; if a writer is killed, remove that file by hand.

    Args:
        path: Folder, which must exist.

    Raises:
        FileExistsError: If another writer holds the lock.
    """
    lock = files.join(path, LOCK)
    by_file = files.is_remote(path) or os.name != "posix"
    with _lock_by_file(lock, path) if by_file else _lock_by_system(lock, path):
        yield


@contextlib.contextmanager
def _lock_by_system(lock: str, path: str) -> Iterator[None]:
    import fcntl

    while True:
        handle = os.open(lock, os.O_RDWR | os.O_CREAT)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            owner = os.read(handle, 200).decode(errors="replace") or "another process"
            os.close(handle)
            raise _make_error(path, owner) from error
        if os.path.exists(lock) and os.path.samestat(os.fstat(handle), os.stat(lock)):
            break
        os.close(handle)  # The last owner removed the file after it was opened here, so this lock protects nothing.
    try:
        os.truncate(handle, 0)
        os.write(handle, _describe_owner().encode())
        yield
    finally:
        os.unlink(lock)
        os.close(handle)


@contextlib.contextmanager
def _lock_by_file(lock: str, path: str) -> Iterator[None]:
    owner = f"{_describe_owner()}, {uuid.uuid4().hex}"
    if files.exists(lock):
        fix = f"If it no longer runs, remove {lock}."
        raise _make_error(path, files.read(lock).decode(errors="replace"), fix)
    files.write(lock, owner.encode())
    if files.read(lock).decode(errors="replace") != owner:
        raise _make_error(path, "another process that started at the same moment")
    try:
        yield
    finally:
        files.remove(lock)


def _describe_owner() -> str:
    return f"process {os.getpid()} on {socket.gethostname()}"


def _make_error(path: str, owner: str, fix: str = "Wait for it, or write to another path.") -> FileExistsError:
    return FileExistsError(expected(f"to be the only writer of {path}", f"a lock held by {owner}", fix))
