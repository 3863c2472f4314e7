"""Compare int8 students on full test sets: quantized after training, or distilled with quantization-aware training.

    python -m benchmarks.quantization --data-dir FOLDER [--seeds 2] [--quick] [--out FILE] [mnist] [cifar10]

Two students: convolutions without normalization for MNIST; depthwise and pointwise ones with batch normalization, ReLU6
and residual sums for CIFAR-10, as MobileNetV2 has them. Each is distilled from a teacher in float32. Then, from the
same weights:

  float        the student itself
  ptq int8     the TFLite converter's full int8 file, calibrated on 500 training samples
  ptq 4-bit    weights of 4 bits, activations of 8, ranges of those 500 samples
  qat int8     `quantize_aware`, distilled on from the same teacher, converted without calibration data
  qat 4-bit    the same with weights of 4 bits
  float, on    the float student distilled for as long again: what further training brings without any rounding

LiteRT runs every converted file on the full test split, once, at the very end. Epochs and learning rates were chosen on
the validation split. Agreement is with the float student from which the file was converted. Latency is the median for
one sample on one thread; the files of a seed take turns.

Cost: 3 minutes for a seed of MNIST, 9 minutes for one of CIFAR-10 and 4 for its teacher, on 2 or 3 busy cores.
Expected test accuracy and agreement, for 3 seeds of MNIST and 2 of CIFAR-10:

                MNIST                          CIFAR-10
  float         98.42 ± 0.06 %                 63.80 ± 0.39 %
  ptq int8      98.41 ± 0.06 %   99.91 %       63.80 ± 0.40 %   97.80 %
  ptq 4-bit     98.02 ± 0.09 %   99.07 %       53.90 ± 1.23 %   66.35 %
  qat int8      98.53 ± 0.03 %   99.75 %       64.45 ± 0.36 %   94.95 %
  qat 4-bit     98.38 ± 0.04 %   99.50 %       64.02 ± 0.26 %   91.43 %
  float, on     98.52 ± 0.06 %   99.76 %       64.93 ± 0.42 %   93.17 %

The gain over `float` comes from the further training: compared with `float, on`, int8 costs 0.5 points on CIFAR-10, and
4 bits cost 0.9. Neither student is trained to convergence. Frozen statistics of batch normalization were chosen by one
trial on the validation split: batch statistics gave the same accuracy (67.3 and 67.4 %) in more than twice the time.
"""

import argparse
import json
import pathlib
import statistics
import tempfile
import time

import keras
import numpy as np
from keras import layers

import keras_distill as kd
from benchmarks.environment import environment, write
from keras_distill import quantization
from keras_distill.recipes import mnist

CALIBRATION = 500
ROUNDS = 200


def cifar10_teacher():
    """Build a plain convolutional net, 132 thousand parameters."""
    x = inputs = keras.Input((32, 32, 3))
    for width, strides in ((32, 2), (64, 2), (64, 1), (128, 2)):
        x = layers.Conv2D(width, 3, strides, "same", use_bias=False)(x)
        x = layers.ReLU()(layers.BatchNormalization(momentum=0.9)(x))
    return keras.Model(inputs, layers.Dense(10)(layers.GlobalAveragePooling2D()(x)), name="teacher")


def cifar10_student():
    """Build a net of depthwise and pointwise convolutions, 31 thousand parameters."""

    def normalized(x, layer):
        return layers.ReLU(6.0)(layers.BatchNormalization(momentum=0.9)(layer(x)))

    inputs = keras.Input((32, 32, 3))
    x = normalized(inputs, layers.Conv2D(24, 3, 2, "same", use_bias=False))
    for width, strides in ((48, 1), (64, 2), (64, 1), (96, 2), (96, 1)):
        y = normalized(x, layers.DepthwiseConv2D(3, strides, "same", use_bias=False))
        y = normalized(y, layers.Conv2D(width, 1, use_bias=False))
        x = layers.Add()([x, y]) if x.shape == y.shape else y
    return keras.Model(inputs, layers.Dense(10, name="logits")(layers.GlobalAveragePooling2D()(x)), name="student")


