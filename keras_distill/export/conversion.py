"""Converting in a process of its own: some graphs crash the converter, and a crash must cost one format, no more."""

import json
import os
import pathlib
import signal
import subprocess
import sys


class ConversionError(RuntimeError):
    """A conversion that failed; `log` is what the converter printed."""

    def __init__(self, reason, log):
        super().__init__(reason)
        self.log = log


class Converter:
    """A converter process: started at the first conversion, restarted after a crash, ended with the `with` block.

    Starting costs an import of TensorFlow, seconds; so the formats of one export share a process.
    """

    def __init__(self, work):
        """Keep the process's log in the folder `work`."""
        self._log = pathlib.Path(work) / "conversion.log"
        self._process = None

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        self._end()

    def convert(self, **request):
        """Run `conversion_worker.convert(**request)` in the process.

        Raises:
            ConversionError: if the conversion raised, or its process died.
        """
        if self._process is None:
            self._process = self._start()
        log_start = self._log.stat().st_size
        reply = self._ask(json.dumps(request))
        log = self._log.read_bytes()[log_start:].decode(errors="replace")
        if not reply:
            raise ConversionError(f"the converter's process died, {self._end()}", log)
        error = json.loads(reply)["error"]
        if error is not None:
            raise ConversionError(error, log)

    def _ask(self, line):
        """Return the reply, or an empty string if the process is gone."""
        try:
            print(line, file=self._process.stdin, flush=True)
            return self._process.stdout.readline()
        except BrokenPipeError:
            return ""

    def _start(self):
        # The child finds the same packages, wherever the parent found them, and leaves accelerators to the parent.
        path = os.pathsep.join(entry for entry in sys.path if entry)
        environment = {**os.environ, "PYTHONPATH": path, "CUDA_VISIBLE_DEVICES": "-1"}
        with open(self._log, "ab") as log:
            return subprocess.Popen(
                [sys.executable, "-m", "keras_distill.export.conversion_worker"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                env=environment,
                text=True,
            )

    def _end(self):
        """End the process and say how it ended."""
        process, self._process = self._process, None
        return _ended(process) if process else "before it started"


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
