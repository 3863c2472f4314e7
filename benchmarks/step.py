"""Measure what a training step costs beyond its arithmetic: ours, one written by hand, and `keras.distillation`'s.

    python -m benchmarks.step [--rounds 60] [--threads 1] [--out benchmarks/results/step.json]

A convolutional teacher of 1.4 million parameters teaches a student of 24 thousand in batches of 128 with Adam, by the
training function that `fit` calls, with 1 and 32 steps per execution. Times are processor times of one thread; the
figures are medians, over interleaved rounds, of the ratios within a round. Takes about 3 minutes.

The bars: with logits alone, at most 1.02 times the step written by hand, and no more than the teacher's forward pass
and the plain student's step measured separately; with one feature loss, at most 1.05 times logits alone, and 1.2 times
faster than `keras.distillation`.
"""

import argparse

from benchmarks import timing

# Name of a ratio -> what is measured, relative to the sum of what, and the bar.
RATIOS = {
    "logits / by hand": ("logits", ("by hand",), 1.02),
    "logits / (teacher + student alone)": ("logits", ("teacher alone", "student alone"), 1.0),
    "by hand / (teacher + student alone)": ("by hand", ("teacher alone", "student alone"), None),
    "with feature / logits": ("with feature", ("logits",), 1.05),
    "with feature / peer's": ("with feature", ("keras, with feature",), 1 / 1.2),
    "logits / peer's": ("logits", ("keras, logits",), None),
    "logits / student alone": ("logits", ("student alone",), None),
}


def variants(steps_per_execution):
    """Return a dict of name to a function that runs one execution."""
    import keras

    from benchmarks import pairs
    from keras_distill import Distiller
    from keras_distill.losses import FeatureDistillation, LogitsDistillation

    peer, layer = keras.distillation, "stage_2"
    soft, peer_soft = LogitsDistillation(pairs.TEMPERATURE), peer.LogitsDistillation(pairs.TEMPERATURE)
    feature = FeatureDistillation(loss="mse", teacher_layer_name=layer, student_layer_name=layer)
    peer_feature = peer.FeatureDistillation(loss="mse", teacher_layer_name=layer, student_layer_name=layer)
    models = {
        "student alone": lambda: pairs.student(),
        "teacher alone": lambda: pairs.TeacherAlone(pairs.teacher()),
        "by hand": lambda: pairs.ByHand(pairs.teacher(), pairs.student()),
        "logits": lambda: Distiller(pairs.teacher(), pairs.student(), soft),
        "with feature": lambda: Distiller(pairs.teacher(), pairs.student(), [soft, feature]),
        "keras, logits": lambda: peer.Distiller(pairs.teacher(), pairs.student(), peer_soft),
        "keras, with feature": lambda: peer.Distiller(pairs.teacher(), pairs.student(), [peer_soft, peer_feature]),
    }
    return {name: _compiled(make, steps_per_execution, own=name in _OWN_STEPS) for name, make in models.items()}


_OWN_STEPS = ("teacher alone", "by hand")


def _compiled(make, steps_per_execution, own):
    import keras

    from benchmarks import pairs

    keras.utils.set_random_seed(0)
    model = make()
    # Keras complains of a loss that a step of one's own does not compute.
    loss = None if own else pairs.hard_labels()
    model.compile(keras.optimizers.Adam(1e-3), loss, steps_per_execution=steps_per_execution, jit_compile=False)
    return timing.stepping(model, pairs.batches())


def measure(steps_per_execution, rounds):
    """Return the milliseconds of a step of each variant, and the ratios, a dict."""
    times = timing.interleaved(variants(steps_per_execution), rounds, calls=max(8 // steps_per_execution, 1))
    ratios = {
        name: {
            "processor": timing.ratio(times, one, *others),
            "wall": timing.ratio(times, one, *others, clock=1),
            "bar": bar,
        }
        for name, (one, others, bar) in RATIOS.items()
    }
    ms = {name: timing.milliseconds(each) / steps_per_execution for name, each in times.items()}
    return {"steps_per_execution": steps_per_execution, "ms": ms, "ratios": ratios}


def main():
    """Measure, print the tables, write the file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=60)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--steps-per-execution", type=int, nargs="+", default=[1, 32])
    parser.add_argument("--out", help="JSON file for the figures")
    options = parser.parse_args()
    timing.limit_threads(options.threads)
    found = []
    for steps in options.steps_per_execution:
        found.append(measure(steps, options.rounds if steps == 1 else max(options.rounds // 4, 5)))
        print(f"\n{steps} steps per execution")
        for name, ms in found[-1]["ms"].items():
            print(f"{name:40}{ms:9.2f} ms")
        for name, each in found[-1]["ratios"].items():
            bar = "" if each["bar"] is None else f"   bar {each['bar']:.2f}"
            print(f"{name:40}{each['processor']:9.3f}   wall {each['wall']:.3f}{bar}")
    if options.out:
        from benchmarks.environment import write

        write(options.out, {"rounds": options.rounds, "threads": options.threads, "measured": found})


if __name__ == "__main__":
    main()
