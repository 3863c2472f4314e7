"""Export a digits student in the formats that the checks of this folder run, with samples for them.

    python -m benchmarks.edge.students --out DIRECTORY

Trains a small CNN with batch normalisation and depthwise convolutions on scikit-learn's digits, and exports it in
seven formats, together with `samples.npz`, the 300 test digits. Takes half a minute on 2 cores.
Expected: test accuracy about 0.95.
"""

import argparse
import pathlib

import keras
import numpy as np

from keras_distill.data import digits
from keras_distill.export import export

FORMATS = (
    "tflite",
    "tflite_float16",
    "tflite_weights_int8",
    "tflite_int8_float_io",
    "tflite_int16x8",
    "tflite_int8",
    "tflite_dynamic_batch",
)


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


def main():
    """Train, convert, and write the samples."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.edge.students", description=__doc__.splitlines()[0])
    parser.add_argument("--out", required=True, type=pathlib.Path, help="folder for the files")
    out = parser.parse_args().out
    keras.utils.set_random_seed(0)
    data, model = digits(), student()
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.Adam(0.005), loss, metrics=["accuracy"])
    model.fit(*data.train, epochs=15, verbose=0)
    print(f"accuracy {model.evaluate(*data.test, verbose=0, return_dict=True)['accuracy']:.4f}")
    print(export(model, out, FORMATS, calibration_data=data.train, evaluation_data=data.test))
    np.savez(out / "samples.npz", image=data.test[0])


if __name__ == "__main__":
    main()
