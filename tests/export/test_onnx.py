"""ONNX files of students that tf2onnx by itself converts wrongly or not at all, run by ONNX Runtime."""

import keras
import numpy as np
import onnx
import pytest
from keras import layers, ops

from keras_distill.export.conversion.functions import convert_to_onnx
from keras_distill.export.conversion.graph import save_graph
from keras_distill.export.runtimes.onnx import OnnxRuntime
from keras_distill.export.signature import read_inputs, read_signature

RNG = np.random.default_rng(0)
ROWS = RNG.normal(5, 3, size=(6, 6)).astype("float32")
STEPS = RNG.normal(size=(6, 5, 4)).astype("float32")
MAPS = RNG.random((6, 8, 8, 8), dtype="float32")
TOKENS = np.where(np.arange(7) < RNG.integers(2, 7, 6)[:, None], RNG.integers(1, 9, (6, 7)), 0).astype("int32")
CAPTURED = RNG.normal(size=6).astype("float32")


def sequential(data, *body, dtype="float32"):
    return keras.Sequential([keras.Input(data.shape[1:], dtype=dtype, name="x"), *body])


def normalized():
    layer = layers.Normalization()
    layer.adapt(ROWS)
    return sequential(ROWS, layer, layers.Dense(3))


def with_a_captured_constant():
    inputs, constant = keras.Input((6,), name="x"), ops.convert_to_tensor(CAPTURED)
    return keras.Model(inputs, layers.Dense(3)(inputs * constant + constant))


def with_its_input_as_an_output():
    inputs = keras.Input((6,), name="x")
    return keras.Model(inputs, {"same": inputs, "scores": layers.Dense(3, name="scores")(inputs)})


def masked_in_both_directions():
    both = layers.Bidirectional(layers.LSTM(4))
    return sequential(TOKENS, layers.Embedding(9, 4, mask_zero=True), both, layers.Dense(3), dtype="int32")


STUDENTS = {
    "normalization": (normalized, ROWS),
    "captured": (with_a_captured_constant, ROWS),
    "passed_through": (with_its_input_as_an_output, ROWS),
    "groups": (lambda: sequential(MAPS, layers.Conv2D(8, 3, groups=4), layers.Flatten(), layers.Dense(3)), MAPS),
    "groups_of_steps": (lambda: sequential(STEPS, layers.Conv1D(4, 3, groups=2), layers.Flatten()), STEPS),
    "transposed": (lambda: sequential(MAPS, layers.Conv2DTranspose(3, 3, 2), layers.GlobalAveragePooling2D()), MAPS),
    "gelu": (lambda: sequential(ROWS, layers.Dense(4, "gelu"), layers.Dense(3)), ROWS),
    "lstm": (lambda: sequential(STEPS, layers.LSTM(4), layers.Dense(3)), STEPS),
    "masked": (masked_in_both_directions, TOKENS),
}


@pytest.mark.parametrize("name", STUDENTS)
def test_the_file_gives_the_students_numbers(name, tmp_path):
    make, data = STUDENTS[name]
    keras.utils.set_random_seed(0)
    student = make()
    signature = read_signature(student, *read_inputs(student, data), {"x": data})
    shapes = {tensor.name: tensor.shape for tensor in signature.inputs}
    save_graph(student, signature, shapes, tmp_path / "saved_model")
    convert_to_onnx(str(tmp_path / "saved_model"), str(tmp_path / "student.onnx"), opset=17)
    found = OnnxRuntime(tmp_path / "student.onnx")({"x": data})
    wanted = signature.call(student, {"x": data})
    assert found.keys() == wanted.keys()
    for output, values in wanted.items():
        np.testing.assert_allclose(found[output], values, rtol=1e-5, atol=1e-5)
    operators = [node.op_type for node in onnx.load(tmp_path / "student.onnx").graph.node]
    assert ("LSTM" in operators) is (name == "lstm") or name == "masked"
    assert not any("Call" in operator for operator in operators)
