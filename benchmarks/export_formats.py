"""Measure every format of a student, and the same formats by the other converter: size, agreement, speed.

    python -m benchmarks.export_formats --data-dir FOLDER [--quick] [--out FILE] [cnn] [vit]

Two students, trained on MNIST: a CNN of 22 thousand parameters with batch normalization and depthwise layers, and a
vision transformer of 73 thousand. Each is written in every format of the table. Where TensorFlow's converter and
litert-quantizer can both write a format, or scales can be chosen in several ways, the alternatives are written too, in
rows named after the format with the alternative in brackets. The choices in the table are based on these rows. 500
training samples are used for calibration, and 1,000 samples of the validation split for the figures. The test split is
not read.

Latency is the median of a single sample, in a process of its own, on one and on four threads; partitions are the
pieces in which LiteRT's delegate runs the graph. Takes about 6 minutes of processor time. Expected for the
CNN: float32 78 kB; int8 37 kB, agreement above 99 %; weights in 4 bits 26 kB, agreement 98 %.
"""

import argparse
import dataclasses
import pathlib
import tempfile

import keras
from keras import layers

from benchmarks.environment import write
from keras_distill.export import FORMATS, publishing, verification
from keras_distill.export.conversion import writers
from keras_distill.export.conversion.sources import Converter, Source
from keras_distill.export.samples import Samples
from keras_distill.export.signature import read_inputs, read_signature
from keras_distill.recipes import mnist

CALIBRATION, EVALUATION = 500, 1000
COLUMNS = ("bytes", "agreement", "max_difference", "latency_us", "latency_4_threads_us", "partitions")


def cnn():
    """Build convolutions with batch normalization and depthwise layers."""
    x = image = keras.Input((28, 28, 1), name="image")
    for width, strides in ((32, 2), (64, 1), (64, 2), (128, 1)):
        if width > 32:
            x = layers.DepthwiseConv2D(3, strides, padding="same", use_bias=False)(x)
            x = layers.ReLU()(layers.BatchNormalization(momentum=0.9)(x))
        size, step = (3, strides) if width == 32 else (1, 1)
        x = layers.Conv2D(width, size, step, padding="same", use_bias=False)(x)
        x = layers.ReLU()(layers.BatchNormalization(momentum=0.9)(x))
    x = layers.GlobalAveragePooling2D()(x)
    return keras.Model(image, layers.Dense(10, name="logits")(x), name="cnn")


def vit():
    """Build a transformer over patches of 4 x 4, with exact GELU."""
    image = keras.Input((28, 28, 1), name="image")
    x = layers.Reshape((49, 48))(layers.Conv2D(48, 4, 4)(image))
    x = x + layers.Dense(48)(layers.Reshape((49, 48))(layers.Conv2D(48, 4, 4)(image)))
    for _ in range(2):
        y = layers.LayerNormalization()(x)
        x = layers.Add()([x, layers.MultiHeadAttention(4, 12)(y, y)])
        y = layers.Dense(128, activation="gelu")(layers.LayerNormalization()(x))
        x = layers.Add()([x, layers.Dense(48)(y)])
    x = layers.Flatten()(layers.LayerNormalization()(x))
    return keras.Model(image, layers.Dense(10, name="logits")(x), name="vit")


STUDENTS = {"cnn": cnn, "vit": vit}


def own_calibration(**settings):
    """Return a writer by TensorFlow's converter that measures the ranges itself, on the same samples."""

    def write(source, path):
        import tensorflow as tf

        converter = tf.lite.TFLiteConverter.from_saved_model(str(source.static_saved_model))
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        converter.target_spec.supported_ops = [tf.lite.OpsSet[settings["ops"]]]
        converter.inference_input_type = converter.inference_output_type = tf.as_dtype(settings["dtype"])
        (name, samples), *_ = source.calibration.items()
        converter.representative_dataset = lambda: (
            ("serving_default", {name: samples[row : row + 1]}) for row in range(len(samples))
        )
        path.write_bytes(converter.convert())

    return write


