"""A digits student in the formats that the gates are run on, and samples for them.

    python -m benchmarks.edge.students --out DIRECTORY

Trains a small CNN with batch normalisation and depthwise convolutions on scikit-learn's digits, and writes it as
float32, float16, dynamic range, int8 with float and with int8 inputs and outputs, int16x8, and with a dynamic batch;
beside them `samples.npz`, the 300 test digits. Half a minute on 2 cores.
Expected: test accuracy about 0.95.
"""

import argparse
import pathlib
import tempfile

import keras
import numpy as np
import tensorflow as tf

from keras_distill.data import digits
from keras_distill.export import arrays, conversion_worker

CALIBRATION_SAMPLES = 500
_INT8, _DEFAULT = ["TFLITE_BUILTINS_INT8"], ["DEFAULT"]
_INT16X8 = ["EXPERIMENTAL_TFLITE_BUILTINS_ACTIVATIONS_INT16_WEIGHTS_INT8"]
# Name: settings of the converter, and whether it sees samples.
FORMATS = {
    "float32": ({}, False),
    "float16": ({"optimizations": _DEFAULT, "supported_types": ["float16"]}, False),
    "dynamic_range": ({"optimizations": _DEFAULT}, False),
    "int8_float_io": ({"optimizations": _DEFAULT, "supported_ops": _INT8}, True),
    "int16x8": ({"optimizations": _DEFAULT, "supported_ops": _INT16X8}, True),
    "int8": ({"optimizations": _DEFAULT, "supported_ops": _INT8, "inference_type": "int8"}, True),
    "dynamic_batch": ({}, False),
}


def student():
    """Return an untrained CNN of 2,954 parameters for images of 8 x 8."""
    layers = keras.layers
    image = x = keras.Input((8, 8, 1), name="image")
    for layer in (
        layers.Conv2D(16, 3, padding="same", use_bias=False),
        *_separable(),
        layers.MaxPooling2D(),
        *_separable(),
    ):
        x = layer(x)
        if "conv" in layer.name:
            x = layers.ReLU()(layers.BatchNormalization()(x))
    return keras.Model(image, layers.Dense(10, name="logits")(layers.GlobalAveragePooling2D()(x)), name="digits")


def _separable():
    layers = keras.layers
    return layers.DepthwiseConv2D(3, padding="same", use_bias=False), layers.Conv2D(32, 1, use_bias=False)


def save_graph(model, batch, path):
    """Write a SavedModel of a batch size, None for any."""
    archive = keras.export.ExportArchive()
    archive.track(model)
    specification = {"image": tf.TensorSpec((batch, 8, 8, 1), tf.float32, name="image")}
    archive.add_endpoint(
        "serving_default", lambda inputs: {"logits": model(inputs["image"], training=False)}, [specification]
    )
    archive.write_out(path, verbose=False)


def main():
    """Train, convert, and write the samples."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.edge.students", description=__doc__.splitlines()[0])
    parser.add_argument("--out", required=True, type=pathlib.Path, help="folder for the files")
    out = parser.parse_args().out
    out.mkdir(parents=True, exist_ok=True)
    keras.utils.set_random_seed(0)
    data, model = digits(), student()
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.Adam(0.005), loss, metrics=["accuracy"])
    model.fit(*data.train, epochs=15, verbose=0)
    print(f"accuracy {model.evaluate(*data.test, verbose=0, return_dict=True)['accuracy']:.4f}")
    np.savez(out / "samples.npz", image=data.test[0])
    with tempfile.TemporaryDirectory() as work:
        save_graph(model, 1, f"{work}/static")
        save_graph(model, None, f"{work}/dynamic")
        arrays.save(f"{work}/calibration.npz", {"image": data.train[0][:CALIBRATION_SAMPLES]})
        for name, (settings, calibrated) in FORMATS.items():
            graph = f"{work}/{'dynamic' if name == 'dynamic_batch' else 'static'}"
            calibration = f"{work}/calibration.npz" if calibrated else None
            conversion_worker.convert(graph, str(out / f"{name}.tflite"), settings, calibration)


if __name__ == "__main__":
    main()
