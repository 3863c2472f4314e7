"""What a runtime's process runs: one file, opened, run and measured. Arrays come and go in .npz files."""

import pathlib
import time

import numpy as np

from keras_distill.export import arrays
from keras_distill.export.runtimes.table import runtime_class

_TIMED_RUNS = 50
_TIMED_SECONDS = 3.0
_WARM_UP_RUNS = 5
_opened = {}


def open_file(runtime, path):
    """Open a file, one thread; return the dtypes of its inputs and outputs."""
    kind = runtime_class(runtime)
    kind.require()
    _opened.update(kind=kind, path=path, memory_before=_memory(reset=True))
    _opened["runtime"] = kind(path)
    return {"input_dtypes": _opened["runtime"].input_dtypes, "output_dtypes": _opened["runtime"].output_dtypes}


def run(inputs, outputs):
    """Run the batch in the file `inputs` and write what comes out to the file `outputs`."""
    arrays.save(outputs, _opened["runtime"](arrays.load(inputs)))


def measure(inputs, threads):
    """Return facts, peak memory and latency of one sample; of several counts of threads if the runtime takes them.

    Args:
        inputs: str, a file of one sample.
        threads: list of int, the first of them 1.

    Returns:
        dict: `facts`; `peak_memory`, bytes that opening and running the file took, None where the system does not
        tell; `latency`, dict of the count of threads, a str, to median, 10th and 90th percentile in microseconds.
    """
    sample, runtime = arrays.load(inputs), _opened["runtime"]
    latency = {"1": _latency(runtime.prepared(sample))}
    after = _memory()
    if runtime.takes_threads:
        kind, path = _opened["kind"], _opened["path"]
        latency |= {str(count): _latency(kind(path, count).prepared(sample)) for count in threads if count != 1}
    peak = None if after is None else max(after["peak"] - _opened["memory_before"]["now"], 0)
    return {"facts": runtime.facts(), "peak_memory": peak, "latency": latency}


def _latency(invoke):
    for _ in range(_WARM_UP_RUNS):
        invoke()
    times, end = [], time.perf_counter() + _TIMED_SECONDS
    while len(times) < _TIMED_RUNS and (not times or time.perf_counter() < end):
        start = time.perf_counter()
        invoke()
        times.append(time.perf_counter() - start)
    return [float(quantile) * 1e6 for quantile in np.quantile(times, (0.5, 0.1, 0.9))]


def _memory(reset=False):
    """Return resident bytes, now and at their peak, or None where the system does not tell."""
    try:
        if reset:
            pathlib.Path("/proc/self/clear_refs").write_text("5")
        lines = pathlib.Path("/proc/self/status").read_text().splitlines()
    except OSError:
        return None
    held = {
        key: 1024 * int(rest.split()[0]) for key, _, rest in (line.partition(":") for line in lines) if key[:2] == "Vm"
    }
    return {"now": held["VmRSS"], "peak": held["VmHWM"]}
