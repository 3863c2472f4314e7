"""Measure how a training step scales with the batch, the classes, the teacher, and the number of losses.

    python -m benchmarks.growth [--rounds 7] [--out benchmarks/results/growth.json]

The models are the pair of `benchmarks.step`, with one size changed at a time. In the same rounds, each step is compared
with its arithmetic: a step written by hand (`pairs.ByHand`) of the same sizes, with one soft cross-entropy however many
losses ours has. Times are processor times of one thread, medians over interleaved rounds. The plot growth.svg is
written next to the JSON file. Takes about a minute and a half, and 2 GB of memory.

The bar: the ratio to the arithmetic stays constant as the batch, the classes and the teacher grow, and grows with the
number of losses by no more than each of them costs. Expect 1.0 to 1.1, and 1.1 to 1.3 for more losses.
"""

import argparse
import pathlib

from benchmarks import timing

AXES = {
    "batch size": (16, 64, 256, 512),
    "classes": (10, 1_000, 10_000, 100_000),
    "teacher scale": (1, 2, 3),
    "losses": (1, 2, 4, 8),
}
_DEFAULTS = {"batch size": 64, "classes": 10, "teacher scale": 1, "losses": 1}


def steps_of(sizes):
    """Return functions that run one step of our distiller and of the one written by hand, at some sizes."""
    import keras

    from benchmarks import pairs
    from keras_distill import Distiller
    from keras_distill.losses import LogitsDistillation

    batch, classes, scale, losses = (sizes[name] for name in AXES)
    data = pairs.batches(batch, 2, classes)

    def models():
        keras.utils.set_random_seed(0)
        return pairs.teacher(classes, scale), pairs.student(classes)

    def compiled(model, loss=None):
        model.compile(keras.optimizers.Adam(1e-3), loss, jit_compile=False)
        return timing.stepping(model, data)

    soft = [LogitsDistillation(pairs.TEMPERATURE) for _ in range(losses)]
    return {
        "ours": compiled(Distiller(*models(), soft), pairs.hard_labels()),
        "by hand": compiled(pairs.ByHand(*models())),
    }


def measure(rounds):
    """Return a row of figures for each point of each axis."""
    rows = []
    for axis, points in AXES.items():
        for point in points:
            times = timing.interleaved(steps_of({**_DEFAULTS, axis: point}), rounds)
            ms = {name: timing.milliseconds(each) for name, each in times.items()}
            rows.append({"axis": axis, "point": point, **ms, "ratio": timing.ratio(times, "ours", "by hand")})
            print(f"{axis:16}{point:8}{ms['ours']:10.1f}{ms['by hand']:10.1f}{rows[-1]['ratio']:8.2f}", flush=True)
    return rows


def plot(rows, path):
    """Draw the steps and their arithmetic, an axis each, on logarithmic scales."""
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(1, len(AXES), figsize=(12, 3), layout="constrained")
    for axis, name in zip(axes, AXES, strict=True):
        found = [row for row in rows if row["axis"] == name]
        for kind, style in (("ours", "o-"), ("by hand", "s--")):
            axis.loglog([row["point"] for row in found], [row[kind] for row in found], style, label=kind)
        axis.set_xlabel(name)
        axis.set_xticks([row["point"] for row in found], [_short(row["point"]) for row in found])
        axis.minorticks_off()
        axis.set_ylim(min(row["by hand"] for row in rows) / 2, max(row["ours"] for row in rows) * 2)
        axis.grid(alpha=0.3)
    axes[0].set_ylabel("step, ms")
    axes[0].legend()
    figure.savefig(path)


def _short(point):
    return f"{point // 1000}k" if point >= 1000 else str(point)


def main():
    """Measure, print the table, write the file and the plot."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--out", help="JSON file for the figures; the plot is written next to it")
    options = parser.parse_args()
    timing.limit_threads(1)
    print(f"{'':24}{'ours ms':>10}{'hand ms':>10}{'ratio':>8}")
    rows = measure(options.rounds)
    if options.out:
        from benchmarks.environment import write

        write(options.out, {"rounds": options.rounds, "rows": rows})
        plot(rows, pathlib.Path(options.out).with_suffix(".svg"))


if __name__ == "__main__":
    main()
