"""Measure time and peak memory of every loss, value and gradient, relative to the plain KL of the same run.

    python -m benchmarks.losses [METHOD ...] [--out benchmarks/results/losses.json]

Losses on logits (256 x 1000 classes) and on embeddings (256 x 512) are compared with the plain KL, losses on feature
maps (256 x 14 x 14 x 256) with the mean squared error. Every loss runs in a process of its own. Times are medians of
interleaved runs, with and without XLA; memory is the peak of the process minus what it held before the first step. All
losses take about 10 minutes on 4 cores.
"""

import argparse
import json
import resource
import statistics
import subprocess
import sys
import time

SHAPES = {
    "logits": (256, 1000),
    "embeddings": (256, 512),
    "contrastive": (256, 512),
    "feature maps": (256, 14, 14, 256),
}
BASELINES = {"feature maps": "fitnet"}
ROUNDS = 7


def measure(name):
    """Time one method beside its baseline in this process."""
    from tests.losses.method_table import METHODS, make

    shape, baseline = SHAPES[METHODS[name].family], BASELINES.get(METHODS[name].family, "kd")
    arguments = {"dataset_size": 50_000, "embedding_width": 128} if name == "crd" else {}
    first = make(baseline, (256, 1000) if baseline == "kd" else shape)
    baselines = {f"baseline_{mode}": _step(first, jit=mode == "xla") for mode in ("graph", "xla")}
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    batch = make(name, shape, **arguments)
    plain = _step(batch, jit=False)
    plain()
    memory = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    times = _interleaved({**baselines, "graph": plain, "xla": _step(batch, jit=True)})
    return {"method": name, "baseline": baseline, "shape": shape, "MiB": memory, **times}


def _step(batch, jit):
    import keras
    import tensorflow as tf

    teacher, student = (
        keras.tree.map_structure(tf.convert_to_tensor, outputs) for outputs in (batch.teacher, batch.student)
    )

    @tf.function(jit_compile=jit)
    def step(teacher, student):
        with tf.GradientTape() as tape:
            tape.watch(student)
            value = batch.compute(teacher, student)
        return value, tape.gradient(value, student)

    def run():
        value, _ = step(teacher, student)
        return value.numpy()

    run()
    return run


def _interleaved(steps):
    times = {name: [] for name in steps}
    for _ in range(ROUNDS):
        for name, step in steps.items():
            start = time.perf_counter()
            step()
            times[name].append(1000 * (time.perf_counter() - start))
    return {f"{name}_ms": statistics.median(each) for name, each in times.items()}


def main():
    """Measure each method in a process of its own, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("methods", nargs="*")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    parser.add_argument("--out", help="JSON file for the figures")
    options = parser.parse_args()
    if options.one:
        print(json.dumps(measure(options.one)))
        return
    from tests.losses.method_table import METHODS

    rows = []
    print(f"{'':38}{'times the baseline':>20}")
    print(f"{'method':18}{'graph ms':>10}{'XLA ms':>10}{'graph':>10}{'XLA':>10}{'peak MiB':>10}   baseline, shape")
    for name in options.methods or METHODS:
        command = [sys.executable, "-m", "benchmarks.losses", "--one", name]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            print(f"{name:18} failed: {done.stderr.strip().splitlines()[-1]}")
            continue
        row = json.loads(done.stdout.splitlines()[-1])
        rows.append(row)
        ratios = [row[f"{mode}_ms"] / row[f"baseline_{mode}_ms"] for mode in ("graph", "xla")]
        times = f"{row['graph_ms']:10.2f}{row['xla_ms']:10.2f}{ratios[0]:10.1f}{ratios[1]:10.1f}{row['MiB']:10.0f}"
        print(f"{name:18}{times}   {row['baseline']}, {' x '.join(map(str, row['shape']))}", flush=True)
    if options.out:
        from benchmarks.environment import write

        write(options.out, {"rounds": ROUNDS, "rows": rows})


if __name__ == "__main__":
    main()
