"""The directory of an export: whether it may be replaced, and its replacement when everything is done."""

import contextlib
import errno
import hashlib
import json
import os
import pathlib
import shutil
from collections.abc import Iterable, Iterator
from typing import Any

from keras_distill._core.messages import expected
from keras_distill.export import swapping

MANIFEST = "export.json"
PRODUCER = "keras_distill.export"
# Names of the model card: the second is for directories in which users have a file of the first name.
CARDS = ("README.md", "MODEL_CARD.md")
_NO_SPACE = 1 << 16
_FULL = (errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC))


class FullDiskError(OSError):
    """The disk is full; the earlier contents of the directory are unchanged."""


def check_directory(path: str | os.PathLike, filenames: Iterable[str]) -> pathlib.Path:
    """Return the directory to write as an absolute path, with links resolved.

    Args:
        path: The directory.
        filenames: Names that the export is going to write.

    Raises:
        NotADirectoryError: If a parent is a file.
        FileExistsError: If the directory holds something that an export did not write.
    """
    path = pathlib.Path(path).expanduser().resolve()
    swapping.recover(path)
    for parent in path.parents:
        if parent.exists() and not parent.is_dir():
            raise NotADirectoryError(expected(f"the parents of {path} to be directories", f"{parent} is a file"))
    if not path.exists() or (path.is_dir() and not any(path.iterdir())):
        return path
    if _read_manifest(path) is None:
        fix = "Choose another directory, or remove its contents."
        raise FileExistsError(
            expected("directory to be new, empty, or an earlier export", f"{path}, which is not", fix)
        )
    taken = sorted(set(filenames) & {entry.name for entry in _find_foreign(path)})
    if taken:
        fix = "The earlier export did not write it. Move it elsewhere."
        raise FileExistsError(expected(f"{path} to hold no {taken[0]} of another origin", f"{taken[0]}", fix))
    return path


def card_name(path: pathlib.Path) -> str:
    """Return the file name for the model card, which never overwrites a file of the user's.

    A card belongs to the export while its bytes are those that the manifest lists; once edited, it belongs to the user.

    Args:
        path: The directory of the export, as `check_directory` returns it.
    """
    foreign = {entry.name for entry in _find_foreign(path)}
    return next((name for name in CARDS if name not in foreign), CARDS[-1])


@contextlib.contextmanager
def temporary_folder(path: pathlib.Path) -> Iterator[pathlib.Path]:
    """Make a temporary folder beside `path`, see `swapping.temporary_folder`, and report a full disk as one.

    Raises:
        FullDiskError: If something within the block failed because the disk is full.
    """
    try:
        with swapping.temporary_folder(path) as folder:
            yield folder
    except OSError as error:
        if not is_full_disk(error) or isinstance(error, FullDiskError):
            raise
        fix = f"Free some space and export again; {path} is unchanged."
        raise FullDiskError(expected(f"space on the disk of {path.parent}", error.strerror or error, fix)) from error


def is_full_disk(error: Exception) -> bool:
    """Return whether an error, of this process or reported by another one, means that the disk is full.

    Example:
        >>> is_full_disk(OSError(errno.ENOSPC, "No space left on device")), is_full_disk(ValueError("No space left"))
        (True, False)
        >>> is_full_disk(RuntimeError("OSError: [Errno 28] No space left on device"))
        True
    """
    # TensorFlow's errors have no number.
    texts = [text for number in _FULL for text in (f"[Errno {number}]", os.strerror(number))]
    return getattr(error, "errno", None) in _FULL or any(text in str(error) for text in texts)


def has_no_space(folder: pathlib.Path) -> bool:
    """Return whether a disk is so full that a process on it cannot even write why it failed."""
    return shutil.disk_usage(folder).free < _NO_SPACE


def replace(path: pathlib.Path, staged: pathlib.Path) -> None:
    """Replace the folder `path` by `staged`, keeping what users added to an earlier export.

    A crash at any point leaves the old folder or the new one, see `swapping.put`.
    """
    for entry in _find_foreign(path):
        if entry.is_dir() and not entry.is_symlink():
            shutil.copytree(entry, staged / entry.name, symlinks=True)
        else:
            shutil.copy2(entry, staged / entry.name, follow_symlinks=False)
    swapping.put(path, staged)


def write_manifest(folder: pathlib.Path, content: dict[str, Any]) -> None:
    """Write the manifest, with the size and SHA-256 of every file of the export."""
    files = {
        file.relative_to(folder).as_posix(): {"bytes": file.stat().st_size, "sha256": sha256(file)}
        for file in sorted(folder.rglob("*"))
        if file.is_file()
    }
    manifest = {"producer": PRODUCER, "manifest_version": 1, **content, "files": files}
    (folder / MANIFEST).write_text(json.dumps(manifest, indent=2) + "\n", encoding="utf-8")


def size(path: pathlib.Path) -> int:
    """Return the number of bytes of a file, or of all files in a folder."""
    files = path.rglob("*") if path.is_dir() else [path]
    return sum(file.stat().st_size for file in files if file.is_file())


def remove(path: pathlib.Path) -> None:
    """Remove a file or folder if it exists."""
    shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)


def _read_manifest(path: pathlib.Path) -> dict[str, Any] | None:
    """Return the manifest of an export, or `None` if `path` is not an export."""
    try:
        manifest = json.loads((path / MANIFEST).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return manifest if isinstance(manifest, dict) and manifest.get("producer") == PRODUCER else None


def _find_foreign(path: pathlib.Path) -> list[pathlib.Path]:
    """Return the entries of an earlier export that the export did not write."""
    manifest = _read_manifest(path) or {}
    files = manifest.get("files", {})
    ours = {name.split("/")[0] for name in files} | {MANIFEST}
    ours -= {name for name in CARDS if name in files and _was_changed(path / name, files[name])}
    return [entry for entry in path.iterdir() if entry.name not in ours] if path.is_dir() else []


def _was_changed(file: pathlib.Path, listed: dict[str, Any]) -> bool:
    return file.is_file() and sha256(file) != listed.get("sha256")


def sha256(file: str | os.PathLike) -> str:
    """Return the SHA-256 of a file in hexadecimal digits."""
    digest = hashlib.sha256()
    with open(file, "rb") as stream:
        while block := stream.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()
