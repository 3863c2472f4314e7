"""Several workers on this machine, for trying out what is meant for several machines."""

import math
import os
import subprocess
import sys
import threading
import time

from keras_distill._core.messages import expected
from keras_distill.distribution.cluster import VARIABLE, Cluster
from keras_distill.distribution.rendezvous import reserved

_GRACE = 25.0  # Seconds that the others have to end by themselves when one has failed.
_PAUSE = 0.1


def launch(command, workers, out=None):
    """Run a command as several workers, and end all of them when one fails.

    Each is a process with a `TF_CONFIG` of its own on a free port of the loopback address. Their lines come out as
    they are written, behind the number of the worker.

    Args:
        command: List of strings, the command of every worker.
        workers: How many, at least 1.
        out: Text stream for their lines. Defaults to `None`, `sys.stdout`.

    Returns:
        The greatest exit code of those that ended by themselves, 0 where none failed. One that a signal ended counts
        as 128 and the signal's number.

    Raises:
        ValueError: If `workers` is no positive whole number.

    Example:

    >>> command = [sys.executable, "-c", "import os; print(os.environ['TF_CONFIG'][-10:])"]
    >>> launch(command, workers=1)
    worker 0 | ndex": 0}}
    0
    """
    if isinstance(workers, bool) or not isinstance(workers, int) or workers < 1:
        raise ValueError(expected("`workers` to be a positive whole number", repr(workers)))
    with reserved(workers) as addresses:
        cluster, processes = Cluster(tuple(addresses), 0), []
        try:
            for index in range(workers):
                processes.append(_start(command, cluster.to_json(index)))
            return _watch(processes, out or sys.stdout)
        finally:
            _end(processes)


def _start(command, config):
    return subprocess.Popen(
        command,
        env={**os.environ, VARIABLE: config},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        stdin=subprocess.DEVNULL,
        text=True,
        encoding="utf-8",
        errors="replace",
    )


def _watch(processes, out):
    """Hand on what the workers write until all have ended; return the exit code of the worst."""
    codes, lock = {}, threading.Lock()

    def follow(number, process):
        for line in process.stdout:
            with lock:
                print(f"worker {number} | {line.rstrip()}", file=out, flush=True)
        codes[number] = process.wait()

    followers = [threading.Thread(target=follow, args=pair, daemon=True) for pair in enumerate(processes)]
    for follower in followers:
        follower.start()
    deadline = math.inf
    while any(follower.is_alive() for follower in followers) and time.monotonic() < deadline:
        time.sleep(_PAUSE)
        if deadline == math.inf and any(list(codes.values())):
            # The others notice it, and say why they stop.
            deadline = time.monotonic() + _GRACE
    # Not the codes of those that are ended now: they would hide why.
    return max((code if code >= 0 else 128 - code for code in list(codes.values())), default=0)


def _end(processes):
    for process in processes:
        if process.poll() is None:
            process.kill()
        process.wait()
