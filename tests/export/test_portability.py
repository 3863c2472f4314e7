"""Operators that some runtimes lack: files use those that all have, and devices are not judged by kernels they lack."""

import keras
import numpy as np
import pytest
from keras import layers, ops

import keras_distill as kd
from keras_distill.export.tflite import flatbuffer
from tests.export.in_process import RUNTIMES, Files

IMAGES = np.random.default_rng(0).random((24, 6, 6, 3)).astype("float32")
EVERYWHERE = ("default", "reference", "micro")


def dense(x):
    return layers.Dense(6)(layers.Flatten()(x))


def bend(x):
    return ops.where(x > 0, x, 0.3 * x)


def raise_floor(x):
    return ops.maximum(x, 0.3 * x)


STUDENTS = {
    "upsampling_1d": lambda x: layers.UpSampling1D(3)(layers.Reshape((12, 9))(x)),
    "upsampling_2d": lambda x: layers.UpSampling2D((2, 3))(layers.Conv2D(4, 3)(x)),
    "upsampling_3d": lambda x: layers.UpSampling3D((1, 2, 2))(layers.Reshape((2, 3, 6, 3))(x)),
    "repetition": lambda x: layers.RepeatVector(4)(dense(x)),
    "repeat": lambda x: ops.repeat(dense(x), 2, -1),
    "where": lambda x: bend(layers.Conv2D(4, 3)(x)),
    "maximum": lambda x: raise_floor(layers.Conv2D(4, 3)(x)),
    "selu": lambda x: layers.Activation("selu")(dense(x)),
}
# Microcontrollers have no BROADCAST_TO of six axes, and no EXP of int8.
NOT_ON_MICROCONTROLLERS = {"upsampling_3d", "selu"}


def make(build, x=IMAGES, **settings):
    keras.utils.set_random_seed(1)
    inputs = keras.Input(x.shape[1:], name="x", **settings)
    return keras.Model(inputs, build(inputs))


@pytest.mark.parametrize("name", STUDENTS)
def test_files_run_everywhere(name, tmp_path):
    files = Files(make(STUDENTS[name]), IMAGES, tmp_path)
    expected = files.expected()
    for runtime in EVERYWHERE[: 2 if name in NOT_ON_MICROCONTROLLERS else 3]:
        np.testing.assert_allclose(files.run("tflite", runtime), expected, atol=1e-5)
        np.testing.assert_allclose(files.run("tflite_int8", runtime), expected, atol=0.03 * np.ptp(expected))
    assert not {"SELECT", "TILE"} & (files.operators("tflite") | files.operators("tflite_int8"))
    assert files.complain("tflite_int8") == []


def test_words_run_on_microcontrollers(tmp_path):
    words = np.random.default_rng(0).integers(-3, 9, (24, 5)).astype("int32")
    student = make(lambda x: layers.Dense(4)(layers.Flatten()(layers.Embedding(9, 6)(x))), words, dtype="int32")
    files = Files(student, words, tmp_path)
    # A negative word counts from the end, as in Keras.
    np.testing.assert_allclose(files.run("c_array", "micro"), files.expected(), atol=1e-6)
    np.testing.assert_allclose(files.run("c_array_int8", "micro"), files.expected(), atol=2e-3)


@pytest.mark.parametrize("settings", [{}, {"mean": (0.5, 0.4, 0.3), "std": (0.2, 0.25, 0.3)}])
@pytest.mark.parametrize("aware", [False, True])
def test_cameras_of_microcontrollers_give_signed_bytes(settings, aware, tmp_path):
    photos = np.random.default_rng(0).integers(0, 256, (24, 6, 6, 3)).astype("uint8")
    head = layers.Dense(3, name="y")
    student = make(lambda x: head(layers.Flatten()(layers.Conv2D(4, 3)(x))))
    student = kd.export.preprocessing.wrap(student, kd.export.Preprocessing(**settings))
    if aware:
        student = kd.quantization.quantize_aware(student)
        kd.quantization.calibrate(student, photos)
    files = Files(student, photos, tmp_path)
    expected = files.expected()
    for name, atol in [("c_array_int8", 0.03), *([] if aware else [("c_array", 1e-5)])]:
        assert files.complain(name) == []
        assert "CAST" not in files.operators(name)
        # The runtime is given bytes; the file's own scale makes them signed.
        np.testing.assert_allclose(files.run(name, "micro"), expected, atol=atol)
    # Elsewhere a camera's bytes stay as they are.
    assert list(RUNTIMES["default"](files.write("tflite_int8")).input_dtypes.values()) == ["uint8"]
    (camera,) = flatbuffer.describe(files.write("c_array_int8"))["inputs"]
    assert (camera["dtype"], camera["scale"], camera["zero_point"]) == ("int8", 1.0, -128)


@pytest.mark.slow
def test_devices_are_judged_by_kernels_that_they_have(tmp_path):
    # The reference kernels have no TILE of int8, and add integers wrongly; phones do neither.
    student = make(lambda x: ops.tile(layers.UnitNormalization()(dense(x)), (1, 2)))
    devices = ("android", "microcontroller")
    report = kd.export.export(
        student, tmp_path / "out", "tflite_int8", IMAGES, devices=devices, min_agreement=0.8, max_mean_difference=0.02
    )
    assert report["tflite_int8"].devices["android"] == "passed", report["tflite_int8"]
    assert "no TILE" in report["tflite_int8"].devices["microcontroller"]
