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
FORMATS = ("saved_model", "tflite", "tflite_int8", "onnx")
X = np.random.default_rng(0).normal(size=(50, 4)).astype("float32")


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """A model with a sigmoid that a reshape follows, and its files."""
    inputs = keras.Input((4,), name="x")
    model = keras.Model(inputs, keras.layers.Reshape((3,), name="y")(keras.layers.Dense(3, "sigmoid")(inputs)))
    report = export.export(model, tmp_path_factory.mktemp("head") / "out", FORMATS, calibration_data=X, kinds="numbers")
    assert report.passed, report
    return model, {row.format: row.path for row in report}


@pytest.mark.parametrize("head", HEADS)
def test_the_last_operation_of_a_function_is_found(head):
    inputs = keras.Input((4,), name="x")
    model = keras.Model(inputs, keras.layers.Reshape((1, 3), name="y")(keras.layers.Dense(3, head)(inputs)))
    inner = tf.function(lambda x: model(x))
    outer = tf.function(lambda x: {"y": inner(x)}).get_concrete_function(tf.TensorSpec((None, 4)))
    assert find_in_function(outer, 0) == {"Add": "BiasAdd"}.get(HEADS[head], HEADS[head])


def test_the_last_operation_is_found_in_every_kind_of_file(exported):
    _, paths = exported
    assert find_in_onnx(paths["onnx"], "y") == "Sigmoid"
    assert find_in_function(tf.saved_model.load(paths["saved_model"]).signatures["serving_default"], 0) == "Sigmoid"
    for name in ("tflite", "tflite_int8"):
        model = flatbuffer.load_model(paths[name])
        graph, names = model.subgraphs[0], [name for name, _ in flatbuffer.list_operators(model)]
        operators = [
            {"op_name": name, "inputs": list(each.inputs), "outputs": list(each.outputs)}
            for name, each in zip(names, graph.operators, strict=True)
        ]
        assert find_in_tflite(operators, graph.outputs[0]) == "LOGISTIC"


@pytest.mark.parametrize("name", ["tflite", "onnx", "saved_model"])
def test_a_sigmoid_in_a_file_is_no_logit_but_has_values(name, exported):
    original, paths = exported
    student = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3)])
    distiller = kd.Distiller(paths[name], student, "kd")
    distiller.compile("adam")
    with pytest.raises(ValueError, match="^Expected a linear or a softmax head on the teacher.*a sigmoid head"):
        distiller.fit(X, verbose=0)
    distiller = kd.Distiller(paths[name], student, kd.losses.FeatureDistillation("mse"))
    distiller.compile(keras.optimizers.SGD(0.0))
    wanted = np.mean((np.asarray(original(X)) - np.asarray(student(X))) ** 2)
    assert_allclose(distiller.fit(X, batch_size=50, verbose=0).history["loss"], wanted, rtol=1e-5)
