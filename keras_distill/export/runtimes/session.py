"""The functions that a runtime's process runs: open one file, run it, measure it. Arrays travel in `.npz` files."""

import pathlib
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from keras_distill.export import arrays
from keras_distill.export.runtimes.runtime import runtime_class

_TIMED_RUNS = 50
_TIMED_SECONDS = 3.0
_WARM_UP_RUNS = 5
_opened: dict[str, Any] = {}


def open_file(runtime: str, path: str) -> dict[str, dict[str, str]]:
    """Open a file on one thread; return the dtypes of its inputs and outputs."""
    kind = runtime_class(runtime)
    kind.require()
    _opened.update(kind=kind, path=path, memory_before=_read_memory(reset=True))
    _opened["runtime"] = kind(path)
    return {"input_dtypes": _opened["runtime"].input_dtypes, "output_dtypes": _opened["runtime"].output_dtypes}


def run(inputs: str, outputs: str) -> None:
    """Run the batch in the file `inputs` and write the results to the file `outputs`."""
    arrays.save(outputs, _opened["runtime"](arrays.load(inputs)))


def measure(inputs: str, threads: list[int]) -> dict[str, Any]:
    """Measure one sample, on several numbers of threads if the runtime supports that.

    Args:
        inputs: File of one sample.
        threads: Numbers of threads, the first of them 1.

    Returns:
        Dict of `facts`; of `peak_memory`, the bytes that opening and running the file took, `None` where the system
        does not report it; and of `latency`, a dict of the number of threads, a str, to the median, 10th and 90th
        percentile in microseconds.
    """
    sample, runtime = arrays.load(inputs), _opened["runtime"]
    latency = {"1": _time(runtime.prepared(sample))}
    after = _read_memory()
    if runtime.takes_threads:
        kind, path = _opened["kind"], _opened["path"]
        latency |= {str(count): _time(kind(path, count).prepared(sample)) for count in threads if count != 1}
    peak = None if after is None else max(after["peak"] - _opened["memory_before"]["now"], 0)
    return {"facts": runtime.facts(), "peak_memory": peak, "latency": latency}


def _time(invoke: Callable[[], Any]) -> list[float]:
    for _ in range(_WARM_UP_RUNS):
        invoke()
    times: list[float] = []
    end = time.perf_counter() + _TIMED_SECONDS
    while len(times) < _TIMED_RUNS and (not times or time.perf_counter() < end):
        start = time.perf_counter()
        invoke()
        times.append(time.perf_counter() - start)
    return [float(quantile) * 1e6 for quantile in np.quantile(times, (0.5, 0.1, 0.9))]


def _read_memory(reset: bool = False) -> dict[str, int] | None:
    """Return resident bytes, now and at their peak, or `None` where the system does not report them."""
    try:
        if reset:
            pathlib.Path("/proc/self/clear_refs").write_text("5")
        lines = pathlib.Path("/proc/self/status").read_text().splitlines()
    except OSError:
        return None
    pairs = (line.partition(":")[::2] for line in lines)
    held = {key: 1024 * int(value.split()[0]) for key, value in pairs if key.startswith("Vm")}
    return {"now": held["VmRSS"], "peak": held["VmHWM"]}
