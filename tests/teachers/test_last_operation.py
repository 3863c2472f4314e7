"""What stands behind the output of a model file is found: the last operation, and variables without a value."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from numpy.testing import assert_allclose

import keras_distill as kd
from keras_distill import export
from keras_distill.export.tflite import flatbuffer
from keras_distill.teachers import TFLiteTeacher
from keras_distill.teachers.last_operation import find_in_function, find_in_onnx, find_in_tflite


class Counting(tf.Module):
    """Adds one to its variable at every call."""

    def __init__(self):
        self.number = tf.Variable(np.ones((4, 3), "float32"))

    @tf.function(input_signature=[tf.TensorSpec((1, 4), name="x")])
    def call(self, x):
        self.number.assign_add(tf.ones_like(self.number))
        return x @ self.number


@pytest.fixture(scope="module")
def counting(tmp_path_factory):
    """A file with a variable, and the same file without the operator that gives it a value."""
    folder, module = tmp_path_factory.mktemp("counting"), Counting()
    converter = tf.lite.TFLiteConverter.from_concrete_functions([module.call.get_concrete_function()], module)
    converter.experimental_enable_resource_variables = True
    content = converter.convert()
    (folder / "whole.tflite").write_bytes(content)
    model = flatbuffer.parse(content)
    names = [name for name, _ in flatbuffer.list_operators(model)]
    model.subgraphs[0].operators.pop(names.index("CALL_ONCE"))
    (folder / "empty.tflite").write_bytes(flatbuffer.serialize(model))
    return folder


def test_variables_that_nothing_gives_a_value_are_refused(counting):
    assert_allclose(
        TFLiteTeacher(str(counting / "whole.tflite"), batch_size=1)(np.ones((1, 4), "float32")).shape, (1, 3)
    )
    with pytest.raises(ValueError, match="^Expected '.*empty.tflite' to give its variables a value"):
        TFLiteTeacher(str(counting / "empty.tflite"))
    report = export.benchmark([counting / "whole.tflite", counting / "empty.tflite"], threads=[1], rounds=1)
    assert report[0].status == "passed" and "to give its variables a value" in report[1].status


HEADS = {None: "Add", "sigmoid": "Sigmoid", "softmax": "Softmax"}


@pytest.mark.parametrize("head", HEADS)
def test_the_last_operation_is_found_in_every_kind_of_file(head, tmp_path):
    inputs = keras.Input((4,), name="x")
    model = keras.Model(inputs, keras.layers.Reshape((1, 3), name="y")(keras.layers.Dense(3, head)(inputs)))
    x = np.random.default_rng(0).normal(size=(50, 4)).astype("float32")
    formats = ("saved_model", "tflite", "tflite_int8", "onnx")
    report = export.export(model, tmp_path / "out", formats, calibration_data=x, kinds="numbers")
    assert report.passed, report
    loaded = tf.saved_model.load(report["saved_model"].path)
    function = loaded.signatures["serving_default"]
    found = find_in_function(function, 0)
    assert found == {"Add": "BiasAdd"}.get(HEADS[head], HEADS[head])
    assert find_in_onnx(report["onnx"].path, "y") in (HEADS[head], {None: "MatMul"}.get(head))
    for name in ("tflite", "tflite_int8"):
        model = flatbuffer.load_model(report[name].path)
        graph = model.subgraphs[0]
        names = [name for name, _ in flatbuffer.list_operators(model)]
        operators = [
            {"op_name": name, "inputs": list(each.inputs), "outputs": list(each.outputs)}
            for name, each in zip(names, graph.operators, strict=True)
        ]
        wanted = {"Add": "FULLY_CONNECTED", "Sigmoid": "LOGISTIC", "Softmax": "SOFTMAX"}[HEADS[head]]
        assert find_in_tflite(operators, graph.outputs[0]) == wanted


@pytest.mark.parametrize("name", ["tflite", "onnx", "saved_model"])
def test_a_sigmoid_in_a_file_is_no_logit_but_has_values(name, tmp_path):
    x = np.random.default_rng(0).random((32, 8), dtype="float32")
    original = keras.Sequential([keras.Input((8,)), keras.layers.Dense(4, "sigmoid")])
    path = export.export(original, tmp_path / "out", name, evaluation_data=x)[name].path
    student = keras.Sequential([keras.Input((8,)), keras.layers.Dense(4)])
    distiller = kd.Distiller(path, student, "kd")
    distiller.compile("adam")
    with pytest.raises(ValueError, match="^Expected a linear or a softmax head on the teacher.*a sigmoid head"):
        distiller.fit(x, verbose=0)
    distiller = kd.Distiller(path, student, kd.losses.FeatureDistillation("mse"))
    distiller.compile(keras.optimizers.SGD(0.0))
    wanted = np.mean((np.asarray(original(x)) - np.asarray(student(x))) ** 2)
    assert_allclose(distiller.fit(x, verbose=0).history["loss"], wanted, rtol=1e-5)
