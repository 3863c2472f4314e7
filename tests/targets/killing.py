"""Kill a writer at random moments until it has been killed often enough, then let it finish. Run by `test_resume.py`.

    python killing.py FOLDER KILLS

Everything is imported once; each writer is a fork of this process, which has run nothing of TensorFlow itself.
"""

import json
import os
import random
import signal
import sys
import time

import numpy as np

from keras_distill import targets

EXAMPLES, BATCH, SHARD, SECONDS = 2880, 8, 16, 0.008


def slow(signals=None):
    """A teacher that takes its time, and says when it is asked first."""
    said = []

    def teacher(x):
        if signals is not None and len(said) == 2:  # Past the trial on the first batch, into the writing.
            os.write(signals, b"!")
        said.append(True)
        time.sleep(SECONDS)
        return np.stack([x.sum(-1), x[:, 0], x[:, 1] * 3.0], -1)

    return teacher


def write(path, signals=None):
    x = np.random.default_rng(0).normal(size=(EXAMPLES, 4)).astype("float32")
    targets.write(slow(signals), x, path, batch_size=BATCH, shard_size=SHARD, name="noise")


def forked(path):
    """Start a writer; return its process id and what it signals through."""
    read, written = os.pipe()
    process = os.fork()
    if process == 0:
        os.close(read)
        status = 1
        try:
            write(path, written)
            status = 0
        finally:
            os._exit(status)
    os.close(written)
    return process, read


def killed(path, generator):
    """Let a writer live for a moment; return whether it was killed and how many shards there are."""
    process, signals = forked(path)
    if generator.random() < 0.7:
        os.read(signals, 1)
        time.sleep(generator.uniform(0.0, 0.12))
    else:
        time.sleep(generator.uniform(0.0, 1.2))  # While it starts, plans, or reads past what is finished.
    os.kill(process, signal.SIGKILL)
    _, status = os.waitpid(process, 0)
    os.close(signals)
    shards = sum(os.path.exists(f"{path}/{name}/shard.json") for name in os.listdir(path)) if os.path.isdir(path) else 0
    return os.WIFSIGNALED(status), shards


def main(folder, kills):
    generator, progress = random.Random(0), []
    for _ in range(kills):
        was_killed, shards = killed(f"{folder}/killed", generator)
        assert was_killed, "the writer finished before it was killed"
        progress.append(shards)
    for name in ("killed", "whole"):
        process, signals = forked(f"{folder}/{name}")
        assert os.waitpid(process, 0)[1] == 0
        os.close(signals)
    print(json.dumps({"kills": len(progress), "progress": progress}))


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
