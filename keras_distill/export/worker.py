"""A process that answers requests, so that a crash or a hang costs one file and not the caller.

Both sides are here. `Process` runs this file as a script, and the script answers requests by the functions of one
module of this package. Each request is one line of JSON on standard input, each reply one on standard output. The
script imports the module without the `__init__.py` files above it: Keras and TensorFlow take seconds to import, and
their memory would be counted as that of the file being measured.
"""

import importlib
import json
import os
import pathlib
import signal
import subprocess
import sys
import threading
import types
from typing import IO, Any, cast


class ProcessError(RuntimeError):
    """A request that failed.

    Attributes:
        log: What the process printed while it handled the request.
    """

    def __init__(self, reason: str, log: str):
        super().__init__(reason)
        self.log = log


class Process:
    """A Python process that runs the functions of one module.

    The process starts with the first request, starts again with the first request after a crash, and ends with the
    `with` block.

    Args:
        module: Full name of a module whose functions take and return JSON types.
        log: Path of a file that collects what the process prints.
        time_limit: Seconds that a request may take before the process is killed.
    """

    def __init__(self, module: str, log: str | os.PathLike, time_limit: float):
        self._module, self._log, self._time_limit = module, pathlib.Path(log), time_limit
        self._process: subprocess.Popen[str] | None = None

    def __enter__(self):
        return self

    def __exit__(self, *exception: Any) -> None:
        self.end()

    def ask(self, function: str, **arguments: Any) -> Any:
        """Return `function(**arguments)`, run in the process.

        Raises:
            ProcessError: If the function raised, the process died, or the request took longer than the time limit.
        """
        if self._process is None:
            self._process = self._start()
        log_start = self._log.stat().st_size
        request = json.dumps({"function": function, "arguments": arguments})
        reply, expired = _exchange(self._process, request, self._time_limit)
        log = self._log.read_bytes()[log_start:].decode(errors="replace")
        if not reply:
            how = self.end()
            limit = f"it took longer than {self._time_limit:g} s and was stopped"
            raise ProcessError(limit if expired else f"its process died, {how}", log)
        answer = json.loads(reply)
        if "error" in answer:
            raise ProcessError(answer["error"], log)
        return answer["value"]

    def end(self) -> str:
        """End the process if it runs, and return how it ended."""
        process, self._process = self._process, None
        return _end(process) if process else "before it started"

    def _start(self) -> subprocess.Popen[str]:
        # The child finds the same packages, wherever the parent found them, and leaves accelerators to the parent.
        path = os.pathsep.join(entry for entry in sys.path if entry)
        environment = {**os.environ, "PYTHONPATH": path, "CUDA_VISIBLE_DEVICES": "-1"}
        with open(self._log, "ab") as log:
            return subprocess.Popen(
                [sys.executable, __file__, self._module],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                env=environment,
                text=True,
            )


def _exchange(process: subprocess.Popen[str], line: str, time_limit: float) -> tuple[str, bool]:
    """Return the reply, empty if the process is gone, and whether the process was killed for exceeding the limit."""
    expired = threading.Event()

    def stop() -> None:
        expired.set()
        process.kill()

    timer = threading.Timer(time_limit, stop)
    timer.start()
    try:
        print(line, file=process.stdin, flush=True)
        return cast(IO[str], process.stdout).readline(), expired.is_set()
    except BrokenPipeError:
        return "", expired.is_set()
    finally:
        timer.cancel()


def _end(process: subprocess.Popen[str]) -> str:
    """Wait for a process to end, kill it if it does not, and describe its end."""
    try:
        cast(IO[str], process.stdin).close()
    except BrokenPipeError:
        pass
    try:
        status = process.wait(timeout=1)
    except subprocess.TimeoutExpired:
        process.kill()
        status = process.wait()
    cast(IO[str], process.stdout).close()
    return f"by signal {signal.Signals(-status).name}" if status < 0 else f"with exit status {status}"


def main(module: str) -> None:
    """Answer requests by the functions of a module until standard input ends."""
    stub_packages(pathlib.Path(__file__).resolve().parents[1])
    # Converters and runtimes print on descriptor 1 too, which is reserved for replies.
    replies = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    functions = importlib.import_module(module)
    for line in sys.stdin:
        print(json.dumps(_answer(functions, json.loads(line))), file=replies, flush=True)


def stub_packages(package: pathlib.Path) -> None:
    """Make the modules of the package importable without running its `__init__.py` and that of `export`."""
    # The folder of this script would hide packages that have the names of its files.
    sys.path.pop(0)
    for folder in (package, package / "export"):
        name = ".".join(folder.relative_to(package.parent).parts)
        sys.modules[name] = types.ModuleType(name)
        sys.modules[name].__path__ = [str(folder)]


def _answer(functions: types.ModuleType, request: dict[str, Any]) -> dict[str, Any]:
    try:
        return {"value": getattr(functions, request["function"])(**request["arguments"])}
    except Exception as error:
        return {"error": f"{type(error).__name__}: {error}"}


if __name__ == "__main__":
    main(sys.argv[1])
