"""Regressors and autoencoders: no number at an end of the model is cut off, and the report knows the float student."""

import keras
import numpy as np
import pytest
from keras import layers

from keras_distill import quantization
from keras_distill.export import verification
from keras_distill.export.reporting.report import Artifact, ExportReport
from keras_distill.quantization.stripping import restore_first_student
from tests.quantization.files import convert, run

# The last layers with weights, and what comes after them.
HEADS = {
    "linear": lambda x: layers.Dense(2)(x),
    "relu": lambda x: layers.Dense(2, activation="relu")(x),
    "leaky": lambda x: layers.LeakyReLU()(layers.Dense(2)(x)),
    "reshaped": lambda x: layers.Reshape((2, 1))(layers.Dense(2)(x)),
    "scaled": lambda x: layers.Rescaling(30.0, 50.0)(layers.Dense(2)(x)),
    "sum": lambda x: layers.Add()([layers.Dense(2)(x), layers.Dense(2)(x)]),
    "joined": lambda x: layers.Concatenate()([layers.Dense(2)(x), layers.Dense(1)(x)]),
    "two": lambda x: [layers.Dense(2)(x), layers.Dense(3)(x)],
    "autoencoder": lambda x: layers.Conv2D(1, 1)(layers.Reshape((2, 2, 2))(x)),
}
NUMBERS = ("reshaped", "autoencoder")


@pytest.mark.parametrize("ranges", ("moving_average", "learned"))
@pytest.mark.parametrize("head", HEADS)
def test_nothing_is_cut_off_at_the_ends(head, ranges):
    keras.utils.set_random_seed(1)
    inputs = keras.Input((4,), name="x")
    hidden = layers.Dense(8, activation="relu", name="hidden")(inputs)
    student = keras.Model(inputs, HEADS[head](hidden))
    aware = quantization.quantize_aware(student, ranges=ranges)
    x = np.random.default_rng(0).normal(size=(40, 4)).astype("float32")
    x[:20] *= 10.0
    for batch in (x[20:], x[:20], *[x[20:]] * 4):
        aware(batch, training=True)
    assert quantization.ranges(aware)["x_range"] == pytest.approx((x.min(), x.max()))
    assert aware.get_layer("hidden_range").covers == (ranges == "moving_average" and head in NUMBERS)
    last = [layer for layer in aware.layers if isinstance(layer, quantization.FakeQuantization)][2:]
    assert last
    for layer in last:
        low, high = quantization.ranges(aware)[layer.name]
        before = np.asarray(keras.Model(aware.inputs, layer.input)([x[:20]], training=False))
        # In training, the values went through a hidden range that was up to the moment.
        slack = 0.02 * (high - low)
        assert low <= before.min() + slack and before.max() - slack <= high


@pytest.fixture(scope="module")
def regressor():
    """A regressor of numbers from about -60 to 160 without an error, and its data."""
    x = np.random.default_rng(0).normal(size=(2000, 2)).astype("float32")
    model = keras.Sequential([keras.Input((2,), name="x"), layers.Dense(2, "relu"), layers.Dense(1)])
    model.set_weights([np.array([[1.0, -1.0], [0.0, 0.0]]), np.zeros(2), np.array([[30.0], [-30.0]]), np.array([50.0])])
    return model, x, x[:, :1] * 30 + 50


@pytest.mark.slow
@pytest.mark.parametrize("ranges", ("moving_average", "learned"))
def test_files_of_regressors_are_as_good_as_their_steps_allow(regressor, ranges, tmp_path):
    student, x, y = regressor
    aware = quantization.quantize_aware(student, ranges=ranges)
    aware.compile(keras.optimizers.Adam(1e-4), "mse")
    aware.fit(x, y, epochs=5, verbose=0)
    (answers,), (step,) = run(convert(aware, tmp_path), x)
    errors = answers - y
    # Steps of the input, of 30 / 127 of its range of the hidden units and of the output add up.
    assert np.sqrt(np.mean(errors**2)) < 1.0 * step
    assert np.abs(errors).max() < 4.0 * step


class _Signature:
    outputs = [type("Tensor", (), {"name": "y"})]

    def call(self, student, inputs):
        return {"y": student(inputs["x"])}


def test_files_are_compared_with_the_student_before_training_too():
    class Source:
        student, first_student = staticmethod(lambda x: 2.0 * x), staticmethod(lambda x: 5.0 * x)
        signature, kinds = _Signature(), {"y": "numbers"}

    x = np.array([[1.0], [-2.0]], "float32")
    first = {"y": verification.Tally("numbers")}
    found = verification.compare(Source, lambda inputs: {"y": 3.0 * inputs["x"]}, [({"x": x}, {})], first)
    assert found["y"].figures()["max_difference"] == 2.0
    assert first["y"].figures()["max_difference"] == 4.0 and first["y"].figures()["mean_difference"] == 3.0


def test_the_report_says_how_far_a_file_is_from_the_student_before_training():
    figures = {"agreement": None, "max_difference": 41.0, "mean_difference": 0.5, "student_accuracy": None}
    report = ExportReport("out", [Artifact("tflite_int8", "passed", first_student=figures)])
    line = (
        "tflite_int8 and the float student before quantization-aware training: max difference 41, mean difference 0.5"
    )
    assert line in report._repr_html_()
    assert report.to_dict()["artifacts"][0]["first_student"] == figures


def test_the_student_before_training_is_known_until_the_copy_is_saved(regressor):
    student, x, _ = regressor
    aware = quantization.quantize_aware(student)
    quantization.calibrate(aware, x)
    aware.layers[-2].layer.kernel.assign_add([[1.0]] * 2)
    trained = aware.get_weights()
    assert np.allclose(restore_first_student(aware)(x), student(x), atol=1e-4)
    assert all(np.array_equal(a, b) for a, b in zip(trained, aware.get_weights(), strict=True))
    assert restore_first_student(keras.models.clone_model(aware)) is None