SETS = {
    "mnist": {
        "teacher": mnist.teacher,
        "student": mnist.student,
        "temperature": 4.0,
        "batch_size": 64,
        "views": {},
        "samples": None,
        "teacher_epochs": 4,
        "student_epochs": 4,
        "aware_epochs": 2,
        "learning_rate": 4e-3,
        "aware_learning_rate": 1e-3,
    },
    "cifar10": {
        "teacher": cifar10_teacher,
        "student": cifar10_student,
        "temperature": 4.0,
        "batch_size": 128,
        "views": {"shift": 2, "flip": True},
        "samples": 22_528,
        "teacher_epochs": 5,
        "student_epochs": 6,
        "aware_epochs": 3,
        "learning_rate": 4e-3,
        "aware_learning_rate": 1e-3,
    },
}
QUICK = {"samples": 2_560, "teacher_epochs": 1, "student_epochs": 2, "aware_epochs": 1}


def fit(model, data, settings, epochs, learning_rate, seed):
    """Train a model or a `Distiller`."""
    keras.utils.set_random_seed(seed)
    batches = kd.data.Batches(*data.train, settings["batch_size"], seed=seed, **settings["views"])
    decay = keras.optimizers.schedules.CosineDecay(learning_rate, epochs * len(batches))
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.Adam(decay), loss, steps_per_execution=min(16, len(batches)), jit_compile=False)
    model.fit(batches, epochs=epochs, shuffle=False, verbose=0)


def distil(teacher, student, data, settings, stage, seed):
    """Distil a student; `stage` is `student` for the first time and `aware` for what comes after."""
    loss = kd.losses.LogitsDistillation(temperature=settings["temperature"])
    rate = settings["learning_rate" if stage == "student" else "aware_learning_rate"]
    distiller = kd.Distiller(teacher, student, loss, student_loss_weight=0.1)
    fit(distiller, data, settings, settings[f"{stage}_epochs"], rate, seed)
    return student


def copy(model):
    """Return a model with the same weights."""
    twin = keras.models.clone_model(model)
    twin.set_weights(model.get_weights())
    return twin


def convert(model, path, samples=None, integers=True):
    """Write a TFLite file of batch 1; calibrated on samples, if there are some."""
    import tensorflow as tf

    shape = (1, *model.inputs[0].shape[1:])
    archive = keras.export.ExportArchive()
    archive.track(model)
    archive.add_endpoint("serving_default", lambda x: model(x, training=False), [tf.TensorSpec(shape, "float32")])
    with tempfile.TemporaryDirectory() as folder:
        archive.write_out(folder, verbose=False)
        converter = tf.lite.TFLiteConverter.from_saved_model(folder, signature_keys=["serving_default"])
        if integers:
            converter.optimizations = [tf.lite.Optimize.DEFAULT]
            converter.inference_input_type = converter.inference_output_type = tf.int8
        if samples is not None:
            converter.representative_dataset = lambda: ([sample[None]] for sample in samples)
            converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
        path.write_bytes(converter.convert())
    return path


class File:
    """A TFLite file in LiteRT's interpreter, one thread."""

    def __init__(self, path):
        from keras_distill._core.litert import interpreter_class

        self.bytes = path.stat().st_size
        self._interpreter = interpreter_class()(model_path=str(path), num_threads=1)
        self._interpreter.allocate_tensors()
        (self._input,), (self._output,) = (
            self._interpreter.get_input_details(),
            self._interpreter.get_output_details(),
        )

    def logits(self, x):
        """Run samples one by one; return floats."""
        from keras_distill._core.litert import dequantized

        return np.concatenate([dequantized(self._run(sample), self._output) for sample in x])

    def seconds(self, sample):
        """Time one run."""
        self._run(sample)
        start = time.perf_counter()
        self._interpreter.invoke()
        return time.perf_counter() - start

    def _run(self, sample):
        from keras_distill._core.litert import quantized

        self._interpreter.set_tensor(self._input["index"], quantized(sample[None], self._input))
        self._interpreter.invoke()
        return self._interpreter.get_tensor(self._output["index"])


def models_of(teacher, data, settings, seed):
    """Train the student and the models derived from it; return `{name: (model, samples to calibrate on or None)}`."""
    keras.utils.set_random_seed(seed)
    student = distil(teacher, settings["student"](), data, settings, "student", seed)
    samples = data.train[0][:CALIBRATION]
    four = quantization.quantize_aware(student, weight_bits=4)
    quantization.calibrate(four, samples)
    made = {"float": (student, None), "ptq int8": (student, samples), "ptq 4-bit": (four, None)}
    further = {
        "qat int8": quantization.quantize_aware(student),
        "qat 4-bit": quantization.quantize_aware(student, weight_bits=4),
        "float, on": copy(student),
    }
    for name, model in further.items():
        made[name] = (distil(teacher, model, data, settings, "aware", seed + 100), None)
    return made


