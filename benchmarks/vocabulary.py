"""Measure time and peak memory of a training step of a language model with 32,000 classes, for every way to distil it.

    python -m benchmarks.vocabulary [--threads 4] [--rounds 7] [--out benchmarks/results/vocabulary.json]

Batches have 8 x 128 tokens. The student has two causal transformer blocks of width 256, the teacher has the same size,
and the optimizer is Adam. A separate process writes the stores first. Memory is the peak (VmHWM, reset) of a separate
process in its first steps, minus what it held before them with weights and optimizer built. Times are medians of
interleaved rounds in one process. Takes about 8 minutes on 4 cores, and 6 GB of memory.

The bars: a student trained from a top-32 store without its logits ("stored top-32, fused") needs no more memory than
plain cross-entropy, and at most 1.1 times its time. Expect 0.8 to 1.1 times the time, and 10 to 100 MB less.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time

CLASSES, LENGTH, BATCH, WIDTH, BATCHES = 32_000, 128, 8, 256, 4
TEMPERATURE, TOP_K, STEPS = 2.0, 32, 3
BASELINE = "cross-entropy alone"
VARIANTS = (
    BASELINE,
    "keras Distiller",
    "online",
    "online, fused",
    "stored, full width, float16",
    "stored top-32",
    "stored top-32, fused",
    "stored top-32, fused, T = 1",
)


def model(width=WIDTH):
    """Make a causal language model."""
    from keras import Input, Model, layers

    tokens = Input((LENGTH,), dtype="int32")
    x = layers.Embedding(CLASSES, width)(tokens)
    for _ in range(2):
        normed = layers.LayerNormalization()(x)
        x = x + layers.MultiHeadAttention(4, width // 4)(normed, normed, use_causal_mask=True)
        x = x + layers.Dense(width)(layers.Dense(2 * width, activation="gelu")(layers.LayerNormalization()(x)))
    return Model(tokens, layers.Dense(CLASSES, name="lm_head")(layers.LayerNormalization()(x)))


def data():
    """Return a data set of batches of tokens and of those that follow them."""
    import numpy as np
    import tensorflow as tf

    text = np.random.default_rng(0).zipf(1.3, (BATCHES * BATCH, LENGTH + 1)) % CLASSES
    text = text.astype("int32")
    return tf.data.Dataset.from_tensor_slices((text[:, :-1], text[:, 1:])).batch(BATCH, drop_remainder=True)


def teacher():
    """Make the teacher, the same in every process."""
    import keras

    keras.utils.set_random_seed(1)
    made = model()
    made.get_layer("lm_head").kernel.assign(8.0 * made.get_layer("lm_head").kernel)  # Sure of something.
    return made


def write_stores(folder):
    """Ask the teacher once."""
    from keras_distill import targets

    targets.write(teacher(), data(), f"{folder}/top", top_k=TOP_K, temperatures=(1.0, TEMPERATURE))
    targets.write(teacher(), data().take(2), f"{folder}/dense", dtype="float16")


def make(variant, folder):
    """Return a function that trains one step of a variant, its weights and optimizer built."""
    import keras

    from keras_distill import Distiller, targets
    from keras_distill.losses import LogitsDistillation
    from keras_distill.losses.vocabulary import FusedVocabulary

    keras.utils.set_random_seed(0)
    student, dataset = model(), data()
    hard = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    temperature = 1.0 if variant.endswith("T = 1") else TEMPERATURE
    fused = variant.endswith(("fused", "T = 1"))
    loss = LogitsDistillation(temperature)
    if fused:
        loss = FusedVocabulary(temperature, teacher_head="lm_head" if variant.startswith("online") else None)
    if variant == BASELINE:
        trained = student
    elif variant == "keras Distiller":
        loss = keras.distillation.LogitsDistillation(temperature=temperature)
        trained = keras.distillation.Distiller(teacher(), student, loss)
    elif variant.startswith("online"):
        trained = Distiller(teacher(), student, loss)
    else:
        store = targets.open(f"{folder}/{'dense' if 'full width' in variant else 'top'}")
        dataset = store.join(dataset.take(2) if "full width" in variant else dataset)
        trained = Distiller(store, student, loss)
    trained.compile(keras.optimizers.Adam(1e-4), None if fused else hard, jit_compile=False)
    trained.optimizer.build(student.trainable_variables)
    trained.make_train_function()
    batches = iter(dataset.repeat())

    def step():
        return {name: float(value) for name, value in trained.train_function(batches).items()}

    return step


def memory(variant, folder):
    """Return the MB that the first steps need beyond what is there before them."""
    step = make(variant, folder)
    with open("/proc/self/clear_refs", "w") as file:
        file.write("5")  # The peak is from now on.
    before = _status("VmRSS")
    for _ in range(STEPS):
        logs = step()
    return {"MB": (_status("VmHWM") - before) / 1e3, "loss": logs["loss"]}


def _status(field):
    with open("/proc/self/status") as file:
        return next(int(line.split()[1]) * 1.024 for line in file if line.startswith(field))


def times(folder, rounds):
    """Return the seconds of a step of each variant, a list for each."""
    steps = {variant: make(variant, folder) for variant in VARIANTS}
    for step in steps.values():
        step()
    found = {variant: [] for variant in VARIANTS}
    for _ in range(rounds):
        for variant, step in steps.items():
            step()  # Of its own data in the caches.
            start = time.perf_counter()
            step()
            found[variant].append(time.perf_counter() - start)
    return found


def in_process(*arguments, threads):
    """Run a part of this benchmark in a process of its own, and return what it says."""
    command = [sys.executable, "-m", "benchmarks.vocabulary", "--part", *arguments]
    numbers = {"TF_NUM_INTRAOP_THREADS": str(threads), "OMP_NUM_THREADS": str(threads), "TF_CPP_MIN_LOG_LEVEL": "3"}
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, env={**os.environ, **numbers}, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def part(kind, folder, argument=None):
    """Run one part in this process."""
    if kind == "stores":
        return write_stores(folder)
    return memory(argument, folder) if kind == "memory" else times(folder, int(argument))


def main():
    """Measure all variants, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--part", nargs="+", help=argparse.SUPPRESS)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--out", help="JSON file for the figures")
    options = parser.parse_args()
    if options.part:
        print(json.dumps(part(*options.part)))
        return
    with tempfile.TemporaryDirectory() as folder:
        in_process("stores", folder, threads=options.threads)
        peaks = {each: in_process("memory", folder, each, threads=options.threads) for each in VARIANTS}
        seconds = in_process("times", folder, str(options.rounds), threads=options.threads)
    rows = [_row(variant, peaks, seconds) for variant in VARIANTS]
    print(f"{'':32}{'ms':>8}{'x plain':>9}{'MB':>8}{'more':>8}")
    for row in rows:
        print(f"{row['variant']:32}{row['ms']:8.0f}{row['times']:9.2f}{row['MB']:8.0f}{row['more_MB']:8.0f}")
    if options.out:
        from benchmarks.environment import write

        setting = {"classes": CLASSES, "tokens": [BATCH, LENGTH], "width": WIDTH, "threads": options.threads}
        write(options.out, {**setting, "rounds": options.rounds, "rows": rows})


def _row(variant, peaks, seconds):
    ratios = [one / base for one, base in zip(seconds[variant], seconds[BASELINE], strict=True)]
    return {
        "variant": variant,
        "ms": 1e3 * statistics.median(seconds[variant]),
        "times": statistics.median(ratios),
        "MB": peaks[variant]["MB"],
        "more_MB": peaks[variant]["MB"] - peaks[BASELINE]["MB"],
        "loss": peaks[variant]["loss"],
    }


if __name__ == "__main__":
    main()
