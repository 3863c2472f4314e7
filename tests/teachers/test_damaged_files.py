"""A teacher's file that is not whole: one message, whichever library reads the format."""

import os
import shutil
import warnings

import keras
import numpy as np
import pytest
import tensorflow as tf

import keras_distill as kd
from keras_distill.teachers import as_teacher

POINTS = {
    "empty": lambda size: 0,
    "one byte": lambda size: 1,
    "a tenth": lambda size: size // 10,
    "half": lambda size: size // 2,
    "all but eight bytes": lambda size: size - 8,
    "all but one byte": lambda size: size - 1,
}
FILES = {
    "teacher.keras": POINTS,
    "teacher.h5": POINTS,
    "teacher.tflite": POINTS,
    "teacher.onnx": POINTS,
    "saved_model/saved_model.pb": ("empty", "one byte", "half", "all but one byte"),
    "saved_model/variables/variables.index": ("empty", "half"),
    "saved_model/variables/variables.data-00000-of-00001": ("empty", "all but one byte"),
}
CASES = [(file, point) for file, points in FILES.items() for point in points]


def write_onnx(model, path):
    onnx = pytest.importorskip("onnx", reason="needs onnx to write a file")
    kernel, _ = model.get_weights()
    tensor = onnx.helper.make_tensor_value_info
    graph = onnx.helper.make_graph(
        [onnx.helper.make_node("MatMul", ["x", "kernel"], ["y"])],
        "network",
        [tensor("x", onnx.TensorProto.FLOAT, ["batch", 4])],
        [tensor("y", onnx.TensorProto.FLOAT, ["batch", 3])],
        [onnx.numpy_helper.from_array(kernel, "kernel")],
    )
    onnx.save(onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)], ir_version=8), path)


@pytest.fixture(scope="module")
def model():
    return keras.Sequential([keras.Input((4,)), keras.layers.Dense(3)])


@pytest.fixture(scope="module")
def whole(tmp_path_factory, model):
    """The same model in every format."""
    folder = tmp_path_factory.mktemp("whole")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Of formats that others have superseded.
        model.save(folder / "teacher.keras")
        model.save(folder / "teacher.h5")
        model.export(folder / "saved_model", verbose=False)
        converter = tf.lite.TFLiteConverter.from_saved_model(str(folder / "saved_model"))
        (folder / "teacher.tflite").write_bytes(converter.convert())
    return folder


@pytest.fixture
def copied(whole, model, tmp_path):
    """Copy the file or folder of a case to where it may be damaged."""

    def copy(file):
        if file.endswith(".onnx"):
            pytest.importorskip("onnxruntime", reason="needs onnxruntime, the extra onnx")
            write_onnx(model, tmp_path / file)
        elif "/" in file:
            shutil.copytree(whole / "saved_model", tmp_path / "saved_model")
        else:
            shutil.copy(whole / file, tmp_path / file)
        return tmp_path / file

    return copy


@pytest.mark.parametrize("file, point", CASES)
def test_half_a_file_is_named(copied, tmp_path, file, point):
    path = copied(file)
    os.truncate(path, POINTS[point](path.stat().st_size))
    teacher = tmp_path / file.split("/")[0]
    with pytest.raises(
        ValueError, match=r"^Expected a whole .*Received: .*which cannot be read.*copy it again"
    ) as raised:
        as_teacher(teacher)
    assert str(teacher) in str(raised.value) and "\n" not in str(raised.value)


@pytest.mark.parametrize("file", ["teacher.keras", "teacher.h5", "teacher.tflite", "saved_model/saved_model.pb"])
def test_the_whole_file_teaches(copied, tmp_path, model, file):
    copied(file)
    x = np.random.default_rng(0).normal(size=(2, 4)).astype("float32")
    teacher = as_teacher(tmp_path / file.split("/")[0])
    np.testing.assert_allclose(teacher(x), model(x), rtol=1e-5, atol=1e-6)


def test_a_damaged_byte_of_a_keras_file_is_named(copied):
    path = copied("teacher.keras")
    content = bytearray(path.read_bytes())
    content[content.index(b"model.weights.h5") + 2000] ^= 1
    path.write_bytes(content)
    with pytest.raises(ValueError, match="^Expected a whole Keras file.*Bad CRC"):
        kd.Distiller(path, keras.Sequential([keras.Input((4,)), keras.layers.Dense(3)]), "kd")


def test_errors_that_are_not_about_the_file_stay(tmp_path):
    @keras.saving.register_keras_serializable("test_damaged_files")
    class Own(keras.layers.Layer):
        pass

    keras.Sequential([keras.Input((4,)), Own(), keras.layers.Dense(3)]).save(tmp_path / "own.keras")
    keras.saving.get_custom_objects().pop("test_damaged_files>Own")
    with pytest.raises(TypeError, match="Could not locate class 'Own'"):
        as_teacher(tmp_path / "own.keras")