def measure(made, x, y, folder):
    """Convert all models of a seed, run each file on a split, and time them in turns; return figures by name."""
    files = {}
    for name, (model, samples) in made.items():
        path = folder / f"{name.replace(' ', '_')}.tflite"
        files[name] = File(convert(model, path, samples, integers="float" not in name))
    logits = {name: file.logits(x) for name, file in files.items()}
    times = {name: [] for name in files}
    for turn in range(ROUNDS):
        for name, file in files.items():
            times[name].append(file.seconds(x[turn % len(x)]))
    found = {}
    for name, (model, _) in made.items():
        own = model.predict(x, batch_size=500, verbose=0)
        best = logits[name].argmax(-1)
        found[name] = {
            "accuracy": float(np.mean(best == y)),
            "agreement_with_float": float(np.mean(best == logits["float"].argmax(-1))),
            "agreement_with_model": float(np.mean(best == own.argmax(-1))),
            "bytes": files[name].bytes,
            "microseconds": 1e6 * statistics.median(times[name]),
        }
    return found


def run(name, data, settings, seeds, split):
    """Train everything of one set of data and measure it on a split at the end; return a figure list by name."""
    teacher = settings["teacher"]()
    fit(teacher, data, settings, settings["teacher_epochs"], settings["learning_rate"], seed=0)
    students = []
    transfer_set = data.first(settings["samples"])
    for seed in range(seeds):
        start = time.perf_counter()
        students.append(models_of(teacher, transfer_set, settings, seed))
        print(f"{name}, seed {seed}: trained in {time.perf_counter() - start:.0f} s", flush=True)
    x, y = getattr(data, split)
    with tempfile.TemporaryDirectory() as folder:
        rows = [measure(made, x, y, pathlib.Path(folder)) for made in students]
    of_teacher = float(np.mean(teacher.predict(x, batch_size=500, verbose=0).argmax(-1) == y))
    return {"teacher": of_teacher, "rows": {key: [row[key] for row in rows] for key in rows[0]}}


def show(name, found):
    """Print the table of one set of data."""
    print(f"\n{name}: teacher {found['teacher']:.2%}")
    print(f"{'':12}{'accuracy':>18}{'agreement':>18}{'with model':>12}{'bytes':>9}{'µs':>8}")
    for key, rows in found["rows"].items():
        spreads = [_spread([row[what] for row in rows]) for what in ("accuracy", "agreement_with_float")]
        with_model, microseconds = (
            statistics.mean(row[what] for row in rows) for what in ("agreement_with_model", "microseconds")
        )
        size = rows[0]["bytes"]
        print(f"{key:12}{spreads[0]:>18}{spreads[1]:>18}{with_model:>12.2%}{size:>9}{microseconds:>8.0f}")


def _spread(values):
    spread = statistics.stdev(values) if len(values) > 1 else 0.0
    return f"{statistics.mean(values):.2%} ± {spread:.2%}"


def main():
    """Run the sets of data asked for, print a table of each, and write the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sets", nargs="*", choices=[[], *SETS], help="mnist or cifar10; both by default")
    parser.add_argument("--data-dir")
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--quick", action="store_true", help="few samples and epochs, to see that it runs")
    parser.add_argument("--split", choices=("validation", "test"), default="test")
    parser.add_argument("--out", help="JSON file for the figures")
    options = parser.parse_args()
    out = pathlib.Path(options.out) if options.out else None
    for name in options.sets or SETS:
        settings = SETS[name] | (QUICK if options.quick else {})
        data = kd.data.load(name, options.data_dir)
        data = data.first(QUICK["samples"]) if options.quick else data
        found = run(name, data, settings, options.seeds, options.split)
        show(name, found)
        if out:
            before = json.loads(out.read_text()) if out.exists() else {}
            recorded = {key: value for key, value in settings.items() if not callable(value)}
            of_run = {"seeds": options.seeds, "split": options.split, "settings": recorded}
            write(out, before | {name: found | of_run, "environment": environment()})


if __name__ == "__main__":
    main()
