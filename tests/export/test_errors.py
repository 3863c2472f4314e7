"""Wrong arguments are refused before anything is written."""

import json
import re
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_distill import export as room


def x(count=6, size=4):
    """Return data for the tiny student."""
    return np.zeros((count, size), "float32")


def with_nan():
    """Return data with one hole."""
    data = x()
    data[3, 2] = np.nan
    return data


LABELS = np.zeros(6, int)
ERRORS = {
    "not a model": (
        {"student": "student.keras"},
        ValueError,
        "Expected student to be a keras.Model. Received: student='student.keras'",
    ),
    "not built": (
        {"student": keras.Sequential([keras.layers.Dense(3)], name="raw")},
        ValueError,
        "Expected student to be built. Received: 'raw', which has no weights yet. Call it on a batch",
    ),
    "unknown format": (
        {"formats": ("tflite", "tflit_int8")},
        ValueError,
        "Received: 'tflit_int8'. Did you mean 'tflite_int8'?",
    ),
    "no format": (
        {"formats": ()},
        ValueError,
        "Expected formats to name at least one of c_array, c_array_int8, onnx, saved_model",
    ),
    "no calibration": (
        {"formats": ("tflite_int8",)},
        ValueError,
        "Expected calibration_data for format 'tflite_int8'. Received: None.",
    ),
    "no data": ({"evaluation_data": None}, ValueError, "Expected evaluation_data, or calibration_data"),
    "no samples of calibration": (
        {"calibration_data": x(), "calibration_samples": 0},
        ValueError,
        "Expected calibration_samples to be a whole number >= 1. Received: calibration_samples=0.",
    ),
    "shape": (
        {"evaluation_data": x(size=5)},
        ValueError,
        "Expected input 'x' of evaluation_data to have shape (batch, 4). Received: shape (6, 5).",
    ),
    "rank": (
        {"evaluation_data": np.zeros((6, 2, 2))},
        ValueError,
        "Expected input 'x' of evaluation_data to have shape (batch, 4). Received: shape (6, 2, 2).",
    ),
    "calibration shape": (
        {"calibration_data": x(size=3)},
        ValueError,
        "Expected input 'x' of calibration_data to have shape (batch, 4). Received: shape (6, 3).",
    ),
    "unbatched dataset": (
        {"evaluation_data": tf.data.Dataset.from_tensor_slices(x())},
        ValueError,
        "Expected input 'x' of evaluation_data to have shape (batch, 4). Received: shape (4,).",
    ),
    "empty": ({"evaluation_data": x(0)}, ValueError, "Expected evaluation_data to hold at least one sample."),
    "empty dataset": (
        {"evaluation_data": tf.data.Dataset.from_tensor_slices(x()).batch(2).take(0)},
        ValueError,
        "Expected evaluation_data to hold at least one sample.",
    ),
    "empty calibration": (
        {"calibration_data": x(0)},
        ValueError,
        "Expected calibration_data to hold at least one sample.",
    ),
    "endless dataset": (
        {"evaluation_data": tf.data.Dataset.from_tensor_slices(x()).batch(2).repeat()},
        ValueError,
        "Expected evaluation_data to have an end. Received: an endless dataset. Add .take(...).",
    ),
    "nan": (
        {"evaluation_data": with_nan()},
        ValueError,
        "Expected input 'x' of evaluation_data to hold finite numbers. Received: NaN or infinity.",
    ),
    "kind": ({"evaluation_data": "digits"}, TypeError, "Expected evaluation_data to be NumPy arrays"),
    "no inputs": ({"evaluation_data": (None, LABELS)}, TypeError, "Expected evaluation_data to be NumPy arrays"),
    "four parts": (
        {"evaluation_data": (x(), LABELS, LABELS, LABELS)},
        ValueError,
        "Expected evaluation_data to give x, (x, y) or (x, y, sample_weight). Received: a tuple of 4.",
    ),
    "two inputs": ({"evaluation_data": [x(), x()]}, ValueError, "Expected evaluation_data to have 1 input (x)."),
    "names": (
        {"evaluation_data": {"z": x()}},
        ValueError,
        "Expected evaluation_data to have the inputs x. Received: z.",
    ),
    "count of labels": (
        {"evaluation_data": (x(), LABELS[:5])},
        ValueError,
        "Expected the arrays of evaluation_data to have one length. Received: lengths [5, 6].",
    ),
    "count of labels in a dataset": (
        {"evaluation_data": tf.data.Dataset.from_tensors((x(), LABELS[:5]))},
        ValueError,
        "Expected 6 labels of output 'logits' in evaluation_data, as many as samples. Received: 5.",
    ),
    "label too large": (
        {"evaluation_data": (x(), LABELS + 3)},
        ValueError,
        "labels of output 'logits' in evaluation_data to be integers from 0 to 2, or -1 for none. Received: values from 3 to 3.",
    ),
    "label negative": ({"evaluation_data": (x(), LABELS - 2)}, ValueError, "integers from 0 to 2, or -1 for none."),
    "label fractional": ({"evaluation_data": (x(), LABELS + 0.5)}, ValueError, "integers from 0 to 2, or -1 for none."),
    "label shape": (
        {"evaluation_data": (x(), np.zeros((6, 2)))},
        ValueError,
        "to be class indices of shape (6,) or one-hot (6, 3). Received: (6, 2).",
    ),
    "class name of two lines": ({"labels": ["a", "b", "c\n"]}, ValueError, "text of one line each. Received: 'c\\n'."),
    "class name with a line separator": ({"labels": ["a\u2028b", "b", "c"]}, ValueError, "text of one line each."),
    "class name with a zero": ({"labels": ["a\0", "b", "c"]}, ValueError, "text of one line each."),
    "class names as one string": ({"labels": "abc"}, ValueError, "a list of names, one for each class."),
    "limit that is NaN": ({"min_agreement": float("nan")}, ValueError, "min_agreement to be a number from 0 to 1."),
    "label not finite": ({"evaluation_data": (x(), np.full((6, 3), np.nan))}, ValueError, "to be finite."),
    "labels of no output": (
        {"evaluation_data": (x(), {"other": LABELS})},
        ValueError,
        "Expected labels of evaluation_data to belong to the outputs logits. Received: other.",
    ),
}


