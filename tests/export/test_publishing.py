"""Replacing an export: whoever is stopped, at whatever moment, leaves the old folder or the new one."""

import errno
import json
import os
import pathlib
import random
import subprocess
import sys
import time

import pytest

from keras_distill.export import publishing, swapping

# Replaces one folder again and again, without importing Keras. Arguments: the package, the folder, how it is to swap.
REPLACING = """
import importlib.util, os, pathlib, signal, sys
package, path, way = pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2]), sys.argv[3]
spec = importlib.util.spec_from_file_location("worker", package / "export" / "worker.py")
worker = importlib.util.module_from_spec(spec)
sys.path.insert(0, "")
spec.loader.exec_module(worker)
worker._without_init(package)
from keras_distill.export import publishing, swapping
if way != "swap":
    swapping.exchange = lambda first, second: False
if way.startswith("die"):
    rename, calls = pathlib.Path.rename, []
    def dying(self, to):
        if len(calls) == int(way[3:]):
            os.kill(os.getpid(), signal.SIGKILL)
        calls.append(to)
        return rename(self, to)
    pathlib.Path.rename = dying
publishing.checked(path, [])
print("ready", flush=True)
version = int((path / "a").read_text()) if path.exists() else 0
while True:
    version += 1
    with publishing.beside(path) as temporary:
        staged = temporary / "files"
        (staged / "folder").mkdir(parents=True)
        for name in ("a", "b", "folder/c"):
            (staged / name).write_text(str(version))
        publishing.write_manifest(staged, {"version": version})
        publishing.replace(path, staged)
    if way.startswith("die"):
        break
"""


def replacing(path, way):
    package = pathlib.Path(publishing.__file__).parents[1]
    return subprocess.Popen(
        [sys.executable, "-S", "-c", REPLACING, package, path, way], stdout=subprocess.PIPE, text=True
    )


def version_of(path):
    """Return the version that every file of the export has, having checked that they are all there."""
    manifest = json.loads((path / publishing.MANIFEST).read_text())
    assert set(manifest["files"]) == {"a", "b", "folder/c"}
    versions = {(path / name).read_text() for name in manifest["files"]}
    assert versions == {str(manifest["version"])}
    return manifest["version"]


@pytest.fixture
def put(tmp_path):
    """Write one export, as the exporter does; return its path."""

    def put(text, name="out", also=()):
        path = publishing.checked(tmp_path / name, ["model", *also])
        with publishing.beside(path) as temporary:
            staged = temporary / "files"
            staged.mkdir()
            for file in ("model", *also):
                (staged / file).write_text(text)
            publishing.write_manifest(staged, {})
            publishing.replace(path, staged)
        return path

    return put


@pytest.mark.parametrize("way", ["swap", "two renames"])
def test_killed_at_any_moment_it_is_whole(way, tmp_path):
    path, moments, seen = tmp_path / "out", random.Random(0), [0]
    for _ in range(12):
        process = replacing(path, way)
        assert process.stdout.readline() == "ready\n"
        time.sleep(moments.uniform(0.005, 0.06))
        process.kill()
        process.communicate()
        if way == "swap" and path.exists():
            version_of(path)
        publishing.checked(path, [])
        seen += [version_of(path)] if path.exists() else []
        assert seen[-1] >= seen[-2] if len(seen) > 1 else True
        assert [entry for entry in tmp_path.iterdir() if any(entry.iterdir())] == ([path] if path.exists() else [])
    assert seen[-1] > 2


@pytest.mark.parametrize(("renames", "left"), [(0, "old"), (1, "old"), (2, "new")])
def test_killed_between_the_two_renames_the_next_export_puts_it_right(renames, left, tmp_path):
    path = tmp_path / "out"
    first = replacing(path, "two renames")
    assert first.stdout.readline() == "ready\n"
    while not path.exists():
        time.sleep(0.01)
    first.kill()
    first.communicate()
    publishing.checked(path, [])
    old = version_of(path)
    second = replacing(path, f"die{renames}")
    second.communicate()
    assert second.returncode == -9 and path.exists() == (renames != 1)
    assert publishing.checked(path, []) == path
    assert version_of(path) == (old if left == "old" else old + 1)
    assert list(tmp_path.iterdir()) == [path]


def test_exchange_swaps(tmp_path):
    first, second = tmp_path / "ä first", tmp_path / "second"
    for folder in (first, second):
        folder.mkdir()
        (folder / folder.name).touch()
    swapped = swapping.exchange(first, second)
    assert swapped == (second / "ä first").exists() == (first / "second").exists()
    assert swapped or sys.platform not in ("linux", "darwin")
    assert swapping.exchange(first, tmp_path / "none") is False


def test_folders_of_living_processes_and_of_others_stay(tmp_path):
    path, (foreign, empty) = tmp_path / "out", (tmp_path / ".out.0123abcd", tmp_path / ".out.00000000")
    foreign.mkdir()
    (foreign / "thesis").touch()
    empty.mkdir()
    with publishing.beside(path) as living:
        (living / "files").mkdir()
        publishing.checked(path, [])
        assert (living / "files").is_dir() and empty.is_dir()
    os.utime(empty, (0, 0))
    publishing.checked(path, [])
    assert [entry.name for entry in tmp_path.iterdir()] == [".out.0123abcd"]
    assert (foreign / "thesis").exists()


def test_a_full_disk_leaves_the_old_folder_and_says_so(put, tmp_path, monkeypatch):
    path = put("old")
    write = pathlib.Path.write_text

    def full(self, text, **options):
        if self.name == publishing.MANIFEST:
            raise OSError(errno.ENOSPC, "No space left on device", str(self))
        return write(self, text, **options)

    monkeypatch.setattr(pathlib.Path, "write_text", full)
    with pytest.raises(publishing.FullDiskError, match="^Expected room on the disk of .* No space left on device. Fre"):
        put("new")
    assert (path / "model").read_text() == "old" and list(tmp_path.iterdir()) == [path]


def test_what_users_added_stays(put, tmp_path):
    path = put("old")
    (path / "notes").mkdir()
    (path / "notes" / "a").write_text("mine")
    (path / "link").symlink_to("nowhere")
    put("new")
    assert (path / "model").read_text() == "new"
    assert (path / "notes" / "a").read_text() == "mine" and (path / "link").is_symlink()


def test_a_card_of_the_users_is_never_written_over(put):
    path = put("old", also=["README.md"])
    assert publishing.card_name(path) == "README.md"
    put("new", also=["README.md"])
    (path / "README.md").write_text("edited")
    assert publishing.card_name(path) == "MODEL_CARD.md"
    with pytest.raises(FileExistsError, match="no README.md of another origin"):
        put("newer", also=["README.md"])
    put("newer", also=["MODEL_CARD.md"])
    assert (path / "README.md").read_text() == "edited" and (path / "MODEL_CARD.md").read_text() == "newer"
    assert publishing.card_name(path) == "MODEL_CARD.md"
    assert publishing.card_name(path.with_name("none")) == "README.md"