_INT16X8 = "EXPERIMENTAL_TFLITE_BUILTINS_ACTIVATIONS_INT16_WEIGHTS_INT8"
# Other ways to write a format of the table: (format, way), the writer.
OTHERS = {
    ("tflite_dynamic_range", "litert-quantizer"): writers.quantized("dynamic_wi8_afp32"),
    ("tflite_int8", "converter's calibration"): own_calibration(ops="TFLITE_BUILTINS_INT8", dtype="int8"),
    ("tflite_int8", "litert-quantizer"): writers.quantized("static_wi8_ai8", calibrated=True),
    ("tflite_int8", "percentile"): lambda source, path: writers.int8("int8")(percentile(source), path),
    ("tflite_int16x8", "converter"): own_calibration(ops=_INT16X8, dtype="int16"),
    ("tflite_weights_int4", "min-max scales"): writers.quantized("weight_only_wi4_afp32"),
    ("tflite_weights_int4", "MSE scales"): writers.quantized("weight_only_wi4_afp32", algorithm="MSE"),
}


def percentile(source):
    """Return a source of the same student, calibrated by percentiles."""
    work = source.work / "percentile"
    work.mkdir()
    return dataclasses.replace(source, calibration_method="percentile", work=work)


def row(name, entry, source, evaluation):
    """Write one file, verify it without limits, and return its figures."""
    path = source.work / f"file {name}"
    try:
        entry.write(source, path)
        unlimited = verification.Limits(None, None, None)
        figures, complaints = verification.verify(path, entry, source, evaluation, unlimited)
    except Exception as error:
        return {"name": name, "status": " ".join(f"{error}".split())[:200]}
    figures = {column: figures.get(column) for column in COLUMNS}
    return {"name": name, "status": "; ".join(complaints) or "ok", **figures, "bytes": publishing.size(path)}


def table(student, data, work):
    """Return the rows of one student."""
    (train, _), validation = data.train, tuple(part[:EVALUATION] for part in data.validation)
    samples = train[:CALIBRATION]
    structure, inputs = read_inputs(student, samples)
    found = read_signature(student, structure, inputs, {"image": samples})
    entries = {name: entry for name, entry in FORMATS.items()}
    entries |= {
        f"{name} ({way})": dataclasses.replace(FORMATS[name], write=writer) for (name, way), writer in OTHERS.items()
    }
    with Converter(work, 300.0) as converter:
        source = Source(student, found, {"image": samples}, pathlib.Path(work), converter, 300.0)
        evaluation = Samples(validation, found, "validation")
        rows = []
        for name in sorted(entries):
            rows.append(row(name, entries[name], source, evaluation))
            print(as_line(rows[-1]), flush=True)
    return rows


def as_line(row):
    """Return a row as one line of text."""
    cells = [row.get(column) for column in COLUMNS]
    cells = ["-" if cell is None else f"{cell:,.3f}" if isinstance(cell, float) else f"{cell:,}" for cell in cells]
    return f"{row['name']:44}" + "".join(f"{cell:>12}" for cell in cells) + f"  {row['status']}"


def main():
    """Train, convert, measure, print and write."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.export_formats", description=__doc__.splitlines()[0])
    parser.add_argument("--data-dir", help="folder where TensorFlow Datasets has prepared MNIST")
    parser.add_argument("students", nargs="*", default=list(STUDENTS), help="cnn or vit; both by default")
    parser.add_argument("--quick", action="store_true", help="train on 2,000 images, for one epoch")
    parser.add_argument("--out", default="benchmarks/results/export_formats.json", help="JSON file for the figures")
    arguments = parser.parse_args()
    data = mnist.load_data(arguments.data_dir).first(2000 if arguments.quick else 20_000)
    results = {}
    for name in arguments.students:
        keras.utils.set_random_seed(0)
        student = STUDENTS[name]()
        loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        student.compile(keras.optimizers.Adam(2e-3), loss, metrics=["accuracy"])
        student.fit(*data.train, batch_size=64, epochs=1 if arguments.quick else 4, verbose=0)
        accuracy = student.evaluate(*(part[:EVALUATION] for part in data.validation), verbose=0)[1]
        print(f"\n{name}: {student.count_params():,} parameters, validation accuracy {accuracy:.4f}")
        print(f"{'':44}" + "".join(f"{column[:11]:>12}" for column in COLUMNS))
        with tempfile.TemporaryDirectory() as work:
            rows = table(student, data, work)
        results[name] = {"parameters": student.count_params(), "accuracy": float(accuracy), "files": rows}
        write(arguments.out, results)


if __name__ == "__main__":
    main()
