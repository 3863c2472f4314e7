"""The exported directory: files match the student, and the report and the manifest are right."""

import ast
import hashlib
import json
import pathlib
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf
from ai_edge_litert.interpreter import Interpreter

from keras_distill import export as room
from keras_distill.export.comparison.limits import Limits
from keras_distill.export.conversion.writers import tflite
from keras_distill.export.formats import Format
from keras_distill.export.signature import Signature, Tensor
from keras_distill.export.tflite import flatbuffer


def answers(path, images):
    """Run a TFLite file by LiteRT, independently of the code under test; quantize and dequantize by hand."""
    interpreter = Interpreter(model_path=str(path))
    interpreter.allocate_tensors()
    (source,), (target,) = interpreter.get_input_details(), interpreter.get_output_details()
    rows = []
    for image in images:
        if source["dtype"] is np.int8:
            scale, zero = source["quantization"]
            image = np.clip(np.round(image / scale) + zero, -128, 127).astype(np.int8)
        interpreter.set_tensor(source["index"], image[None])
        interpreter.invoke()
        row = interpreter.get_tensor(target["index"]).astype(np.float32)
        if target["dtype"] is np.int8:
            scale, zero = target["quantization"]
            row = (row - zero) * scale
        rows.append(row)
    return np.concatenate(rows)


@pytest.mark.slow
def test_every_format_passes(exported):
    path, report = exported
    assert report.passed, report
    assert report.path == str(path)
    assert [row.format for row in report] == ["saved_model", "tflite", "tflite_int8"]
    assert sorted(entry.name for entry in path.iterdir()) == [
        "README.md",
        "export.json",
        "saved_model",
        "student.tflite",
        "student_int8.tflite",
    ]
    assert [entry.name for entry in path.parent.iterdir()] == [path.name]


def test_saved_model_takes_any_batch_and_has_names(exported, student, digits):
    served = tf.saved_model.load(str(exported[0] / "saved_model")).signatures["serving_default"]
    images = digits[1][0]
    for count in (1, 7):
        outputs = served(image=tf.constant(images[:count]))
        np.testing.assert_allclose(outputs["logits"], student(images[:count]), atol=1e-5)


def test_float_file_equals_the_student(exported, student, digits):
    images = digits[1][0]
    np.testing.assert_allclose(answers(exported[0] / "student.tflite", images), student(images), atol=1e-4)


def test_int8_file_agrees_and_the_report_has_its_figures(exported, student, digits):
    path, report = exported
    images, labels = digits[1]
    logits, expected = answers(path / "student_int8.tflite", images), np.asarray(student(images))
    row = report["tflite_int8"]
    agreement = (logits.argmax(-1) == expected.argmax(-1)).mean()
    assert agreement >= 0.97
    assert row.agreement == pytest.approx(agreement)
    assert row.max_difference == pytest.approx(np.abs(logits - expected).max(), rel=1e-4)
    assert row.mean_difference == pytest.approx(np.abs(logits - expected).mean(), rel=1e-4)
    assert row.accuracy == pytest.approx((logits.argmax(-1) == labels).mean())
    assert row.student_accuracy == pytest.approx((expected.argmax(-1) == labels).mean())
    assert row.accuracy > 0.8


def test_int8_file_is_int8(exported):
    path, report = exported
    details = Interpreter(model_path=str(path / "student_int8.tflite")).get_tensor_details()
    assert not [detail["name"] for detail in details if detail["dtype"] is np.float32]
    row = report["tflite_int8"]
    assert (row.input_dtypes, row.output_dtypes) == ({"image": "int8"}, {"logits": "int8"})
    names = [name for name, _ in flatbuffer.list_operators(flatbuffer.load_model(path / "student_int8.tflite"))]
    assert "CONV_2D" in names and not any(name.startswith("Flex") for name in names)


def test_a_float_file_does_not_pass_as_int8(exported):
    path, _ = exported
    signature = Signature(
        (Tensor("x", "x", (None, 1), "float32"),), (Tensor("y", "y", (None, 1), "float32"),), None, {}
    )
    complaints = room.FORMATS["tflite_int8"].inspect(path / "student.tflite", signature)
    assert "CONV_2D does not compute in integers" in complaints
    assert "an input is FLOAT32" in complaints and "an output is FLOAT32" in complaints


