"""Run students on the runtime of microcontrollers: compare tflite-micro with LiteRT's reference kernels.

    python -m benchmarks.edge.microcontroller FILE.tflite ... --data samples.npz

`samples.npz` holds one array per input of the files, by the inputs' names, samples first, floats as the student was
trained on. Needs the extra `micro`. A file takes about 2 seconds. Expected: convolutions, poolings and activations are
bit-identical in int8; the outputs of a dense layer, which tflite-micro rounds twice and LiteRT once
(https://github.com/google-ai-edge/LiteRT/issues/8567), differ by one int8 step in about 1 of 1,000. float16 and
dynamic-range files are refused.
"""

import argparse
import pathlib
import tempfile

import numpy as np

from benchmarks.edge import samples
from keras_distill.export.runtimes import remote
from keras_distill.export.worker import ProcessError

COLUMNS = ("file", "bytes", "arena bytes", "top-1 as reference", "outputs that differ", "largest difference", "remark")


def main():
    """Run every file by tflite-micro and print the table."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.edge.microcontroller", description=__doc__.splitlines()[0]
    )
    parser.add_argument("files", nargs="+", type=pathlib.Path, metavar="FILE.tflite")
    parser.add_argument("--data", required=True, type=pathlib.Path, help="an .npz file with one array per input")
    parser.add_argument("--samples", type=int, default=300, help="how many samples to run")
    arguments = parser.parse_args()
    remote.require("microcontroller")
    data = samples.load(arguments.data, arguments.samples)
    samples.print_table(COLUMNS, [row(path, data) for path in arguments.files])


def row(path, data):
    """Return the row of one file."""
    row = [path.name, f"{path.stat().st_size:,}"]
    with tempfile.TemporaryDirectory() as work:
        try:
            with remote.RemoteRuntime("microcontroller", path, work) as runtime:
                inputs = samples.chosen(data, runtime.input_dtypes)
                outputs, arena = runtime(inputs), runtime.measure(inputs)["facts"]["arena_bytes"]
        except ProcessError as error:
            return [*row, "", "", "", "", f"refused: {str(error).rpartition('Received: ')[2]}"]
    reference = samples.outputs_here("litert_reference", path, data)
    agreement, difference = samples.apart(reference, outputs)
    differ = np.concatenate([(reference[name] != outputs[name]).ravel() for name in reference])
    return [*row, f"{arena:,}", f"{agreement:.2%}", f"{differ.sum()} of {differ.size}", f"{difference:.2g}", ""]


if __name__ == "__main__":
    main()
