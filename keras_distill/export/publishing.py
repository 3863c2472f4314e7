"""The export's directory: whether it may be replaced, and replacing it only when everything is done."""

import contextlib
import errno
import hashlib
import json
import pathlib
import shutil

from keras_distill._core.messages import expected
from keras_distill.export import swapping

MANIFEST = "export.json"
PRODUCER = "keras_distill.export"
# The model card's name, and its second one where users have a file of the first.
CARDS = ("README.md", "MODEL_CARD.md")
_FULL = (errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC))


class FullDiskError(OSError):
    """The disk has no room; what was there is as it was."""


def checked(path, filenames):
    """Return the directory to write, if it may be written.

    Args:
        path: str or path.
        filenames: names about to be written.

    Returns:
        `pathlib.Path`, absolute, links followed.

    Raises:
        NotADirectoryError: if a parent is a file.
        FileExistsError: if something is there that an export did not write.
    """
    path = pathlib.Path(path).expanduser().resolve()
    swapping.recover(path)
    for parent in path.parents:
        if parent.exists() and not parent.is_dir():
            raise NotADirectoryError(expected(f"the parents of {path} to be directories", f"{parent} is a file"))
    if not path.exists() or (path.is_dir() and not any(path.iterdir())):
        return path
    if _manifest(path) is None:
        fix = "Choose another path, or remove what is there."
        raise FileExistsError(expected("path to be new, empty, or an earlier export", f"{path}, which is not", fix))
    taken = sorted(set(filenames) & {entry.name for entry in _foreign(path)})
    if taken:
        fix = "Move it elsewhere; the earlier export did not write it."
        raise FileExistsError(expected(f"{path} to hold no {taken[0]} of another origin", f"{taken[0]}", fix))
    return path


def card_name(path):
    """Return under which name the model card of an export may be written: never over a file of the user's.

    A card is ours while the manifest lists it with the bytes that it has; one that was edited is the user's.

    Args:
        path: `pathlib.Path` of the export's directory, as `checked` returns it.
    """
    foreign = {entry.name for entry in _foreign(path)}
    return next((name for name in CARDS if name not in foreign), CARDS[-1])


@contextlib.contextmanager
def beside(path):
    """Make a temporary folder beside `path`, see `swapping.beside`, and say what is the matter when the disk is full.

    Raises:
        FullDiskError: if something within the block found no room on the disk.
    """
    try:
        with swapping.beside(path) as folder:
            yield folder
    except OSError as error:
        if not is_full_disk(error) or isinstance(error, FullDiskError):
            raise
        fix = f"Free some and export again; {path} is as it was."
        raise FullDiskError(expected(f"room on the disk of {path.parent}", error.strerror or error, fix)) from error


def is_full_disk(error):
    """Say whether an error, of this process or told by another one, is that the disk has no room.

    Example:
        >>> is_full_disk(OSError(errno.ENOSPC, "No space left on device")), is_full_disk(ValueError("No space left"))
        (True, False)
        >>> is_full_disk(RuntimeError("OSError: [Errno 28] No space left on device"))
        True
    """
    return getattr(error, "errno", None) in _FULL or any(f"[Errno {number}]" in str(error) for number in _FULL)


def replace(path, staged):
    """Put the folder `staged` in the place of `path`, keeping what users added to an earlier export.

    A crash at any point leaves the old folder or the new one, see `swapping.put`.
    """
    path, staged = pathlib.Path(path), pathlib.Path(staged)
    for entry in _foreign(path):
        if entry.is_dir() and not entry.is_symlink():
            shutil.copytree(entry, staged / entry.name, symlinks=True)
        else:
            shutil.copy2(entry, staged / entry.name, follow_symlinks=False)
    swapping.put(path, staged)


def write_manifest(folder, content):
    """Write the manifest, with the size and SHA-256 of every file of the export."""
    files = {
        file.relative_to(folder).as_posix(): {"bytes": file.stat().st_size, "sha256": sha256(file)}
        for file in sorted(folder.rglob("*"))
        if file.is_file()
    }
    manifest = {"producer": PRODUCER, "manifest_version": 1, **content, "files": files}
    (folder / MANIFEST).write_text(json.dumps(manifest, indent=2) + "\n", encoding="utf-8")


def size(path):
    """Return the bytes of a file, or of all files of a folder."""
    files = path.rglob("*") if path.is_dir() else [path]
    return sum(file.stat().st_size for file in files if file.is_file())


def remove(path):
    """Remove a file or folder, if it is there."""
    shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)


def _manifest(path):
    """Return the manifest of an export, or None if there is none of ours."""
    try:
        manifest = json.loads((path / MANIFEST).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return manifest if isinstance(manifest, dict) and manifest.get("producer") == PRODUCER else None


def _foreign(path):
    """Return the entries of an earlier export that the export did not write."""
    manifest = _manifest(path) or {}
    files = manifest.get("files", {})
    ours = {name.split("/")[0] for name in files} | {MANIFEST}
    ours -= {name for name in CARDS if name in files and _changed(path / name, files[name])}
    return [entry for entry in path.iterdir() if entry.name not in ours] if path.is_dir() else []


def _changed(file, listed):
    return file.is_file() and sha256(file) != listed.get("sha256")


def sha256(file):
    """Return the SHA-256 of a file, in hexadecimal digits."""
    digest = hashlib.sha256()
    with open(file, "rb") as stream:
        while block := stream.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()
