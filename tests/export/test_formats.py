"""Each format of the table: the contents of the file, the source of its ranges, its requirements."""

import importlib.util

import keras
import numpy as np
import onnx
import pytest

from keras_distill import export as room
from keras_distill import quantization
from keras_distill.export import arrays, formats
from keras_distill.export.conversion import calibration
from keras_distill.export.conversion.sources import Source
from keras_distill.export.formats import FORMATS
from keras_distill.export.runtimes.litert import LiteRTRuntime
from keras_distill.export.runtimes.onnx import OnnxRuntime
from keras_distill.export.signature import read_inputs, read_signature
from keras_distill.export.tflite import flatbuffer, inspection


def source_of(student, x, work, converter, **options):
    """Return the source of a student's files."""
    structure, inputs = read_inputs(student, x)
    named = {inputs[0].name: x}
    return Source(student, read_signature(student, structure, inputs, named), named, work, converter, 60.0, **options)


@pytest.fixture(scope="module")
def residual(tmp_path_factory, converter):
    """A student whose last step works in place, data with one large sample among many, and a source of it."""
    keras.utils.set_random_seed(0)
    inputs = keras.Input((6,), name="x")
    hidden = keras.layers.Dense(6, name="before")(inputs)
    student = keras.Model(inputs, keras.layers.Add(name="y")([inputs, hidden]))
    x = np.random.default_rng(0).normal(size=(300, 6)).astype("float32")
    x[17] *= 40
    return student, x, source_of(student, x, tmp_path_factory.mktemp("residual"), converter)


def test_ranges_are_those_of_every_tensor(residual):
    student, x, source = residual
    ranges = calibration.read_ranges(source.calibrated_file)
    before = np.asarray(student.get_layer("before")(x))
    # The sum may reuse the memory of its inputs: a calibration that reads too late reads the sum twice.
    for values in (x, before, np.asarray(student(x))):
        ends = [(float(noted["min"]), float(noted["max"])) for noted in ranges.values()]
        assert any(np.allclose(end, (values.min(), values.max()), rtol=1e-4) for end in ends), (values.min(), ends)


def test_percentiles_leave_out_rare_values(residual, tmp_path):
    _, x, source = residual
    arrays.save(tmp_path / "x.npz", {"x": x})
    ranges = []
    for method in calibration.METHODS:
        calibration.calibrate(source.float_file, tmp_path / "x.npz", method, tmp_path / "noted.tflite")
        ranges.append(
            next(found for name, found in calibration.read_ranges(tmp_path / "noted.tflite").items() if "x" in name)
        )
    assert (float(ranges[0]["min"]), float(ranges[0]["max"])) == (x.min(), x.max())
    np.testing.assert_allclose([ranges[1]["min"], ranges[1]["max"]], np.quantile(x, [1e-4, 1 - 1e-4]), rtol=1e-5)


def test_no_moving_average_clips_the_one_large_sample(residual, tmp_path):
    _, x, source = residual
    FORMATS["tflite_int8"].write(source, tmp_path / "int8.tflite")
    (end,) = flatbuffer.describe(tmp_path / "int8.tflite")["inputs"]
    assert end["scale"] == pytest.approx((x.max() - x.min()) / 255, rel=1e-3)


def test_unknown_calibration_names_the_nearest():
    with pytest.raises(ValueError, match=r"one of min_max, percentile\. Received: 'percentil'\. Did you mean"):
        calibration.check_method("percentil")


def test_description_counts(exported):
    path, report = exported
    kinds = {name: flatbuffer.describe(report[name].path) for name in ("tflite", "tflite_int8")}
    assert kinds["tflite"]["operators"] == {"CONV_2D": 1, "MAX_POOL_2D": 1, "RESHAPE": 1, "FULLY_CONNECTED": 1}
    assert kinds["tflite"]["computing"] == {"FLOAT32": 4} and kinds["tflite_int8"]["computing"] == {"INT8": 4}
    # A convolution of 3 x 3 to 8 channels, and a dense layer of 128 to 10.
    numbers = 9 * 8 + 8 + 1280 + 10
    assert kinds["tflite"]["weights"]["FLOAT32"] == 4 * numbers
    assert kinds["tflite_int8"]["weights"]["INT8"] == 9 * 8 + 1280
    assert kinds["tflite"]["inputs"] == [
        {"name": "image", "shape": [1, 8, 8, 1], "dtype": "float32", "scale": 0.0, "zero_point": 0}
    ]
    assert kinds["tflite_int8"]["outputs"][0]["dtype"] == "int8" and kinds["tflite_int8"]["outputs"][0]["scale"] > 0


