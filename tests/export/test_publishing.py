"""Replacing an export: a kill at any moment leaves the old folder or the new one."""

import errno
import json
import os
import pathlib
import subprocess
import sys
import types

import pytest
import tensorflow as tf

from keras_distill.export import exporter, publishing, swapping

KILLING = pathlib.Path(__file__).with_name("killing.py")


def killing(folder, *arguments):
    """Run the script that is killed while it replaces a folder; return its output."""
    command = [sys.executable, "-S", str(KILLING), str(folder), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


@pytest.fixture
def put(tmp_path):
    """Write one export, as the exporter does; return its path."""

    def put(text, name="out", also=()):
        path = publishing.check_directory(tmp_path / name, ["model", *also])
        with publishing.temporary_folder(path) as temporary:
            staged = temporary / "files"
            staged.mkdir()
            for file in ("model", *also):
                (staged / file).write_text(text)
            publishing.write_manifest(staged, {})
            publishing.replace(path, staged)
        return path

    return put


@pytest.mark.parametrize("way", ["swap", "renames"])
def test_an_export_killed_at_any_step_is_complete(way, tmp_path):
    left = json.loads(killing(tmp_path, way))
    for seen in left.values():
        # Making the files, one by one, comes before the new folder is there; cleaning up comes after.
        assert len(seen) > 20 and seen == sorted(seen) and set(seen) == {0, 1}


@pytest.mark.parametrize(("renames", "left"), [(0, "1"), (1, "1"), (2, "2")])
def test_the_next_export_recovers_from_a_kill_between_the_two_renames(renames, left, tmp_path):
    path = tmp_path / "out"
    killing(tmp_path, "renames", str(renames))
    assert path.exists() == (renames != 1)
    assert publishing.check_directory(path, []) == path
    assert {(path / name).read_text() for name in ("a", "b", "folder/c")} == {left}
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


def test_folders_of_running_processes_and_of_users_stay(tmp_path):
    path, (foreign, empty) = tmp_path / "out", (tmp_path / ".out.0123abcd", tmp_path / ".out.00000000")
    foreign.mkdir()
    (foreign / "thesis").touch()
    empty.mkdir()
    with publishing.temporary_folder(path) as living:
        (living / "files").mkdir()
        publishing.check_directory(path, [])
        assert (living / "files").is_dir() and empty.is_dir()
    os.utime(empty, (0, 0))
    publishing.check_directory(path, [])
    assert [entry.name for entry in tmp_path.iterdir()] == [".out.0123abcd"]
    assert (foreign / "thesis").exists()


def test_a_full_disk_leaves_the_old_folder_and_is_reported(put, tmp_path, monkeypatch):
    path = put("old")
    write = pathlib.Path.write_text

    def full(self, text, **options):
        if self.name == publishing.MANIFEST:
            raise OSError(errno.ENOSPC, "No space left on device", str(self))
        return write(self, text, **options)

    monkeypatch.setattr(pathlib.Path, "write_text", full)
    with pytest.raises(
        publishing.FullDiskError, match="^Expected space on the disk of .* No space left on device. Fre"
    ):
        put("new")
    assert (path / "model").read_text() == "old" and list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(
    ("error", "is_full"),
    [
        (tf.errors.ResourceExhaustedError(None, None, "part-0_temp; No space left on device"), True),
        (RuntimeError("OSError: [Errno 28] No space left on device: 'x'"), True),
        (OSError(errno.EACCES, "Permission denied"), False),
        (ValueError("a layer that is unknown"), False),
    ],
)
def test_a_format_that_finds_the_disk_full_is_no_failed_row(error, is_full, tmp_path):
    if is_full:
        with pytest.raises(OSError, match="No space left on device") as raised:
            exporter._raise_if_full(error, tmp_path)
        assert raised.value.errno == errno.ENOSPC
    else:
        exporter._raise_if_full(error, tmp_path)


def test_a_process_that_died_on_a_full_disk_is_no_failed_row(tmp_path, monkeypatch):
    monkeypatch.setattr(publishing.shutil, "disk_usage", lambda _: types.SimpleNamespace(free=4096))
    with pytest.raises(OSError, match="No space left on device"):
        exporter._raise_if_full(RuntimeError("its process died, with exit status 120"), tmp_path)


def test_files_that_users_added_stay(put, tmp_path):
    path = put("old")
    (path / "notes").mkdir()
    (path / "notes" / "a").write_text("mine")
    (path / "link").symlink_to("nowhere")
    put("new")
    assert (path / "model").read_text() == "new"
    assert (path / "notes" / "a").read_text() == "mine" and (path / "link").is_symlink()


def test_a_users_card_is_never_overwritten(put):
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
