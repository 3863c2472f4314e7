"""Compare stored soft targets with a live teacher: time of a step, throughput of the writer, sizes, final weights.

    python -m benchmarks.targets --data-dir FOLDER [--rounds 15] [--out benchmarks/results/targets.json]

The data are CIFAR-10 images in batches of 128. The student is that of the recipe; the teacher is a net of the same
kind, wide enough that its forward pass costs as much as a training step of the student. Times are medians of
interleaved rounds in one process; the weights are compared in another one, with deterministic operations. Takes about
10 minutes on 4 busy cores.

Expected: a step with stored targets, cached after the join, takes 1.0 times a step without a teacher and 0.55 times one
with the live teacher; if keys are hashed again in every epoch, 1.1 and 0.6 times. The writer is as fast as `predict`.
With a float32 store, the final weights are bit-identical to those of online training.
"""

import argparse
import json
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time

BATCH, STEPS = 128, 16
WRITTEN = 2048  # Photographs that the writer and `predict` are timed on.
WIDTHS = (16, 24, 32, 48, 64, 96)


def main():
    """Measure all, print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data-dir")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--samples", type=int, default=16_384, help="images in an epoch when steps are timed")
    parser.add_argument("--out", help="JSON file for the figures")
    parser.add_argument("--weights", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.weights:
        print(json.dumps(weights(options)))
        return
    results = {"rounds": options.rounds, "samples": options.samples, "batch": BATCH}
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        results |= {"steps": steps(options, folder), "writing": writing(options, folder), "bytes": sizes(folder)}
    command = [sys.executable, "-m", "benchmarks.targets", "--weights", *sys.argv[1:]]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    results["weights"] = json.loads(done.stdout.splitlines()[-1])
    print(json.dumps(results, indent=1))
    if options.out:
        from benchmarks.environment import write

        write(options.out, results)


def photographs(options):
    """Return the training photographs and labels."""
    import keras_distill as kd

    x, y = kd.data.load("cifar10", options.data_dir).train
    return x[: options.samples], y[: options.samples]


def teacher_of(width):
    """Build a convolutional net of some width, with weights from a seed."""
    import keras

    keras.utils.set_random_seed(0)
    layers = [keras.Input((32, 32, 3))]
    for channels, strides in ((width, 2), (2 * width, 1), (2 * width, 2), (4 * width, 2)):
        layers.append(keras.layers.Conv2D(channels, 3, strides, "same", activation="relu"))
    return keras.Sequential([*layers, keras.layers.GlobalAveragePooling2D(), keras.layers.Dense(10)], name="teacher")


def student_of(seed=1):
    """Build the recipe's student."""
    import keras

    from keras_distill.recipes import cifar10

    keras.utils.set_random_seed(seed)
    return cifar10.student()


def trained(model, dataset):
    """Compile a model for its hard labels and return a function that trains it for some steps."""
    import keras

    loss = "sparse_categorical_crossentropy"
    if not hasattr(model, "teacher"):
        loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.Adam(1e-3), loss, steps_per_execution=STEPS, jit_compile=False)
    model.fit(dataset.take(STEPS), verbose=0)
    model.make_train_function()
    batches = iter(dataset.repeat())
    return lambda: model.train_function(batches)


def distiller(teacher):
    """Return a distiller of a new student."""
    import keras_distill as kd

    return kd.Distiller(teacher, student_of(), kd.losses.LogitsDistillation(temperature=4.0))


def calibrated(x, y):
    """Return the teacher whose forward pass is nearest to a step of the student, and the ratio of the two."""
    import tensorflow as tf

    step = trained(student_of(), batches_of(x, y))
    batch = tf.constant(x[:BATCH])
    found = {}
    for width in WIDTHS:
        teacher = teacher_of(width)
        forward = tf.function(lambda images, teacher=teacher: teacher(images, training=False))
        times = interleaved({"step": step, "forward": lambda: [forward(batch) for _ in range(STEPS)]}, 5)
        found[width] = statistics.median(times["forward"]) / statistics.median(times["step"])
    width = min(found, key=lambda each: abs(found[each] - 1.0))
    return teacher_of(width), width


def batches_of(x, y):
    """Return batches in a fixed order."""
    import tensorflow as tf

    with tf.device("CPU:0"):
        return tf.data.Dataset.from_tensor_slices((x, y)).batch(BATCH, drop_remainder=True).cache().prefetch(4)


def interleaved(functions, rounds):
    """Return the seconds of each function in each round."""
    for function in functions.values():
        function()
    times = {name: [] for name in functions}
    for _ in range(rounds):
        for name, function in functions.items():
            start = time.perf_counter()
            function()
            times[name].append(time.perf_counter() - start)
    return times