def test_sizes_and_latencies(exported):
    path, report = exported
    assert report["tflite"].bytes == (path / "student.tflite").stat().st_size
    assert report["tflite_int8"].bytes < report["tflite"].bytes
    files = (path / "saved_model").rglob("*")
    assert report["saved_model"].bytes == sum(file.stat().st_size for file in files if file.is_file())
    assert all(row.latency_us > 0 and row.samples == 397 and row.finite for row in report)


def test_manifest_is_true(exported):
    path, report = exported
    manifest = json.loads((path / "export.json").read_text())
    on_disk = {file.relative_to(path).as_posix() for file in path.rglob("*") if file.is_file()} - {"export.json"}
    assert set(manifest["files"]) == on_disk
    for name, entry in manifest["files"].items():
        content = (path / name).read_bytes()
        assert entry == {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
    image = {"name": "image", "shape": [None, 8, 8, 1], "dtype": "float32", "preprocessing": None}
    assert manifest["inputs"] == [image]
    assert manifest["outputs"] == [{"name": "logits", "shape": [None, 10], "dtype": "float32", "labels": None}]
    assert manifest["verified_on"] == {"argument": "evaluation_data", "samples": 397, "ranges": {"image": [0.0, 1.0]}}
    assert manifest["versions"]["tensorflow"] == tf.__version__
    assert [row["agreement"] for row in manifest["artifacts"]] == [row.agreement for row in report]
    assert [row["path"] for row in manifest["artifacts"]] == ["saved_model", "student.tflite", "student_int8.tflite"]
    assert str(path) not in json.dumps(manifest)


@pytest.mark.slow
def test_saved_model_serves_in_another_process(exported, student, digits, tmp_path):
    images = digits[1][0][:5]
    np.save(tmp_path / "images.npy", images)
    program = (
        "import sys, numpy as np, tensorflow as tf\n"
        "served = tf.saved_model.load(sys.argv[1]).signatures['serving_default']\n"
        "np.save(sys.argv[3], served(image=tf.constant(np.load(sys.argv[2])))['logits'].numpy())\n"
        "assert 'keras_distill' not in sys.modules\n"
    )
    arguments = [exported[0] / "saved_model", tmp_path / "images.npy", tmp_path / "logits.npy"]
    subprocess.run([sys.executable, "-c", program, *map(str, arguments)], check=True, capture_output=True)
    np.testing.assert_allclose(np.load(tmp_path / "logits.npy"), student(images), atol=1e-5)


def test_no_runtime_is_imported_before_use():
    for file in pathlib.Path(room.__file__).parent.glob("*.py"):
        for statement in ast.parse(file.read_text()).body:
            if isinstance(statement, (ast.Import, ast.ImportFrom)):
                names = [getattr(statement, "module", None), *(alias.name for alias in statement.names)]
                assert not {"tensorflow", "ai_edge_litert"} & {(name or "").split(".")[0] for name in names}, file


def test_nothing_is_printed(tiny, tmp_path, capfd, recwarn):
    student, x = tiny
    room.export(student, tmp_path / "out", "tflite", evaluation_data=x)
    assert capfd.readouterr() == ("", "")
    assert not recwarn.list


@pytest.mark.slow
def test_a_new_format_is_one_entry(student, digits, tmp_path, monkeypatch):
    half = Format(
        name="half",
        summary="TFLite, in half the bytes",
        filename="half.tflite",
        write=tflite(optimizations=["DEFAULT"], supported_types=["float16"]),
        runtime="litert",
        limits=Limits(min_agreement=0.98, max_difference=1e-2, max_mean_difference=1e-3),
    )
    monkeypatch.setitem(room.FORMATS, half.name, half)
    report = room.export(student, tmp_path / "out", half.name, evaluation_data=digits[1])
    assert report.passed, report
    assert "FLOAT16" in {
        kind for _, kinds in flatbuffer.list_operators(flatbuffer.load_model(report[half.name].path)) for kind in kinds
    }
