"""Several workers on this machine, to try out a training for several machines."""

import math
import os
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from typing import Any, TextIO

from keras_distill._core.checked import checked
from keras_distill._core.checks import check_whole_number
from keras_distill.distribution.cluster import VARIABLE, Cluster
from keras_distill.distribution.rendezvous import reserve_ports

_GRACE = 25.0  # Seconds for the other workers to end by themselves after one has failed.
_PAUSE = 0.1


@checked()
def launch(command: Sequence[str], workers: int, out: TextIO | None = None) -> int:
    """Run a command as several workers, and end all of them when one fails.

    Each worker is a process with its own `TF_CONFIG` and a free port of the loopback address. Its output is passed on
    line by line, prefixed with the number of the worker.

    Args:
        command: List of strings, the command of every worker.
        workers: Number of workers, at least 1.
        out: Text stream for the output. Defaults to `None`, `sys.stdout`.

    Returns:
        The largest exit code of the workers that ended by themselves: 0 if all succeeded, or 128 plus the signal number
        for a worker that a signal ended.

    Raises:
        ValueError: If `workers` is not a positive whole number.

    Example:

    >>> command = [sys.executable, "-c", "import os; print(os.environ['TF_CONFIG'][-10:])"]
    >>> launch(command, workers=1)
    worker 0 | ndex": 0}}
    0
    """
    workers = check_whole_number("workers", workers)
    with reserve_ports(workers) as addresses:
        cluster, processes = Cluster(tuple(addresses), 0), []
        try:
            for index in range(workers):
                processes.append(_start(command, cluster.to_json(index)))
            return _watch(processes, out or sys.stdout)
        finally:
            _end(processes)


def _start(command: Sequence[str], config: str) -> subprocess.Popen:
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


def _watch(processes: list[subprocess.Popen], out: TextIO) -> int:
    """Pass on the output of the workers until all have ended; return the largest exit code."""
    codes: dict[int, int] = {}
    lock = threading.Lock()

    def follow(number: Any, process: Any) -> None:
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
            # The other workers notice the failure and report why they stop.
            deadline = time.monotonic() + _GRACE
    # Workers that are killed from here on are not counted; their exit codes would hide the cause.
    return max((code if code >= 0 else 128 - code for code in list(codes.values())), default=0)


def _end(processes: list[subprocess.Popen]) -> None:
    for process in processes:
        if process.poll() is None:
            process.kill()
        process.wait()