def steps(options, folder):
    """Compare training without a teacher, with stored targets and with the live teacher."""
    import tensorflow as tf

    from keras_distill import targets

    x, y = photographs(options)
    teacher, width = calibrated(x, y)
    dataset, batch = batches_of(x, y), tf.constant(x[:BATCH])
    store = targets.write(teacher, dataset, folder / "float16")
    kept = targets.write(teacher, dataset, folder / "top_k", top_k=4)
    forward = tf.function(lambda images: teacher(images, training=False))
    functions = {
        "plain": trained(student_of(), dataset),
        "stored, checked in every epoch": trained(distiller(store), store.join(dataset)),
        "stored, checked once and cached": trained(distiller(store), store.join(dataset).cache()),
        "stored top-4, cached": trained(distiller(kept), kept.join(dataset).cache()),
        "online": trained(distiller(teacher), dataset),
        "teacher's forward alone": lambda: [forward(batch) for _ in range(STEPS)],
    }
    times = interleaved(functions, options.rounds)
    rows = {"teacher_width": width}
    for name, each in times.items():
        rows[name] = {
            "ms": 1000 * statistics.median(each) / STEPS,
            "to_plain": statistics.median(a / b for a, b in zip(each, times["plain"], strict=True)),
            "to_online": statistics.median(a / b for a, b in zip(each, times["online"], strict=True)),
        }
    return {**rows, "reading": reading(store, dataset, options.rounds)}


def reading(store, dataset, rounds):
    """Measure how many examples a second are paired, without anything else to do."""
    functions = {
        "data set alone": dataset,
        "in order": store.join(dataset),
        "in any order": store.join(dataset, order="any"),
        "data set alone, one by one": dataset.unbatch(),
        "one by one": store.join(dataset.unbatch()),
    }

    def drained(each):
        return lambda: each.reduce(0, lambda count, *_: count + 1).numpy()  # Without a line of Python for each example.

    times = interleaved({name: drained(each) for name, each in functions.items()}, max(rounds // 5, 3))
    return {name: len(store) / statistics.median(each) for name, each in times.items()}


def writing(options, folder):
    """Compare the writer with `predict`: examples a second from the first batch on, and of whole calls."""
    import keras

    from keras_distill import targets

    x = photographs(options)[0][:WRITTEN]
    teacher = teacher_of(64)
    marks = []
    first = keras.callbacks.LambdaCallback(on_predict_batch_end=lambda batch, logs: marks.append(time.perf_counter()))
    rates = {"predict": [], "write": [], "predict, whole call": [], "write, whole call": []}
    for number in range(max(options.rounds // 3, 3) + 1):
        for name in ("predict", "write"):
            marks.clear()
            start = time.perf_counter()
            if name == "predict":
                teacher.predict(x, batch_size=BATCH, verbose=0, callbacks=[first])
            else:
                path = folder / f"round-{number}"
                told = lambda done, total: marks.append(time.perf_counter())  # noqa: E731
                targets.write(teacher, x, path, batch_size=BATCH, progress=told)
            end = time.perf_counter()
            if number:  # The first round compiles.
                rates[name].append((len(x) - BATCH) / (end - marks[0]))
                rates[f"{name}, whole call"].append(len(x) / (end - start))
    ratio = statistics.median(a / b for a, b in zip(rates["write"], rates["predict"], strict=True))
    return {"examples_per_second": {name: statistics.median(each) for name, each in rates.items()}, "ratio": ratio}


def sizes(folder):
    """Return bytes for each example, or token, of stores, with their keys, framing and manifest."""
    import keras
    import numpy as np

    from keras_distill import targets

    tokens = keras.Sequential([keras.Input((128,), dtype="int32"), keras.layers.Embedding(100, 4)])
    tokens.add(keras.layers.Dense(32_000))
    x = np.random.default_rng(0).integers(1, 100, (16, 128)).astype("int32")
    targets.write(tokens, x, folder / "tokens", top_k=32, batch_size=4)
    found = {}
    for name, per in (("float16", 1), ("top_k", 1), ("tokens", 128)):
        store = targets.open(folder / name)
        total = sum(file.stat().st_size for file in (folder / name).rglob("*") if file.is_file())
        found[f"{name} of {store.encoding.classes}"] = total / len(store) / per
    return found


def weights(options):
    """Train online, from a float32 store and from a float16 one, on the same batches; compare the students' weights."""
    import numpy as np
    import tensorflow as tf

    from keras_distill import targets

    tf.config.experimental.enable_op_determinism()
    options.samples = min(options.samples, WRITTEN)
    x, y = photographs(options)
    dataset, teacher = batches_of(x, y), teacher_of(24)
    # Larger logits, as a trained teacher has them: storing them in float16 costs something.
    teacher.layers[-1].set_weights([60.0 * each for each in teacher.layers[-1].get_weights()])
    students = {}
    with tempfile.TemporaryDirectory() as folder:
        stores = {
            dtype: targets.write(teacher, dataset, f"{folder}/{dtype}", dtype=dtype) for dtype in ("float32", "float16")
        }
        for name in ("online", "online again", *stores):
            model = distiller(stores.get(name, teacher))
            model.compile("adam", "sparse_categorical_crossentropy", jit_compile=False)
            start = flat(model.student)
            model.fit(stores[name].join(dataset) if name in stores else dataset, epochs=2, verbose=0)
            students[name] = flat(model.student)
    moved = np.linalg.norm(students["online"] - start)
    far = {name: float(np.linalg.norm(each - students["online"]) / moved) for name, each in students.items()}
    return {"distance_to_online_of_the_way": far, "error_float16": stores["float16"].manifest["error"]}


def flat(model):
    """Return all weights in one array."""
    import numpy as np

    return np.concatenate([each.ravel() for each in model.get_weights()])


if __name__ == "__main__":
    main()
