"""Further arguments of an export: sizes, labels, devices, calibration, students with ranges."""

import json

import keras
import numpy as np
import pytest

import keras_distill as kd
from keras_distill.export.tflite import flatbuffer, metadata

RNG = np.random.default_rng(5)


@pytest.fixture(scope="module")
def reader():
    """A student of token sequences of any length, and sequences of 6."""
    keras.utils.set_random_seed(5)
    words = keras.Input((None,), name="words", dtype="int32")
    pooled = keras.layers.GlobalAveragePooling1D()(keras.layers.Embedding(9, 4)(words))
    return keras.Model(words, keras.layers.Dense(3, name="kind")(pooled)), RNG.integers(0, 9, size=(20, 6))


@pytest.mark.slow
def test_free_sizes_are_those_of_the_data_or_of_input_spec(reader, tmp_path):
    student, words = reader
    for input_spec in (None, (6,), {"words": keras.InputSpec(shape=(None, 6))}):
        report = kd.export.export(student, tmp_path / "out", "tflite", evaluation_data=words, input_spec=input_spec)
        assert report.passed, report
        (found,) = flatbuffer.describe(report["tflite"].path)["inputs"]
        assert found["shape"] == [1, 6]


@pytest.mark.parametrize(
    ("input_spec", "message"),
    [
        ((7,), "pad the data to it, and pass it as input_spec"),
        ((6, 1), "input_spec of 'words' to be sizes that fit (None,)"),
        ({"word": (6,)}, "input_spec to name inputs of words. Received: word."),
        ([(6,), (6,)], "input_spec of 1 inputs. Received: 2 shapes."),
    ],
)
def test_sizes_that_do_not_fit_are_refused(input_spec, message, reader, tmp_path):
    student, words = reader
    with pytest.raises(ValueError) as error:
        kd.export.export(student, tmp_path / "out", "tflite", evaluation_data=words, input_spec=input_spec)
    assert message in str(error.value) and not list(tmp_path.iterdir())


def test_data_of_several_sizes_is_refused_for_files_of_one(reader, tmp_path):
    import tensorflow as tf

    student, _ = reader
    batches = tf.data.Dataset.from_generator(
        lambda: (np.zeros((2, length), "int32") for length in (6, 5)),
        output_signature=tf.TensorSpec((None, None), "int32"),
    )
    with pytest.raises(ValueError, match="A file has one size of input 'words'"):
        kd.export.export(student, tmp_path / "out", "tflite", evaluation_data=batches)


def test_labels_are_in_the_file_and_its_card(tiny, tmp_path):
    student, x = tiny
    names = ["iris", "rose", "tulip"]
    report = kd.export.export(student, tmp_path / "out", "tflite", evaluation_data=x, labels=names)
    held, files = metadata.read(report["tflite"].path)
    assert held["outputs"][0]["labels"] == names and files == {"labels.txt": b"iris\nrose\ntulip\n"}
    assert "rose" in (tmp_path / "out" / "README.md").read_text()
    with pytest.raises(ValueError, match="Expected 3 labels of output 'logits'"):
        kd.export.export(student, tmp_path / "other", "tflite", evaluation_data=x, labels=names[:2])


def test_devices_are_run_or_reported_as_not_run(tiny, tmp_path):
    student, x = tiny
    report = kd.export.export(student, tmp_path / "out", "tflite", evaluation_data=x, devices=("android", "web"))
    assert report["tflite"].passed and report["tflite"].devices["android"] == "passed"
    assert report["tflite"].devices["web"].startswith("not run: a browser is needed")
    assert report.missing_devices == ("web",) and not report.passed
    assert "no file passed for device web" in str(report)
    with pytest.raises(ValueError, match="Did you mean 'android'"):
        kd.export.export(student, tmp_path / "out", "tflite", evaluation_data=x, devices="androit")


def test_an_operator_that_a_device_lacks_fails_on_it_alone(tmp_path):
    keras.utils.set_random_seed(6)
    layers = [keras.Input((4,)), keras.layers.Dense(3, "gelu"), keras.layers.Dense(3)]
    student, x = keras.Sequential(layers), RNG.normal(size=(12, 4)).astype("float32")
    report = kd.export.export(student, tmp_path / "out", "tflite", evaluation_data=x, devices="microcontroller")
    status = report["tflite"].devices["microcontroller"]
    assert report["tflite"].passed and status.startswith("failed: microcontroller") and "GELU" in status


def test_calibration_data_of_another_scale_gives_a_warning(tiny, tmp_path):
    student, x = tiny
    with pytest.warns(UserWarning, match="input 'x' to have the same scale in both"):
        kd.export.export(student, tmp_path / "out", "tflite", calibration_data=255 * x, evaluation_data=x)


def test_an_unknown_calibration_is_refused(tiny, tmp_path):
    student, x = tiny
    with pytest.raises(ValueError, match="Did you mean 'percentile'"):
        kd.export.export(student, tmp_path / "out", "tflite", evaluation_data=x, calibration="percentil")


def test_old_names_of_devices_warn_and_work(tiny, tmp_path):
    student, x = tiny
    with pytest.warns(DeprecationWarning, match=r"Use `export\(devices=\.\.\.\)`"):
        report = kd.export.export(student, tmp_path / "out", "tflite", evaluation_data=x, targets="web")
    with pytest.warns(DeprecationWarning, match="Use `ExportReport.missing_devices`"):
        assert report.missing_targets == ("web",)
    with pytest.warns(DeprecationWarning, match="Use `Artifact.devices`"):
        assert report["tflite"].targets == report["tflite"].devices
    with pytest.warns(DeprecationWarning, match="Use `keras_distill.export.devices.DEVICES`"):
        assert kd.export.TARGETS is kd.export.DEVICES
    with pytest.warns(DeprecationWarning, match="missing_devices"):
        assert kd.export.ExportReport(None, [], missing_targets=["web"]).missing_devices == ("web",)
    with pytest.warns(DeprecationWarning, match="devices"):
        assert kd.export.Artifact("tflite", "passed", targets={"web": "passed"}).devices == {"web": "passed"}
    # The JSON keys are those of earlier versions.
    assert report.to_dict()["missing_targets"] == ["web"]
    assert set(json.loads((tmp_path / "out" / "export.json").read_text())["artifacts"][0]["targets"]) == {"web"}


@pytest.mark.slow
@pytest.mark.parametrize("bits", [8, 4])
def test_a_quantization_aware_student_needs_no_calibration_data(bits, student, digits, tmp_path):
    images = digits[0][0]
    aware = kd.quantization.quantize_aware(student, weight_bits=bits)
    with pytest.raises(ValueError, match="a quantization-aware model that has seen data"):
        kd.export.export(aware, tmp_path / "out", "tflite_int8", evaluation_data=images)
    kd.quantization.calibrate(aware, images)
    report = kd.export.export(aware, tmp_path / "out", ("tflite", "tflite_int8"), evaluation_data=images[:200])
    assert report.passed, report
    weights = flatbuffer.describe(report["tflite_int8"].path)["weights"]
    assert weights[f"INT{bits}"] > 900 // (8 // bits) and "FLOAT32" not in weights
    assert json.loads((tmp_path / "out" / "export.json").read_text())["calibrated_on"]["samples"] == 0
