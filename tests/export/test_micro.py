"""The microcontroller's runtime: the same integers as LiteRT's reference kernels, its memory, its refusals."""

import sys

import keras
import numpy as np
import pytest
import tensorflow as tf
from ai_edge_litert.interpreter import Interpreter, OpResolverType

from keras_distill import export as room
from keras_distill._core.litert import quantized
from keras_distill.export.worker import Process, ProcessError

pytest.importorskip("tflite_micro", reason="needs the extra micro")
from keras_distill.export.runtimes import micro  # noqa: E402

SAMPLES = 300


@pytest.fixture(scope="module")
def int8_file(digits, tmp_path_factory):
    """A CNN with batch normalisation, depthwise convolutions and both kinds of pooling, fully int8."""
    keras.utils.set_random_seed(0)
    layers = keras.layers
    image = keras.Input((8, 8, 1), name="image")
    x = layers.Conv2D(16, 3, padding="same", use_bias=False)(image)
    x = layers.ReLU()(layers.BatchNormalization()(x))
    x = layers.DepthwiseConv2D(3, padding="same", use_bias=False)(layers.MaxPooling2D()(x))
    x = layers.ReLU(6.0)(layers.BatchNormalization()(x))
    features = layers.GlobalAveragePooling2D(name="features")(layers.Conv2D(32, 1, activation="relu")(x))
    logits = layers.Dense(10, name="logits")(features)
    student = keras.Model(image, logits)
    student.compile(keras.optimizers.Adam(0.01), keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    (x, y), _ = digits
    student.fit(x, y, epochs=10, verbose=0)
    student, path = keras.Model(image, {"features": features, "logits": logits}), tmp_path_factory.mktemp("micro") / "d"
    report = room.export(student, path, ["tflite_int8"], calibration_data=x[:200], evaluation_data=x[-100:])
    assert report.passed, str(report)
    return path / "student_int8.tflite"


@pytest.fixture(scope="module")
def integers(digits, int8_file):
    """Test digits as the file takes them."""
    (detail,) = Interpreter(model_path=str(int8_file)).get_input_details()
    return quantized(digits[1][0][:SAMPLES], detail)


@pytest.fixture(scope="module")
def runtime(int8_file):
    return micro.MicroRuntime(int8_file)


@pytest.fixture
def write(tmp_path):
    """Make a float32 file of a function, with the converter itself."""

    def write(function, dtype=tf.float32, shape=(1, 4)):
        module = tf.Module()
        module.call = tf.function(lambda x: {"y": function(x)}, [tf.TensorSpec(shape, dtype, name="x")])
        tf.saved_model.save(module, str(tmp_path / "saved"), {"serving_default": module.call})
        path = tmp_path / "model.tflite"
        path.write_bytes(tf.lite.TFLiteConverter.from_saved_model(str(tmp_path / "saved")).convert())
        return path

    return write


class Reference:
    """LiteRT's reference kernels, without any code of this package."""

    def __init__(self, path):
        self.interpreter = Interpreter(
            model_path=str(path), num_threads=1, experimental_op_resolver_type=OpResolverType.BUILTIN_REF
        )
        self.interpreter.allocate_tensors()
        self.runner = self.interpreter.get_signature_runner("serving_default")

    def __call__(self, integers):
        rows = [self.runner(image=row[None]) for row in integers]
        return {name: np.concatenate([row[name] for row in rows]) for name in rows[0]}

    def dense(self, features):
        """The results of the dense layer before rounding to int8: whole sums, and their factors."""
        (node,) = [node for node in self.interpreter._get_ops_details() if node["op_name"] == "FULLY_CONNECTED"]
        details = {detail["index"]: detail for detail in self.interpreter.get_tensor_details()}
        source, kernel, bias = (details[int(index)] for index in node["inputs"])
        weights = self.interpreter.get_tensor(kernel["index"]).astype(np.int64)
        sums = (features.astype(np.int64) - source["quantization"][1]) @ weights.T
        scale, self.zero_point = details[int(node["outputs"][0])]["quantization"]
        factors = kernel["quantization_parameters"]["scales"].astype(np.float64) * source["quantization"][0] / scale
        return sums + self.interpreter.get_tensor(bias["index"]), np.broadcast_to(factors, weights.shape[:1])


def rounded_twice(sums, factors):
    """Multiply whole numbers by factors below one in 32 bits: round the upper half, then what is shifted out."""
    fractions, exponents = np.frexp(factors)
    products = sums * np.round(fractions * 2.0**31).astype(np.int64)
    upper = np.trunc((products + np.where(products >= 0, 2**30, 1 - 2**30)) / 2.0**31)
    return np.trunc(upper * 2.0**exponents + np.copysign(0.5, upper)).astype(np.int64)


@pytest.mark.slow
def test_int8_outputs_are_those_of_the_reference_kernels(runtime, int8_file, integers):
    outputs, reference = runtime.run_quantized({"image": integers}), Reference(int8_file)(integers)
    assert outputs.keys() == reference.keys() == {"features", "logits"}
    assert all(array.dtype == np.int8 and len(np.unique(array)) > 50 for array in outputs.values())
    # Convolutions, depthwise ones, batch normalisation, poolings.
    np.testing.assert_array_equal(outputs["features"], reference["features"])
    # Dense layers: a step of eight bits apart in a few places, see below.
    steps = np.abs(outputs["logits"].astype(int) - reference["logits"])
    assert steps.max() <= 1 and np.mean(steps) < 0.005


def test_dense_layers_differ_only_in_how_they_round(runtime, int8_file, integers):
    """LiteRT's reference kernel rounds the exact number, https://github.com/google-ai-edge/LiteRT/issues/8567."""
    outputs, reference = runtime.run_quantized({"image": integers}), Reference(int8_file)
    sums, factors = reference.dense(outputs["features"])
    once, twice = np.round(sums * factors), rounded_twice(sums, factors)
    for rounded, logits in ((once, reference(integers)["logits"]), (twice, outputs["logits"])):
        np.testing.assert_array_equal(logits, np.clip(rounded + reference.zero_point, -128, 127))


def test_floats_in_and_out_match_the_integers(runtime, integers, digits):
    outputs, raw = runtime({"image": digits[1][0][:SAMPLES]}), runtime.run_quantized({"image": integers})
    assert runtime.input_dtypes == {"image": "int8"}
    assert runtime.output_dtypes == {"features": "int8", "logits": "int8"}
    for name, array in raw.items():
        scale, shift = np.polyfit(array.ravel(), outputs[name].ravel(), 1)
        np.testing.assert_allclose(outputs[name], scale * array + shift, atol=1e-4)
    assert np.mean(np.argmax(outputs["logits"], -1) == digits[1][1][:SAMPLES]) > 0.8


def test_prepared_runs_without_arguments(runtime, digits):
    images = digits[1][0][:2]
    run = runtime.prepared({"image": images[:1]})
    run()
    one = runtime({"image": images[:1]})
    assert all(np.array_equal(one[name], runtime({"image": images})[name][:1]) for name in one)


def test_the_arena_is_the_smallest_that_works(runtime, int8_file, tmp_path):
    arena = runtime.facts()["arena_bytes"]
    assert micro.runs_in(int8_file, arena)
    # Two tensors that are alive at once: 16 channels of 8 by 8, and the output of the pooling.
    assert 16 * (8 * 8 + 4 * 4) < arena < 16_000
    with Process(micro.__name__, tmp_path / "log", time_limit=60) as process:
        try:
            fits = process.ask("runs_in", path=str(int8_file), arena=arena - 64)
        except ProcessError:
            fits = False
    assert not fits


def test_names_follow_the_signature(write):
    def function(x):
        return x * 2.0

    file = write(function)
    runtime = micro.MicroRuntime(file)
    assert (runtime.input_dtypes, runtime.output_dtypes) == ({"x": "float32"}, {"y": "float32"})
    np.testing.assert_array_equal(runtime({"x": np.float32([[1, 2, 3, 4], [5, 6, 7, 8]])})["y"][1], [10, 12, 14, 16])


@pytest.mark.parametrize(
    ("function", "dtype", "message"),
    [
        (tf.nn.gelu, tf.float32, "microcontroller runtime has no GELU"),
        (lambda x: tf.cast(x, tf.float32) / 255.0, tf.uint8, "has no CAST of UINT8, FLOAT32: Input type UINT8"),
    ],
)
def test_missing_operators_are_named(write, function, dtype, message, capfd):
    with pytest.raises(ValueError, match=message):
        micro.MicroRuntime(write(function, dtype))
    assert "failed" not in capfd.readouterr().err


@pytest.mark.parametrize("kept", [0, 100, 5000])
def test_a_truncated_file_is_refused(int8_file, tmp_path, kept):
    path = tmp_path / "short.tflite"
    path.write_bytes(int8_file.read_bytes()[:kept])
    with pytest.raises(ValueError, match="whole TFLite file"):
        micro.MicroRuntime(path)


def test_the_error_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "tflite_micro", None)
    with pytest.raises(ImportError, match=r"Install it: pip install .*tflite-micro"):
        micro.MicroRuntime.require()