WRONG = {
    "tflite_float16": "0% of its weights are FLOAT16",
    "tflite_dynamic_range": "0% of its weights are INT8: the converter leaves layers of less than 1,024 weights",
    "tflite_weights_int4": "0% of its weights are INT4",
    "tflite_int8": "CONV_2D does not compute in integers",
    "tflite_int8_float_io": "CONV_2D does not compute in integers",
    "tflite_uint8": "CONV_2D does not compute in integers",
    "tflite_int16x8": "an input is FLOAT32",
    "tflite_dynamic_batch": "input 'image' has the shape (1, 8, 8, 1), where only the batch should be free",
}


@pytest.mark.parametrize("name", WRONG)
def test_a_float_file_does_not_pass_as_another_format(name, exported, student, digits):
    signature = read_signature(student, *read_inputs(student, digits[1][0]), {"image": digits[1][0]})
    complaints = FORMATS[name].inspect(exported[0] / "student.tflite", signature)
    assert any(complaint.startswith(WRONG[name]) for complaint in complaints), complaints


@pytest.mark.slow
def test_files_of_any_batch(student, digits, tmp_path):
    images = digits[1][0]
    names = ("tflite_dynamic_batch", "onnx")
    report = room.export(student, tmp_path / "out", names, evaluation_data=digits[1])
    assert report.passed, report
    onnx.checker.check_model(report["onnx"].path, full_check=True)
    graph = onnx.load(report["onnx"].path).graph
    sizes = [[size.dim_param or size.dim_value for size in end.type.tensor_type.shape.dim] for end in graph.input]
    assert sizes == [["batch", 8, 8, 1]]
    for count in (1, 7):
        outputs = OnnxRuntime(report["onnx"].path)({"image": images[:count]})
        np.testing.assert_allclose(outputs["logits"], student(images[:count]), atol=1e-4)
    assert inspection.static(report["tflite_dynamic_batch"].path, None) == [
        "input 'image' has the shape (-1, 8, 8, 1)",
        "output 'logits' has the shape (-1, 10)",
    ]


@pytest.mark.slow
@pytest.mark.parametrize("io", ["tflite_int8", "tflite_int8_float_io", "tflite_uint8", "c_array_int8"])
def test_quantization_aware_students_need_no_samples(io, residual, tmp_path, converter):
    student, x, _ = residual
    aware = quantization.quantize_aware(student)
    quantization.calibrate(aware, x)
    assert formats.needs_calibration(FORMATS[io], student) and not formats.needs_calibration(FORMATS[io], aware)
    assert formats.needs_calibration(FORMATS["tflite_int16x8"], aware)
    source = source_of(aware, x, tmp_path, converter)
    FORMATS[io].write(Source(aware, source.signature, None, tmp_path, converter, 60.0), tmp_path / "file")
    assert FORMATS[io].inspect(tmp_path / "file", source.signature) == []


@pytest.mark.slow
def test_a_failure_is_not_repeated(residual, tmp_path, converter):
    student, x, _ = residual
    source = source_of(student, x, tmp_path, converter, calibration_method="no such")
    errors = []
    for name in ("tflite_int8", "c_array_int8", "tflite_int16x8"):
        with pytest.raises(Exception, match="calibration to be one of min_max, percentile") as caught:
            FORMATS[name].write(source, tmp_path / name)
        errors.append(caught.value)
    assert errors[0] is errors[1] is errors[2]


@pytest.mark.slow
def test_one_large_sample_costs_min_max_more_than_percentiles(residual, tmp_path, converter):
    student, x, source = residual
    typical, means = np.delete(x, 17, 0), []
    for method in calibration.METHODS:
        with_method = source_of(student, x, tmp_path / method, converter, calibration_method=method)
        (tmp_path / method).mkdir()
        FORMATS["tflite_int8"].write(with_method, tmp_path / f"{method}.tflite")
        outputs = LiteRTRuntime(tmp_path / f"{method}.tflite")({"x": typical})["y"]
        means.append(np.abs(outputs - np.asarray(student(typical))).mean())
    assert means[1] < means[0]


@pytest.mark.parametrize(
    ("name", "module", "package"),
    [("onnx", "tf2onnx", "tf2onnx"), ("tflite_int16x8", "litert_quantizer", "litert-quantizer")],
)
def test_a_missing_package_is_named_with_the_command_that_installs_it(name, module, package, monkeypatch):
    found = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda wanted: None if wanted == module else found(wanted))
    with pytest.raises(ImportError, match=rf'{module} for format .* Install it: pip install .*"{package}'):
        FORMATS[name].require()


def test_every_format_has_a_summary():
    assert all(entry.summary and "\n" not in entry.summary for entry in FORMATS.values())
    for entry in FORMATS.values():
        entry.require()
