"""Train one CIFAR-10 pair by every distillation method on the same small budget: mean and spread of the test accuracy.

    python -m benchmarks.cifar10_losses --data-dir FOLDER [--seeds 3] [--epochs 3] [--samples 5120] [METHOD ...]

Every student of a seed starts from the same weights and sees the same batches; "alone" is the student without a
teacher. The loss is 0.5 hard + 0.5 w soft, where w is the weight that public code uses for the method, or 1 if it
states none. Each student is evaluated on the test split once, after its training. One thing was changed after a first
run had shown test accuracies of one seed: `at`, `cc` and `ft` had used those weights with another form of the loss than
they are meant for (`FORMS`). No other choice was based on the test split.

The table does not show which method is best. There is one pair, the budget is a few epochs on a part of the training
set, and no method is tuned: temperature, weight and layers are defaults. Methods with long published schedules, or with
weights for another net, are at a disadvantage. Differences within the spread over seeds are noise. A student takes
about 20 seconds on one core; three seeds of all methods take 40 minutes. `benchmarks/results` has two seeds.
"""

import argparse
import statistics
import time

import keras
import numpy as np

import keras_distill as kd
from benchmarks.environment import write

# Of the training scripts of RepDistiller, where they have the method, and the form of the loss that they are meant for.
WEIGHTS = {
    "fitnet": 100.0,
    "at": 1000.0,
    "sp": 3000.0,
    "cc": 0.02,
    "rkd": 1.0,
    "pkt": 30000.0,
    "fsp": 50.0,
    "nst": 50.0,
}
WEIGHTS |= {"vid": 1.0, "ft": 200.0, "crd": 0.8}
FORMS = {"at": "mean", "cc": "delta", "ft": "map"}
ALONE = "alone"


def net(widths, name, seed):
    """Build a convolutional net of stages of two layers, of which the second halves the picture."""
    keras.utils.set_random_seed(seed)
    x = inputs = keras.Input((32, 32, 3))
    for stage, width in enumerate(widths):
        for part, strides in enumerate((2, 1) if stage else (2,)):
            x = keras.layers.Conv2D(width, 3, strides, "same", use_bias=False, name=f"conv_{stage}_{part}")(x)
            x = keras.layers.BatchNormalization(momentum=0.9, name=f"norm_{stage}_{part}")(x)
            x = keras.layers.ReLU(name=f"relu_{stage}_{part}")(x)
    x = keras.layers.GlobalAveragePooling2D(name="embedding")(x)
    return keras.Model(inputs, keras.layers.Dense(10, name="logits")(x), name=name)


def teacher_of(data, epochs, seed=0):
    """Train the one teacher that all students share."""
    teacher = net((32, 64, 128), "teacher", seed)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    teacher.compile(keras.optimizers.Adam(3e-3), loss, metrics=["accuracy"], jit_compile=False)
    teacher.fit(*data.train, batch_size=128, epochs=epochs, verbose=2)
    return teacher


def loss_of(method, samples):
    """Make the loss of a method with its defaults, between the layers that its paper compares."""
    arguments = {"form": FORMS[method]} if method in FORMS else {}
    if method == "crd":
        arguments = {"dataset_size": samples}
    elif method == "ofd":
        arguments = dict.fromkeys(("teacher_layer_name", "student_layer_name"), ["norm_0_0", "norm_1_1", "norm_2_1"])
    return kd.losses.get(method, **arguments)


def accuracy_of(method, teacher, x, y, data, seed, epochs):
    """Train one student by one method. Return its test accuracy and the seconds that it took."""
    student = net((16, 24, 32), "student", seed)
    optimizer, start = keras.optimizers.Adam(3e-3), time.perf_counter()
    if method == ALONE:
        student.compile(optimizer, keras.losses.SparseCategoricalCrossentropy(from_logits=True), jit_compile=False)
        model = student
    else:
        model = kd.Distiller(teacher, student, loss_of(method, len(x)), [WEIGHTS.get(method, 1.0)])
        model.compile(optimizer, "sparse_categorical_crossentropy", jit_compile=False)
    keras.utils.set_random_seed(seed)
    if method == "crd":
        batches = kd.data.indexed(x, y, batch_size=128, negatives=1024, seed=seed)
        model.fit(batches, epochs=epochs, verbose=0)
    else:
        model.fit(x, y, batch_size=128, epochs=epochs, verbose=0)
    seconds = time.perf_counter() - start
    x_test, y_test = data.test
    return float(np.mean(np.argmax(student.predict(x_test, 500, verbose=0), -1) == y_test)), seconds


def main():
    """Train all, seed by seed, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("methods", nargs="*")
    parser.add_argument("--data-dir")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--teacher-epochs", type=int, default=4)
    parser.add_argument("--samples", type=int, default=5120, help="training images of the students")
    parser.add_argument("--out", help="JSON file for the figures")
    options = parser.parse_args()
    data = kd.data.load("cifar10", options.data_dir)
    teacher = teacher_of(data, options.teacher_epochs)
    of_teacher = float(np.mean(np.argmax(teacher.predict(data.test[0], 500, verbose=0), -1) == data.test[1]))
    print(f"teacher {of_teacher:.2%}, students on {options.samples} images for {options.epochs} epochs")
    x, y = (each[: options.samples] for each in data.train)
    methods = [ALONE, *(options.methods or kd.losses.METHODS)]
    found, seconds = {method: [] for method in methods}, {}
    for seed in range(options.seeds):
        for method in methods:
            accuracy, seconds[method] = accuracy_of(method, teacher, x, y, data, seed, options.epochs)
            found[method].append(accuracy)
            print(f"seed {seed}  {method:18}{accuracy:8.2%}{seconds[method]:8.1f} s", flush=True)
            keras.backend.clear_session(free_memory=True)
        if options.out:
            names = ("epochs", "teacher_epochs", "samples")
            settings = {name: getattr(options, name) for name in names}
            settings |= {"seeds": seed + 1, "teacher_accuracy": of_teacher}
            write(options.out, {"settings": settings, "accuracy": found, "seconds": seconds})
    print(f"\n{'method':18}{'test accuracy':>20}{'beside alone':>14}")
    alone = statistics.mean(found[ALONE])
    for method, values in found.items():
        spread = statistics.stdev(values) if len(values) > 1 else 0.0
        mean = statistics.mean(values)
        print(f"{method:18}{mean:>12.2%} ± {spread:.2%}{100 * (mean - alone):>+14.2f}")


if __name__ == "__main__":
    main()
