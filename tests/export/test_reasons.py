"""Why a conversion failed is one sentence that says what, why and what to do."""

import keras
import numpy as np
import pytest
from keras import layers, ops

from keras_distill import export as room
from keras_distill.export.reasons import explain

RNG = np.random.default_rng(0)
ROWS = RNG.random((16, 4), dtype="float32")
VOLUMES = RNG.random((6, 6, 6, 6, 2), dtype="float32")


def of_volumes():
    stack = [layers.Conv3D(2, 3), layers.MaxPooling3D(), layers.Flatten(), layers.Dense(3)]
    return keras.Sequential([keras.Input(VOLUMES.shape[1:]), *stack])


def with_the_inverse_of_erf():
    inputs = keras.Input((4,))
    return keras.Model(inputs, layers.Dense(3)(ops.erfinv(0.1 * inputs)))


@pytest.mark.parametrize(
    ("make", "data", "format", "says"),
    [
        (of_volumes, VOLUMES, "tflite", "TFLite has no operator for MaxPool3D; write that part"),
        (with_the_inverse_of_erf, ROWS, "tflite", "TFLite has no operator for Erfinv; write that part"),
        (with_the_inverse_of_erf, ROWS, "onnx", "ONNX has no operator for Erfinv; write that part"),
    ],
)
def test_operators_that_a_format_lacks_are_named(make, data, format, says, tmp_path):
    report = room.export(make(), tmp_path / "out", format, evaluation_data=data)
    status = report[format].status
    assert status.startswith(f"failed: {says}") and "loc(" not in status and "domain_version" not in status
    assert report[format].log or format == "onnx"


def quantized_by_keras():
    student = keras.Sequential([keras.Input((4,)), layers.Dense(3, name="scores")])
    student.get_layer("scores").quantize("int8")
    return student


def with_a_state():
    return keras.Sequential([keras.Input(batch_shape=(1, 4, 1)), layers.LSTM(4, stateful=True, name="memory")])


@pytest.mark.parametrize(
    ("make", "data", "says"),
    [
        (
            quantized_by_keras,
            ROWS,
            "^Expected a student of floats.*'scores', quantized by Keras to int8. Export the float",
        ),
        (
            with_a_state,
            ROWS[..., None],
            "^Expected a student without a state.*'memory' with stateful=True.*Build it with",
        ),
    ],
)
def test_students_that_no_format_can_hold(make, data, says, tmp_path):
    with pytest.raises(ValueError, match=says):
        room.export(make(), tmp_path / "out", "tflite", evaluation_data=data)
    assert not (tmp_path / "out").exists()


def test_other_words_stay_as_they_are():
    assert explain("a reason of our own") == "a reason of our own"
    place = 'loc(callsite(fused["Erfinv:", "model_1/block_1/dense_1/Erfinv@__inference_f"] at x)): '
    text = explain(place + "'tf.Erfinv' op is neither a custom op nor a flex op")
    assert text.endswith("(at block_1/dense_1)")
