"""Check whether the peak memory of a training step can be predicted: compare an estimate with measurements.

    python -m benchmarks.memory [--out benchmarks/results/memory.json]

The estimate adds up what a step must hold: weights, gradients, the optimizer's slots, the outputs of all layers of the
student, the largest two consecutive ones of the teacher, and the batch. The measurement is the peak (VmHWM) of a
separate process in three steps, minus what it held before the models were built. Takes a minute or two. The package
would offer `estimate_memory` if all estimates were within 20 %. They are not, because TensorFlow's workspaces and
allocator take memory that no shape predicts, so it does not.
"""

import argparse
import json
import math
import subprocess
import sys

from benchmarks import timing

CASES = {  # Name -> kind of model, batch, whether there is a feature loss.
    "dense, batch 256": ("dense", 256, False),
    "dense, batch 4096": ("dense", 4096, False),
    "convolutions, batch 128": ("convolutions", 128, False),
    "convolutions, batch 1024": ("convolutions", 1024, False),
    "convolutions and feature, batch 1024": ("convolutions", 1024, True),
}


def _models(kind):
    import keras

    from benchmarks import pairs

    if kind == "convolutions":
        return pairs.teacher(), pairs.student()

    def dense(width):
        hidden = [keras.layers.Dense(width, "relu", name=f"stage_{index}") for index in range(4)]
        flat = keras.layers.Flatten()
        return keras.Sequential([keras.Input((pairs.SIDE, pairs.SIDE, 1)), flat, *hidden, keras.layers.Dense(10)])

    return dense(1024), dense(512)


def measure(name):
    """Return the measured and the estimated MB of a case."""
    import keras
    import tensorflow as tf

    from benchmarks import pairs
    from keras_distill import Distiller
    from keras_distill.losses import FeatureDistillation, LogitsDistillation

    kind, batch, feature = CASES[name]
    data = pairs.batches(batch, 1)
    tf.matmul(tf.ones((8, 8)), tf.ones((8, 8)))
    with open("/proc/self/clear_refs", "w") as file:
        file.write("5")  # The peak is from now on.
    before = _status("VmRSS")
    teacher, student = _models(kind)
    losses = [LogitsDistillation(4.0)]
    if feature:
        losses.append(FeatureDistillation("mse", teacher_layer_name="stage_2", student_layer_name="stage_2"))
    distiller = Distiller(teacher, student, losses)
    distiller.compile(keras.optimizers.Adam(), pairs.hard_labels(), jit_compile=False)
    step = timing.stepping(distiller, data)
    for _ in range(3):
        step()
    return {"case": name, "MB": (_status("VmHWM") - before) / 1e3, "estimated_MB": estimate(teacher, student, batch)}


def estimate(teacher, student, batch):
    """Return the MB that the shapes tell."""
    of_teacher, of_student = ([_size(layer.output) for layer in model.layers] for model in (teacher, student))
    pairs_of_teacher = [a + b for a, b in zip(of_teacher, of_teacher[1:], strict=False)]
    weights = teacher.count_params() + 4 * student.count_params()  # Weights, gradients and Adam's two slots.
    activations = 2 * sum(of_student) + max(pairs_of_teacher) + _size(student.inputs[0])
    return 4 * (weights + batch * activations) / 1e6


def _size(tensor):
    return math.prod(tensor.shape[1:])


def _status(field):
    with open("/proc/self/status") as file:
        return next(int(line.split()[1]) * 1.024 for line in file if line.startswith(field))


def main():
    """Measure each case in a process of its own, print the table, write the file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--one", help=argparse.SUPPRESS)
    parser.add_argument("--out", help="JSON file for the figures")
    options = parser.parse_args()
    timing.limit_threads(2)
    if options.one:
        print(json.dumps(measure(options.one)))
        return
    rows = []
    print(f"{'':40}{'MB':>8}{'estimate':>10}{'error':>8}")
    for name in CASES:
        command = [sys.executable, "-m", "benchmarks.memory", "--one", name]
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
        row = json.loads(done.stdout.splitlines()[-1])
        row["error"] = row["estimated_MB"] / row["MB"] - 1.0
        rows.append(row)
        print(f"{name:40}{row['MB']:8.0f}{row['estimated_MB']:10.0f}{100 * row['error']:7.0f}%", flush=True)
    if options.out:
        from benchmarks.environment import write

        write(options.out, {"bar": 0.2, "rows": rows})


if __name__ == "__main__":
    main()
