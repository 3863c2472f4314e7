"""Devices that a file is meant for: the runtime of each has to agree with the student as well."""

import dataclasses
import pathlib
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from keras_distill._core.checks import check_choice
from keras_distill.export import verification
from keras_distill.export.arrays import Arrays
from keras_distill.export.comparison.limits import Limits
from keras_distill.export.conversion.sources import Source
from keras_distill.export.formats import Format
from keras_distill.export.reporting.report import Artifact
from keras_distill.export.runtimes.remote import RemoteRuntime, require
from keras_distill.export.tflite.flatbuffer import list_operators, load_model

PASSED = "passed"
_SAMPLES = 1000
"""Samples to compare on, of all: reference kernels and microcontrollers' interpreters are slow."""
_REFERENCE = "litert_reference"
# How LiteRT says that it has no kernel of an operator, or of its types.
_NO_KERNEL = "Didn't find op for builtin opcode"


@dataclasses.dataclass(frozen=True)
class Device:
    """A kind of device.

    Attributes:
        runtimes: Names in `RUNTIMES` of the runtimes that must run the file; empty if no Python package does.
        formats: Runtimes of the formats that are meant for the device. Defaults to `("litert",)`.
        elsewhere: How to test a file where this package cannot. Defaults to `""`.
    """

    runtimes: tuple[str, ...]
    formats: tuple[str, ...] = ("litert",)
    elsewhere: str = ""


DEVICES = {
    # Phones have LiteRT's default kernels. The reference kernels confirm what these compute, if they can.
    "android": Device(runtimes=("litert", _REFERENCE)),
    "microcontroller": Device(runtimes=("microcontroller",), formats=("litert", "c_array")),
    "web": Device(runtimes=(), elsewhere="a browser is needed: `python -m benchmarks.edge.web` of the source tree"),
    "arm64": Device(runtimes=(), elsewhere="an arm64 machine is needed, or `python -m benchmarks.edge.arm64`"),
}
"""Devices by name."""


def check_devices(names: str | Iterable[str]) -> list[str]:
    """Return the names of devices, each once.

    Raises:
        ValueError: If a name is not in `DEVICES`.
    """
    names = [names] if isinstance(names, str) else list(names)
    return list(dict.fromkeys(check_choice("device", name, DEVICES) for name in names))


def run_on_devices(
    names: Sequence[str],
    path: pathlib.Path,
    entry: Format,
    source: Source,
    samples: Iterable[tuple[Any, Any]],
    count: int,
    limits: Limits,
) -> tuple[dict[str, str], dict[str, Any]]:
    """Run a verified file on the runtimes of devices.

    Args:
        names: Names in `DEVICES`.
        path: The file.
        entry: `Format` of the file.
        source: `Source` that the file was written from.
        samples: `(inputs, labels)` batches to compare on; of many samples, some that are spread evenly are used.
        count: Number of samples in them.
        limits: `Limits` within which the runtimes agree with the student.

    Returns:
        Tuple of a dict of device to `"passed"`, `"failed: <why>"` or `"not run: <why>"`, without the devices that the
        format is not meant for, and a dict of what their runtimes found out about the file.
    """
    meant_for = [name for name in names if entry.runtime in DEVICES[name].formats]
    some = list(thin(samples, -(-count // _SAMPLES))) if meant_for else []
    facts: dict[str, Any] = {}
    return {name: _run(DEVICES[name], path, source, some, limits, facts) for name in meant_for}, facts


def thin(samples: Iterable[tuple[Arrays, Arrays]], step: int) -> Iterator[tuple[Arrays, Arrays]]:
    """Yield batches of every `step`-th sample.

    Example:
        >>> import numpy as np
        >>> batches = [({"x": np.arange(start, start + 5)}, {}) for start in (0, 5, 10)]
        >>> [inputs["x"].tolist() for inputs, _ in thin(batches, 4)]
        [[0, 4], [8], [12]]
    """
    seen = 0
    for batch in samples:
        count = len(next(iter(batch[0].values())))
        first, seen = -seen % step, seen + count
        if first < count:
            inputs, labels = ({name: array[first::step] for name, array in part.items()} for part in batch)
            yield inputs, labels


def _run(device, path, source, samples, limits, facts) -> str:
    """Return the status of a file on one device; add to `facts` what its runtimes found out."""
    if not device.runtimes:
        return f"not run: {device.elsewhere}"
    for runtime in device.runtimes:
        if runtime == _REFERENCE and _is_beyond_reference(path):
            continue
        try:
            require(runtime)
        except ImportError as error:
            return f"not run: {error}"
        try:
            complaints = _compare(runtime, path, source, samples, limits, facts)
        except Exception as error:
            if runtime == _REFERENCE and _NO_KERNEL in f"{error}":
                continue
            complaints = [f"{error}"]
        if complaints:
            return f"failed: {runtime}: {'; '.join(complaints)}"
    return PASSED


def _is_beyond_reference(path: pathlib.Path) -> bool:
    """Return whether a file adds up integers, which LiteRT's reference kernel does wrongly up to version 2.3."""
    found = list_operators(load_model(path))
    return any(name == "SUM" and types[0] in ("INT8", "INT16") for name, types in found)


def _compare(runtime, path, source, samples, limits, facts) -> list[str]:
    with RemoteRuntime(runtime, path, source.work, source.time_limit) as opened:
        tallies = verification.compare(source, opened, samples)
        facts |= opened.measure(samples[0][0], threads=(1,))["facts"]
    return [each for name, tally in tallies.items() for each in limits.complaints(name, tally.figures())]


def find_missing(names: Sequence[str], artifacts: Sequence[Artifact]) -> list[str]:
    """Return the devices on which no artifact passed."""
    return [name for name in names if all(artifact.devices.get(name) != PASSED for artifact in artifacts)]
