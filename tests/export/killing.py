"""Replace a folder, killed before each of its steps on the file system. Run by `test_publishing.py`.

    python -S killing.py FOLDER WAY [RENAMES]

WAY is `swap`, or `renames` where the system cannot swap two folders. With RENAMES, a first export is finished and the
second one is killed before that rename, which is left for the test to look at. Keras is not imported, and each
replacement is a fork of this process: a kill takes milliseconds.
"""

import importlib.util
import itertools
import json
import os
import pathlib
import shutil
import signal
import sys

# What Python reports before it does it: the steps between which a process may end.
STEPS = {"ctypes.dlsym", "open", "os.listdir", "os.mkdir", "os.remove", "os.rename", "os.rmdir", "os.scandir"}
FILES = ("a", "b", "folder/c")


def load():
    """Import the rooms that replace folders, without the package's own door."""
    package = pathlib.Path(__file__).resolve().parents[2] / "keras_distill"
    spec = importlib.util.spec_from_file_location("worker", package / "export" / "worker.py")
    worker = importlib.util.module_from_spec(spec)
    sys.path.insert(0, "")
    spec.loader.exec_module(worker)
    worker._without_init(package)
    from keras_distill.export import publishing, swapping

    return publishing, swapping


def replace(path, version):
    """Export a version of the folder."""
    publishing.checked(path, [])
    with publishing.beside(path) as temporary:
        staged = temporary / "files"
        (staged / "folder").mkdir(parents=True)
        for name in FILES:
            (staged / name).write_text(str(version))
        publishing.write_manifest(staged, {"version": version})
        publishing.replace(path, staged)


def killed(path, version, number, steps):
    """Replace the folder in a process that is killed before its step of this number; tell whether it came so far."""
    process = os.fork()
    if process == 0:
        passed = itertools.count()

        def die(event, _):
            if event in steps and next(passed) == number:
                os.kill(os.getpid(), signal.SIGKILL)

        sys.addaudithook(die)
        status = 1
        try:
            replace(path, version)
            status = 0
        finally:
            os._exit(status)
    _, status = os.waitpid(process, 0)
    assert status in (0, signal.SIGKILL), status
    return status == signal.SIGKILL


def version_of(path):
    """Return the version that every file of the export has, having checked that they are all there; 0 for no export."""
    if not path.exists():
        return 0
    manifest = json.loads((path / publishing.MANIFEST).read_text())
    assert set(manifest["files"]) == set(FILES)
    assert {(path / name).read_text() for name in FILES} == {str(manifest["version"])}
    return manifest["version"]


def kill_at_each_step(path, begin):
    """Kill a replacement before each of its steps, each time from a state that `begin` makes; return what was left."""
    left = []
    for number in itertools.count():
        old = begin()
        was_killed = killed(path, old + 1, number, STEPS)
        if path.exists():
            version_of(path)
        elif swapping.exchange is not unable:
            assert old == 0, "an export was missing for a moment"
        publishing.checked(path, [])
        new = version_of(path)
        assert new in (old, old + 1)
        assert path.exists() == (new > 0)
        # One that was killed before it marked its folder leaves it for a minute; empty, or else this raises.
        for folder in path.parent.iterdir():
            folder == path or folder.rmdir()
        if not was_killed:
            assert new == old + 1
            return left
        left.append(new - old)


def unable(first, second):
    """Stand in for `exchange` where there is no such call."""
    return False


def main(folder, way, renames=None):
    path = pathlib.Path(folder).resolve() / "out"
    if way == "renames":
        swapping.exchange = unable
    if renames is not None:
        replace(path, 1)
        assert killed(path, 2, int(renames), {"os.rename"})
        return

    def nothing():
        shutil.rmtree(path, ignore_errors=True)
        return 0

    first = kill_at_each_step(path, nothing)
    again = kill_at_each_step(path, lambda: version_of(path))
    print(json.dumps({"first": first, "again": again}))


if __name__ == "__main__":
    publishing, swapping = load()
    # It costs most of the time, and matters only when the power fails: what a killed process wrote is the system's.
    os.fsync = lambda descriptor: None
    main(*sys.argv[1:])
