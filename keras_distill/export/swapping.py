"""Replacing a folder by another so that a crash at any point leaves one of the two, complete."""

import contextlib
import ctypes
import os
import pathlib
import re
import shutil
import sys
import time
import uuid
from collections.abc import Iterator

# A file in every temporary folder. A crash may leave such a folder behind; only folders with this file are removed.
_MARKER = ".temporary-folder-of-an-export"
# Name of the old folder while the new one takes its place, and afterwards.
_RETIRED, _DISCARDED = "retired", "discarded"
# Ages in seconds; the second one is for systems that cannot tell whether a process is still running.
_YOUNG, _SURELY_OLD = 60.0, 86400.0
_HERE = -100
_SWAP = 2


@contextlib.contextmanager
def temporary_folder(path: pathlib.Path) -> Iterator[pathlib.Path]:
    """Make a temporary folder beside `path`, on the same disk so that renaming is one step; remove it afterwards.

    First, clean up what processes that died have left there, see `recover`.
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


def recover(path: pathlib.Path) -> None:
    """Put back a folder whose replacement was interrupted, and remove temporary folders of processes that have ended.

    Args:
        path: The folder that may have been replaced.
    """
    name = re.compile(rf"\.{re.escape(path.name)}\.[0-9a-f]{{8}}")
    for folder in sorted(path.parent.iterdir()) if path.parent.is_dir() else ():
        if name.fullmatch(folder.name) and not folder.is_symlink() and folder.is_dir():
            _recover(path, folder)


def put(path: pathlib.Path, staged: pathlib.Path) -> None:
    """Replace the folder `path` by `staged`, in one step where the system can swap two folders.

    Elsewhere it takes two steps; if the process ends between them, `recover` puts the old folder back.

    Args:
        path: Folder to replace; may be missing.
        staged: Complete folder within the one that `temporary_folder` yields.
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


def exchange(first: str | os.PathLike, second: str | os.PathLike) -> bool:
    """Swap two folders of one disk in one step.

    Returns:
        Whether they were swapped; `False` where the system or the disk does not support it.

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


def sync(folder: pathlib.Path) -> None:
    """Flush everything in a folder to the disk, so that a power failure does not leave names without contents."""
    for path in [*folder.rglob("*"), folder]:
        if not path.is_symlink():
            _sync_one(path)


def _sync_one(path: pathlib.Path) -> None:
    if os.name == "nt":
        return  # Windows cannot open folders, and syncs files only if they are open for writing.
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _recover(path: pathlib.Path, folder: pathlib.Path) -> None:
    with _owned(folder) as owned:
        if owned is False:
            return
        if (folder / _RETIRED).exists() and (folder / _MARKER).exists() and not path.exists():
            (folder / _RETIRED).rename(path)
        age = time.time() - folder.stat().st_mtime
        # A folder without the marker is empty and may just have been made by another process.
        marked, empty = (folder / _MARKER).exists(), not any(folder.iterdir())
        if (marked and (owned or age > _SURELY_OLD)) or (empty and age > _YOUNG):
            _remove(folder)


@contextlib.contextmanager
def _owned(folder: pathlib.Path) -> Iterator[bool | None]:
    """Lock the folder until the process ends; yield whether that worked, `None` where the system cannot tell."""
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


def _remove(folder: pathlib.Path) -> None:
    """Remove a temporary folder, the marker last, so that the next export recognises it after an interruption."""
    for entry in folder.iterdir():
        if entry.name != _MARKER:
            shutil.rmtree(entry, ignore_errors=True) if entry.is_dir() else entry.unlink(missing_ok=True)
    shutil.rmtree(folder, ignore_errors=True)
