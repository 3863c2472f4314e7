"""Putting one folder in the place of another so that a crash at any point leaves one of them, whole."""

import contextlib
import ctypes
import os
import re
import shutil
import sys
import time
import uuid

# A crash may leave this behind, and nobody else's folder has it: only folders that hold it are ever cleaned up.
_MARKER = ".temporary-folder-of-an-export"
# The old folder while it is out of its place, and once nobody needs it any more.
_RETIRED, _DISCARDED = "retired", "discarded"
# Seconds, and the longer time where nothing tells whether the process is still there.
_YOUNG, _SURELY_OLD = 60.0, 86400.0
_HERE = -100
_SWAP = 2


@contextlib.contextmanager
def beside(path):
    """Make a temporary folder beside `path`, on the same disk so that renaming is one step; remove it afterwards.

    What processes that died have left there is put right first, see `recover`.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    recover(path)
    folder = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}")
    folder.mkdir()
    with _owned(folder):
        (folder / _MARKER).touch()
        try:
            yield folder
        finally:
            _remove(folder)


def recover(path):
    """Put back a folder whose replacement was cut short, and remove temporary folders of processes that are gone.

    Args:
        path: `pathlib.Path` of the folder that was, or was to be, replaced.
    """
    name = re.compile(rf"\.{re.escape(path.name)}\.[0-9a-f]{{8}}")
    for folder in sorted(path.parent.iterdir()) if path.parent.is_dir() else ():
        if name.fullmatch(folder.name) and not folder.is_symlink() and folder.is_dir():
            _recover(path, folder)


def put(path, staged):
    """Put the folder `staged` in the place of `path`, in one step where the system can swap two folders.

    Elsewhere it takes two steps; whoever is stopped between them leaves the old folder to `recover`.

    Args:
        path: `pathlib.Path`; may be missing.
        staged: `pathlib.Path` of a folder within what `beside` gave, complete.
    """
    sync(staged)
    retired = staged.with_name(_RETIRED)
    if not path.exists():
        staged.rename(path)
    elif not exchange(staged, path):
        try:
            path.rename(retired)
            staged.rename(path)
        except BaseException:
            if retired.exists() and not path.exists():
                retired.rename(path)
            raise
        retired.rename(staged.with_name(_DISCARDED))
    _sync_one(path.parent)


def exchange(first, second):
    """Swap two folders of one disk in one step.

    Returns:
        bool: False, and nothing done, where the system or its disk does not offer it.

    Example:
        >>> import pathlib, tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     new, old = pathlib.Path(folder, "new"), pathlib.Path(folder, "old")
        ...     new.mkdir(), old.mkdir(), (new / "file").touch()
        ...     exchange(new, old) in (False, (old / "file").exists())
        (None, None, None)
        True
    """
    paths = [os.fsencode(path) for path in (first, second)]
    try:
        library = ctypes.CDLL(None, use_errno=True)
        if sys.platform == "darwin":
            return library.renamex_np(*paths, ctypes.c_uint(_SWAP)) == 0
        return library.renameat2(_HERE, paths[0], _HERE, paths[1], ctypes.c_uint(_SWAP)) == 0
    except (AttributeError, TypeError, OSError):  # Other systems, and old C libraries, have neither.
        return False


def sync(folder):
    """Have everything in a folder written to the disk: a power failure must not find names without contents."""
    for path in [*folder.rglob("*"), folder]:
        if not path.is_symlink():
            _sync_one(path)


def _sync_one(path):
    if os.name == "nt":
        return  # Folders cannot be opened there, and files only for writing.
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _recover(path, folder):
    with _owned(folder) as owned:
        if owned is False:
            return
        if (folder / _RETIRED).exists() and (folder / _MARKER).exists() and not path.exists():
            (folder / _RETIRED).rename(path)
        age = time.time() - folder.stat().st_mtime
        # Between the making of a folder and its marking it is empty, and may be another process's.
        marked, empty = (folder / _MARKER).exists(), not any(folder.iterdir())
        if (marked and (owned or age > _SURELY_OLD)) or (empty and age > _YOUNG):
            _remove(folder)


@contextlib.contextmanager
def _owned(folder):
    """Hold the folder, which ends with the process; yield whether it is held, None where the system cannot tell."""
    try:
        import fcntl

        descriptor = os.open(folder, os.O_RDONLY)
    except (ImportError, OSError):
        yield None
        return
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            yield False if isinstance(error, BlockingIOError) else None
        else:
            yield True
    finally:
        os.close(descriptor)


def _remove(folder):
    """Remove a temporary folder, the marker last, so that an interruption leaves what the next export knows."""
    for entry in folder.iterdir():
        if entry.name != _MARKER:
            shutil.rmtree(entry, ignore_errors=True) if entry.is_dir() else entry.unlink(missing_ok=True)
    shutil.rmtree(folder, ignore_errors=True)
