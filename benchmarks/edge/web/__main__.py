"""Run students in a browser: compare LiteRT.js (WebAssembly, one thread, headless Chromium) with LiteRT here.

    python -m benchmarks.edge.web FILE.tflite ... --data samples.npz --work DIRECTORY

`samples.npz` holds one array per input of the files, by the inputs' names, samples first, floats as the student was
trained on. The first run installs Node's packages there. Needs npm and Chromium on the path, and the extra `edge`. A
file takes a few seconds. Expected: float files are within 1e-5 of LiteRT with XNNPACK on this machine, and all top-1
answers agree; files with int8 inputs or a dynamic batch are refused.
"""

import argparse
import json
import pathlib
import tempfile

import numpy as np

from benchmarks.edge import samples
from benchmarks.edge.web import browser
from keras_distill._core.litert import dequantized, interpreter_class, quantized

COLUMNS = ("file", "bytes", "loads", "top-1 as LiteRT", "largest difference", "median latency", "remark")


def main():
    """Run every file in the browser and print the table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.edge.web", description=__doc__.splitlines()[0])
    parser.add_argument("files", nargs="+", type=pathlib.Path, metavar="FILE.tflite")
    parser.add_argument("--data", required=True, type=pathlib.Path, help="an .npz file with one array per input")
    parser.add_argument("--work", type=pathlib.Path, help="folder for Node's packages; a temporary one if not given")
    parser.add_argument("--samples", type=int, default=300, help="how many samples to run")
    parser.add_argument("--browser", help="name or path of the browser; searched for if not given")
    parser.add_argument("--seconds", type=float, default=120.0, help="seconds that one file may take")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as work:
        modules = browser.installed((arguments.work or pathlib.Path(work)).resolve())
        data = samples.load(arguments.data, arguments.samples)
        _print(arguments, modules, [File(path, data) for path in arguments.files])


def _print(arguments, modules, files):
    content = {"/job.json": json.dumps({"files": [file.job(number) for number, file in enumerate(files)]}).encode()}
    for number, file in enumerate(files):
        content |= file.content(number)
    path = browser.found(arguments.browser)
    *posted, last = browser.results(content, modules, path, arguments.seconds)
    if "error" in last:
        raise SystemExit(f"LiteRT.js did not start: {last['error']}")
    rows = [file.row(result, last["microseconds"]) for file, result in zip(files, posted, strict=True)]
    samples.print_table(COLUMNS, rows)
    count = len(next(iter(files[0].inputs.values())))
    print(f"\n{count} samples; {browser.PACKAGE}, {last['browser'].rpartition(') ')[2]}; one thread of WebAssembly")


class File:
    """A file, what it is given, and what LiteRT makes of that here."""

    def __init__(self, path, data):
        """Open the file and run it here."""
        self.path = path
        runner = interpreter_class()(model_path=str(path)).get_signature_runner("serving_default")
        details, self._outputs = runner.get_input_details(), runner.get_output_details()
        chosen = samples.chosen(data, details)
        self.inputs = {name: quantized(array, details[name]) for name, array in chosen.items()}
        self._shapes = {name: [1, *array.shape[1:]] for name, array in self.inputs.items()}
        self._dynamic = any(-1 in detail["shape_signature"] for detail in details.values())
        self._wanted = samples.outputs_here("litert", path, data)

    def job(self, number):
        """Return the description of the file for the page, a dict of JSON types."""
        inputs = [
            {"name": name, "dtype": array.dtype.name, "shape": self._shapes[name], "url": f"/data/{number}/{place}"}
            for place, (name, array) in enumerate(self.inputs.items())
        ]
        return {"url": f"/file/{number}", "inputs": inputs, "count": len(next(iter(self.inputs.values())))}

    def content(self, number):
        """Return what the page fetches, a dict of URL path to bytes."""
        arrays = {f"/data/{number}/{place}": array.tobytes() for place, array in enumerate(self.inputs.values())}
        return {f"/file/{number}": self.path.read_bytes(), **arrays}

    def row(self, result, microseconds):
        """Return the row of the table for what the page posted, and for the times of all files."""
        row = [self.path.name, f"{self.path.stat().st_size:,}", "yes" if result["loads"] else "no"]
        if "reason" in result:
            return [*row, "", "", "", f"refused: {self._nature()}: {' '.join(result['reason'].split())}"]
        outputs = {name: self._output(name, result["rows"]) for name in self._wanted}
        agreement, difference = samples.apart(self._wanted, outputs)
        return [*row, f"{agreement:.2%}", f"{difference:.2g}", f"{microseconds[result['file']]:.0f} µs", ""]

    def _nature(self):
        kinds = sorted({array.dtype.name for array in self.inputs.values()})
        return f"{', '.join(kinds)} input, {'dynamic' if self._dynamic else 'static'} batch"

    def _output(self, name, rows):
        detail = self._outputs[name]
        raw = np.array([row[name] for row in rows]).astype(detail["dtype"])
        return dequantized(raw, detail).reshape(self._wanted[name].shape)


if __name__ == "__main__":
    main()