@pytest.mark.parametrize("name", ERRORS)
def test_error_before_anything_is_written(name, tiny, tmp_path):
    changed, kind, message = ERRORS[name]
    arguments = {"student": tiny[0], "formats": ("tflite",), "evaluation_data": x()} | changed
    with pytest.raises(kind, match=re.escape(message)):
        room.export(directory=tmp_path / "parent" / "out", **arguments)
    assert list(tmp_path.iterdir()) == []


def foreign_file(path):
    path.write_text("thesis")


def foreign_directory(path):
    path.mkdir()
    (path / "thesis.txt").write_text("thesis")


def foreign_manifest(path):
    path.mkdir()
    (path / "export.json").write_text(json.dumps({"producer": "someone else"}))


def broken_manifest(path):
    path.mkdir()
    (path / "export.json").write_text("{")


@pytest.mark.parametrize("make", [foreign_file, foreign_directory, foreign_manifest, broken_manifest])
def test_a_directory_that_is_no_export_is_refused_and_unchanged(make, tiny, tmp_path):
    path = tmp_path / "out"
    make(path)
    before = [(file, file.read_bytes()) for file in tmp_path.rglob("*") if file.is_file()]
    message = re.escape(f"Expected directory to be new, empty, or an earlier export. Received: {path}")
    with pytest.raises(FileExistsError, match=message):
        room.export(tiny[0], path, "tflite", evaluation_data=x())
    assert [(file, file.read_bytes()) for file in tmp_path.rglob("*") if file.is_file()] == before


@pytest.mark.slow
def test_a_users_file_with_the_name_of_an_artifact_is_refused(tiny, tmp_path):
    assert room.export(tiny[0], tmp_path / "out", "tflite", evaluation_data=x()).passed
    (tmp_path / "out" / "student.onnx").write_bytes(b"mine")
    with pytest.raises(FileExistsError, match=re.escape("to hold no student.onnx of another origin")):
        room.export(tiny[0], tmp_path / "out", "onnx", evaluation_data=x())
    assert (tmp_path / "out" / "student.onnx").read_bytes() == b"mine"


def test_parent_that_is_a_file_is_refused(tiny, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(NotADirectoryError, match=r"Expected the parents of .* Received: .*file is a file\."):
        room.export(tiny[0], tmp_path / "file" / "out", "tflite", evaluation_data=x())


def test_an_empty_directory_is_accepted(tiny, tmp_path):
    assert room.export(tiny[0], tmp_path, "tflite", evaluation_data=x()).passed


def test_a_missing_runtime_is_named_with_the_command_that_installs_it(tiny, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "ai_edge_litert.interpreter", None)
    message = r'Expected ai-edge-litert, which runs TFLite files\. .* pip install "ai-edge-litert'
    with pytest.raises(ImportError, match=message):
        room.export(tiny[0], tmp_path / "out", "tflite", evaluation_data=x())
    assert list(tmp_path.iterdir()) == []
