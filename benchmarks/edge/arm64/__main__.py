"""Run students on arm64: compare LiteRT's aarch64 build under qemu with LiteRT on this machine.

    python -m benchmarks.edge.arm64 FILE.tflite ... --data samples.npz --work DIRECTORY

`samples.npz` holds one array per input of the files, by the inputs' names, samples first, floats as the student was
trained on. The first run puts an arm64 Debian with Python (80 MB) and the aarch64 wheels of LiteRT and NumPy there.
Needs qemu-user-static and mmdebstrap, on Debian `apt-get install qemu-user-static mmdebstrap`, but no binfmt. A file
takes about 10 seconds; times under qemu do not predict those of a device and are not printed. Expected: all top-1
answers agree; int8 and int16x8 files are bit-identical with the reference kernels and with XNNPACK; float files are
within 1e-5.
"""

import argparse
import pathlib
import tempfile

import numpy as np

from benchmarks.edge import samples
from benchmarks.edge.arm64.machine import PROCESSOR, QEMU, Machine

RUNTIMES = ("litert_reference", "litert")
COLUMNS = (
    "file",
    "loads",
    "top-1: reference",
    "top-1: XNNPACK",
    "reference kernels",
    "XNNPACK: largest difference",
    "XNNPACK: outputs that differ",
)


def main():
    """Run every file under qemu and print the table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.edge.arm64", description=__doc__.splitlines()[0])
    parser.add_argument("files", nargs="+", type=pathlib.Path, metavar="FILE.tflite")
    parser.add_argument("--data", required=True, type=pathlib.Path, help="an .npz file with one array per input")
    parser.add_argument("--work", required=True, type=pathlib.Path, help="folder for the arm64 system")
    parser.add_argument("--samples", type=int, default=300, help="how many samples to run")
    parser.add_argument("--seconds", type=float, default=600.0, help="seconds that one file may take")
    arguments = parser.parse_args()
    data = samples.load(arguments.data, arguments.samples)
    machine = Machine(arguments.work.resolve())
    rows = [row(machine, path.resolve(), data, arguments.seconds) for path in arguments.files]
    samples.print_table(COLUMNS, rows)
    count = len(next(iter(data.values())))
    print(f"\n{count} samples; ai-edge-litert {machine.version}, {QEMU} -cpu {PROCESSOR}, one thread")


def row(machine, path, data, seconds):
    """Return the row of one file."""
    here = {runtime: samples.outputs_here(runtime, path, data) for runtime in RUNTIMES}
    try:
        there = outputs_there(machine, path, data, seconds)
    except RuntimeError as error:
        return [path.name, f"no: {error}", *[""] * (len(COLUMNS) - 2)]
    (reference, far), (xnnpack, most) = (samples.apart(here[runtime], there[runtime]) for runtime in RUNTIMES)
    differ = np.concatenate([(here["litert"][name] != there["litert"][name]).ravel() for name in here["litert"]])
    exact = "bit-identical" if far == 0 else f"{far:.2g} apart"
    return [path.name, "yes", f"{reference:.2%}", f"{xnnpack:.2%}", exact, f"{most:.2g}", f"{differ.mean():.2%}"]


def outputs_there(machine, path, data, seconds):
    """Return what the runtimes make of samples under qemu: dict of runtime to dict of str to float array."""
    with tempfile.TemporaryDirectory() as work:
        inputs = f"{work}/inputs.npz"
        samples.arrays.save(inputs, data)
        requests = []
        for runtime in RUNTIMES:
            requests.append(("open_file", {"runtime": runtime, "path": str(path)}))
            requests.append(("run", {"inputs": inputs, "outputs": f"{work}/{runtime}.npz"}))
        machine.ask(requests, seconds)
        return {runtime: samples.arrays.load(f"{work}/{runtime}.npz") for runtime in RUNTIMES}


if __name__ == "__main__":
    main()
