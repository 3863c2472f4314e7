"""A process that answers requests, and may crash or hang: that costs one file, no more."""

import json
import os
import pathlib
import signal
import subprocess
import sys
import threading

_WORKER = pathlib.Path(__file__).with_name("worker.py")


class ProcessError(RuntimeError):
    """A request that failed; `log` is what the process printed meanwhile."""

    def __init__(self, reason, log):
        super().__init__(reason)
        self.log = log


class Process:
    """A Python process that runs the functions of one module.

    It starts at the first request, starts anew at the next one after a crash, and ends with the `with` block.
    """

    def __init__(self, module, log, time_limit):
        """Start nothing yet.

        Args:
            module: str, full name of a module whose functions take and return JSON types.
            log: path of a file for what the process prints.
            time_limit: float, seconds that a request may take before the process is killed.
        """
        self._module, self._log, self._time_limit = module, pathlib.Path(log), time_limit
        self._process = None

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        self.end()

    def ask(self, function, **arguments):
        """Return `function(**arguments)`, run in the process.

        Raises:
            ProcessError: if the function raised, its process died, or took longer than the time limit.
        """
        if self._process is None:
            self._process = self._start()
        log_start = self._log.stat().st_size
        reply, expired = self._exchange(json.dumps({"function": function, "arguments": arguments}))
        log = self._log.read_bytes()[log_start:].decode(errors="replace")
        if not reply:
            how = self.end()
            limit = f"it took longer than {self._time_limit:g} s and was stopped"
            raise ProcessError(limit if expired else f"its process died, {how}", log)
        answer = json.loads(reply)
        if "error" in answer:
            raise ProcessError(answer["error"], log)
        return answer["value"]

    def end(self):
        """End the process, if it runs, and say how it ended."""
        process, self._process = self._process, None
        return _ended(process) if process else "before it started"

    def _exchange(self, line):
        """Return the reply, an empty string if the process is gone, and whether it was killed for its slowness."""
        expired = threading.Event()
        timer = threading.Timer(self._time_limit, lambda: (expired.set(), self._process.kill()))
        timer.start()
        try:
            print(line, file=self._process.stdin, flush=True)
            return self._process.stdout.readline(), expired.is_set()
        except BrokenPipeError:
            return "", expired.is_set()
        finally:
            timer.cancel()

    def _start(self):
        # The child finds the same packages, wherever the parent found them, and leaves accelerators to the parent.
        path = os.pathsep.join(entry for entry in sys.path if entry)
        environment = {**os.environ, "PYTHONPATH": path, "CUDA_VISIBLE_DEVICES": "-1"}
        with open(self._log, "ab") as log:
            return subprocess.Popen(
                [sys.executable, str(_WORKER), self._module],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                env=environment,
                text=True,
            )


def _ended(process):
    """Wait for a process that is ending, kill it if it will not, and describe its end."""
    try:
        process.stdin.close()
    except BrokenPipeError:
        pass
    try:
        status = process.wait(timeout=1)
    except subprocess.TimeoutExpired:
        process.kill()
        status = process.wait()
    process.stdout.close()
    return f"by signal {signal.Signals(-status).name}" if status < 0 else f"with exit status {status}"
