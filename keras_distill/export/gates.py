"""Where a file is meant to run: each target's runtime has to agree with the student as well."""

import dataclasses
import itertools

from keras_distill._core.messages import unknown_name
from keras_distill.export import verification
from keras_distill.export.runtimes.remote import RemoteRuntime, require

PASSED = "passed"
_BATCHES = 1  # Reference kernels and microcontrollers' interpreters are slow; differences show on few samples.


@dataclasses.dataclass(frozen=True)
class Target:
    """A kind of device.

    Attributes:
        runtimes: tuple of str, names in `runtimes.RUNTIMES` that must run the file; none if no Python package does.
        formats: tuple of str, runtimes of the formats that are meant for the device.
        elsewhere: str, how to try it where the package cannot.
    """

    runtimes: tuple
    formats: tuple = ("litert",)
    elsewhere: str = ""


TARGETS = {
    "android": Target(runtimes=("litert", "litert_reference")),
    "microcontroller": Target(runtimes=("microcontroller",), formats=("litert", "c_array")),
    "web": Target(runtimes=(), elsewhere="a browser is needed: `python -m benchmarks.edge.web` of the source tree"),
    "arm64": Target(runtimes=(), elsewhere="an arm64 machine is needed, or `python -m benchmarks.edge.arm64`"),
}


def checked(names):
    """Return the names of targets, each once.

    Raises:
        ValueError: if there is no target of that name.
    """
    names = [names] if isinstance(names, str) else list(names)
    for name in names:
        if name not in TARGETS:
            raise ValueError(unknown_name("target", name, TARGETS))
    return list(dict.fromkeys(names))


def pass_through(names, path, entry, source, samples, limits):
    """Run a file on the runtimes of targets.

    Args:
        names: list of str, names in `TARGETS`.
        path: the file, verified already.
        entry: `formats.Format` of it.
        source: `formats.Source` that it was written from.
        samples: `samples.Samples` to compare on; the first batch is taken.
        limits: `verification.Limits`.

    Returns:
        tuple of a dict of the target to `"passed"`, `"failed: <why>"` or `"not run: <why>"`, without the targets that
        files of this format are not meant for; and a dict of what their runtimes know of the file.
    """
    meant_for = [name for name in names if entry.runtime in TARGETS[name].formats]
    some = list(itertools.islice(iter(samples), _BATCHES))
    facts = {}
    return {name: _status(TARGETS[name], path, source, some, limits, facts) for name in meant_for}, facts


def _status(target, path, source, samples, limits, facts):
    if not target.runtimes:
        return f"not run: {target.elsewhere}"
    for runtime in target.runtimes:
        try:
            require(runtime)
        except ImportError as error:
            return f"not run: {error}"
        try:
            complaints = _complaints(runtime, path, source, samples, limits, facts)
        except Exception as error:
            complaints = [f"{error}"]
        if complaints:
            return f"failed: {runtime}: {'; '.join(complaints)}"
    return PASSED


def _complaints(runtime, path, source, samples, limits, facts):
    with RemoteRuntime(runtime, path, source.work, source.time_limit) as opened:
        tallies = verification.compare(source.student, opened, source.signature, samples)
        facts |= opened.measure(samples[0][0], threads=(1,))["facts"]
    found = {name: limits.complaints(name, tally.figures()) for name, tally in tallies.items()}
    return list(itertools.chain.from_iterable(found.values()))


def missing(names, artifacts):
    """Return, of the targets asked for, those that no artefact passed for."""
    return [name for name in names if all(artifact.targets.get(name) != PASSED for artifact in artifacts)]
