"""Measure what `import keras_distill` costs beyond `import keras`, on both backends.

    python -m benchmarks.import_time [--rounds 5] [--out benchmarks/results/import_time.json]

Each round is a process of its own, on one core. Times are processor times, so that slow disks and other work on the
machine do not count. Our modules are compiled before, as pip does; compiling takes three times as long as importing.
Takes about a minute. The bar: 0.3 s at most. Measured on a busy machine: 0.10 s on TensorFlow and 0.06 s on JAX, where
Keras itself took 6.4 and 3.4 s.
"""

import argparse
import compileall
import json
import os
import pathlib
import statistics
import subprocess
import sys

PACKAGE = pathlib.Path(__file__).parent.parent / "keras_distill"

# A collection of all that Keras has allocated takes as long as five imports of ours, and falls to whoever allocates the
# object that is one too many.
_SCRIPT = """
import gc, sys, time
gc.disable()
before = time.process_time(), time.perf_counter()
import keras
between, known = (time.process_time(), time.perf_counter()), {*sys.modules}
import keras_distill
after = time.process_time(), time.perf_counter()
import json
print(json.dumps({
    "keras": between[0] - before[0], "keras_wall": between[1] - before[1],
    "keras_distill": after[0] - between[0], "keras_distill_wall": after[1] - between[1],
    "modules": sorted({each.split(".")[0] for each in {*sys.modules} - known} - {"keras_distill"}),
    "tensorflow": "tensorflow" in known,
}))
"""


def measure(backend="tensorflow"):
    """Import both in a process of its own; return the seconds of each, and which packages ours brings in."""
    compileall.compile_dir(PACKAGE, quiet=1)
    environment = {**os.environ, "KERAS_BACKEND": backend, "OMP_NUM_THREADS": "1", "TF_CPP_MIN_LOG_LEVEL": "3"}
    command = [sys.executable, "-c", _SCRIPT]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    return json.loads(done.stdout.splitlines()[-1])


def main():
    """Measure on each backend, print the medians, write the file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--out", help="JSON file for the figures")
    options = parser.parse_args()
    rows = []
    for backend in ("tensorflow", "jax"):
        rounds = [measure(backend) for _ in range(options.rounds)]
        medians = {name: statistics.median(each[name] for each in rounds) for name in rounds[0] if name[:5] == "keras"}
        rows.append({"backend": backend, **medians, **{name: rounds[0][name] for name in ("modules", "tensorflow")}})
        print(f"{backend:12} keras {medians['keras']:.2f} s, keras_distill {medians['keras_distill']:.3f} s more")
        print(f"{'':12} brings in {', '.join(rows[-1]['modules'])}")
        print(f"{'':12} Keras has TensorFlow imported: {rows[-1]['tensorflow']}")
    if options.out:
        from benchmarks.environment import write

        write(options.out, {"rounds": options.rounds, "bar": 0.3, "rows": rows})


if __name__ == "__main__":
    main()
