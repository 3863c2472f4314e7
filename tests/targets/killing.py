"""Kill a writer at one chosen point after the other, then let it finish. Run by `test_resume.py`.

    python killing.py FOLDER

Everything is imported once; each writer is a fork of this process, which has run nothing of TensorFlow itself.
"""

import json
import os
import signal
import sys

import numpy as np

from keras_distill import targets
from keras_distill.targets.store import files

EXAMPLES, BATCH, SHARD = 96, 8, 16
# What a writer is about to do when it dies: to touch a file, as Python reports it, to write the second half of one, or
# to answer so many questions. And how many of the six shards are whole then; `None` where the thread that writes them
# may have got to it or not.
POINTS = [
    ("half", "plan.json", 0),
    ("asked", 4, None),
    ("half", "shard-00000/values.npy", 0),
    ("os.rename", "shard-00000/shard.json", 0),
    ("open", "shard-00002/keys.npy", 2),
    ("half", "manifest.json", 6),
    ("os.remove", "plan.json", 6),
    ("os.remove", ".lock", 6),
]


def die():
    """End this process as nothing can prevent."""
    os.kill(os.getpid(), signal.SIGKILL)


def die_at(path, kind, what):
    """Have this process die at a point, except at questions, which the teacher counts."""
    names = {f"{path}/{what}", f"{path}/{what}.beside"}
    if kind == "half":

        def write(file, portion, real=files._Hashing.write):
            if file._file.name in names:
                file._file.write(portion[: len(portion) // 2])
                file._file.flush()
                die()
            real(file, portion)

        files._Hashing.write = write
    else:
        sys.addaudithook(lambda event, given: event == kind and not names.isdisjoint(map(str, given)) and die())


def write(path, last=None):
    """Write the store; the teacher dies when it is asked for the `last` time."""
    asked = []

    def teacher(x):
        asked.append(True)
        if len(asked) == last:
            die()
        return np.stack([x.sum(-1), x[:, 0], x[:, 1] * 3.0], -1)

    x = np.random.default_rng(0).normal(size=(EXAMPLES, 4)).astype("float32")
    targets.write(teacher, x, path, batch_size=BATCH, shard_size=SHARD, name="noise")


def forked(path, kind=None, what=None):
    """Run a writer to its end, or to a point; return the signal that ended it, or 0."""
    process = os.fork()
    if process == 0:
        status = 1
        try:
            if kind not in (None, "asked"):
                die_at(path, kind, what)
            write(path, what if kind == "asked" else None)
            status = 0
        finally:
            os._exit(status)
    _, status = os.waitpid(process, 0)
    assert os.WIFSIGNALED(status) or status == 0
    return os.WTERMSIG(status) if status else 0


def shards_of(path):
    """Return how many shards are whole."""
    return sum(os.path.exists(f"{path}/{name}/shard.json") for name in os.listdir(path))


def main(folder):
    path, progress = f"{folder}/killed", []
    for kind, what, shards in POINTS:
        assert forked(path, kind, what) == signal.SIGKILL, f"the writer did not come to {kind} {what}"
        progress.append(shards_of(path))
        assert shards in (None, progress[-1]), f"{progress[-1]} shards at {kind} {what}"
    assert [forked(each) for each in (path, f"{folder}/whole")] == [0, 0]
    print(json.dumps(progress))


if __name__ == "__main__":
    main(os.path.realpath(sys.argv[1]))
