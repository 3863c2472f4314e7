"""The export's directory: whether it may be replaced, and replacing it only when everything is done."""

import contextlib
import hashlib
import json
import pathlib
import shutil
import uuid

from keras_distill._messages import expected

MANIFEST = "export.json"
PRODUCER = "keras_distill.export"


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


@contextlib.contextmanager
def beside(path):
    """Make a temporary folder beside `path`, on the same disk so that renaming is one step; remove it afterwards."""
    path.parent.mkdir(parents=True, exist_ok=True)
    folder = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}")
    folder.mkdir()
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def replace(path, staged):
    """Put the folder `staged` in the place of `path`, keeping what users added to an earlier export."""
    for entry in _foreign(path):
        if entry.is_dir() and not entry.is_symlink():
            shutil.copytree(entry, staged / entry.name, symlinks=True)
        else:
            shutil.copy2(entry, staged / entry.name, follow_symlinks=False)
    retired = staged.with_name("retired")
    try:
        if path.exists():
            path.rename(retired)
        staged.rename(path)
    except BaseException:
        if retired.exists() and not path.exists():
            retired.rename(path)
        raise


def write_manifest(folder, content):
    """Write the manifest, with the size and SHA-256 of every file of the export."""
    files = {
        file.relative_to(folder).as_posix(): {"bytes": file.stat().st_size, "sha256": _sha256(file)}
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
    ours = {name.split("/")[0] for name in manifest.get("files", ())} | {MANIFEST}
    return [entry for entry in path.iterdir() if entry.name not in ours] if path.is_dir() else []


def _sha256(file):
    digest = hashlib.sha256()
    with open(file, "rb") as stream:
        while block := stream.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()
