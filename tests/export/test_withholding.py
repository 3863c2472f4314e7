"""Only files that were run and agree are exported, and existing files are not lost."""

import dataclasses
import json
import pathlib
import types

import keras
import numpy as np
import pytest

from keras_distill import export as room
from keras_distill.export import exporter, formats, swapping, verification
from keras_distill.export.conversion import sources
from keras_distill.export.runtimes import remote
from keras_distill.export.runtimes.litert import LiteRTRuntime
from keras_distill.export.signature import read_inputs, read_signature
from keras_distill.export.tflite import flatbuffer
from keras_distill.export.worker import ProcessError


def copying(source, change):
    """Return a writer that copies a good file and then changes it, as a faulty converter would."""

    def write(_, path):
        path.write_bytes(change(pathlib.Path(source).read_bytes()))

    return write


def with_nan(content):
    """Overwrite the largest buffer of a TFLite file, its weights, by NaN."""
    model = flatbuffer.parse(content)
    largest = max(model.buffers, key=lambda buffer: 0 if buffer.data is None else len(buffer.data))
    largest.data = np.frombuffer(np.full(len(largest.data) // 4, np.nan, np.float32).tobytes(), np.uint8)
    return flatbuffer.serialize(model)


def with_operator(**code):
    """Return a function that replaces the first operator of a TFLite file."""

    def change(content):
        model = flatbuffer.parse(content)
        for name, value in code.items():
            setattr(model.operatorCodes[0], name, value)
        return flatbuffer.serialize(model)

    return change


CORRUPTIONS = {
    "truncated": (lambda content: content[: len(content) // 2], "it cannot be run"),
    "empty": (lambda content: b"", "it cannot be run"),
    "nan": (with_nan, "output 'logits' is not finite"),
    "flex": (with_operator(customCode=b"FlexErfinv"), "it needs TensorFlow's operator FlexErfinv"),
    "state": (with_operator(builtinCode=143, deprecatedBuiltinCode=127), "it keeps a state, by READ_VARIABLE"),
}


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_corrupt_file_is_caught_and_withheld(name, exported, student, digits, tmp_path, monkeypatch):
    change, why = CORRUPTIONS[name]
    faulty = dataclasses.replace(room.FORMATS["tflite"], write=copying(exported[0] / "student.tflite", change))
    monkeypatch.setitem(room.FORMATS, "tflite", faulty)
    report = room.export(student, tmp_path / "out", ("tflite_float16", "tflite"), evaluation_data=digits[1])
    assert report["tflite"].status.startswith(f"exported, but failed verification: {why}")
    assert report["tflite"].path is None and report["tflite_float16"].passed and not report.passed
    assert sorted(entry.name for entry in (tmp_path / "out").iterdir()) == [
        "README.md",
        "export.json",
        "student_float16.tflite",
    ]
    rows = json.loads((tmp_path / "out" / "export.json").read_text())["artifacts"]
    assert rows[1]["path"] is None and rows[1]["status"] == report["tflite"].status


def test_file_of_another_student_is_withheld(exported, digits, tmp_path, monkeypatch):
    keras.utils.set_random_seed(5)
    layers = [keras.Input((8, 8, 1), name="image"), keras.layers.Flatten(), keras.layers.Dense(10, name="logits")]
    swapped = dataclasses.replace(room.FORMATS["tflite"], write=copying(exported[0] / "student.tflite", bytes))
    monkeypatch.setitem(room.FORMATS, "tflite", swapped)
    report = room.export(keras.Sequential(layers), tmp_path / "out", "tflite", evaluation_data=digits[1])
    assert "agreement of output 'logits' is" in report["tflite"].status
    assert "max difference of output 'logits' is" in report["tflite"].status
    assert report.path is None and list(tmp_path.iterdir()) == []


def limit_to(monkeypatch, **limits):
    """Give the format `tflite` limits that no user could pass."""
    entry = room.FORMATS["tflite"]
    changed = dataclasses.replace(entry, limits=dataclasses.replace(entry.limits, **limits))
    monkeypatch.setitem(room.FORMATS, "tflite", changed)


@pytest.mark.parametrize(
    ("limit", "why"),
    [
        ({"min_agreement": 1.01}, "agreement of output 'logits' is 1.0000, less than 1.01"),
        ({"max_difference": -1.0}, "max difference of output 'logits' is"),
        ({"max_mean_difference": -1.0}, "mean difference of output 'logits' is"),
    ],
)
def test_impossible_limit_withholds(limit, why, tiny, tmp_path, monkeypatch):
    student, x = tiny
    limit_to(monkeypatch, **limit)
    report = room.export(student, tmp_path / "out", "tflite", evaluation_data=x)
    assert report["tflite"].status.startswith(f"exported, but failed verification: {why}")
    assert report["tflite"].bytes > 0
    assert list(tmp_path.iterdir()) == []


def test_a_student_that_is_not_finite_is_named_as_the_cause(tiny, tmp_path):
    student, x = tiny
    student.set_weights([weight * np.nan for weight in student.get_weights()])
    report = room.export(student, tmp_path / "out", "tflite", evaluation_data=x)
    why = "output 'logits' of the student itself is not finite"
    assert report["tflite"].status == f"exported, but failed verification: {why}"


def test_failed_conversion_is_a_row(tiny, tmp_path, monkeypatch):
    def write(source, path):
        path.write_bytes(b"half a file")
        raise RuntimeError("no kernel for\n    NEG")

    monkeypatch.setitem(room.FORMATS, "tflite", dataclasses.replace(room.FORMATS["tflite"], write=write))
    student, x = tiny
    report = room.export(student, tmp_path / "out", ("tflite", "tflite_float16"), evaluation_data=x, min_agreement=0)
    assert report["tflite"].status == "failed: no kernel for NEG"
    assert report["tflite_float16"].passed
    assert not (tmp_path / "out" / "student.tflite").exists()


@pytest.mark.slow
def test_an_unconvertible_operator_is_named_and_the_log_has_the_message_of_the_converter(tmp_path):
    inputs = keras.Input((4,), name="x")
    student = keras.Model(inputs, keras.ops.erfinv(inputs))
    x = np.linspace(-0.9, 0.9, 12, dtype="float32").reshape(3, 4)
    report = room.export(student, tmp_path / "out", ("saved_model", "tflite"), evaluation_data=x)
    assert report["saved_model"].passed
    assert report["tflite"].status.startswith("failed: TFLite has no operator for Erfinv")
    assert "Custom ops: Erfinv" in report["tflite"].log


@pytest.mark.slow
def test_a_crash_of_the_converter_costs_one_format(tmp_path):
    with sources.Converter(tmp_path) as converter:
        student = keras.Sequential([keras.Input((4,), name="x"), keras.layers.Dense(3, name="y")])
        x = np.ones((2, 4), "float32")
        # Kill the process before the request, as a segmentation fault would.
        converter._process = converter._start()
        converter._process.kill()
        with pytest.raises(ProcessError, match="its process died, by signal SIGKILL"):
            converter.ask("convert", saved_model="none", output="none", settings={})
        signature = read_signature(student, *read_inputs(student, x), {"x": x})
        source = sources.Source(student, signature, None, tmp_path, converter, 60.0)
        formats.FORMATS["tflite"].write(source, tmp_path / "student.tflite")
        outputs = LiteRTRuntime(tmp_path / "student.tflite")({"x": x})
    np.testing.assert_allclose(outputs["y"], student(x), atol=1e-5)


def module(path, content, monkeypatch):
    """Write a module that processes find, and return its name."""
    monkeypatch.syspath_prepend(path)
    (path / "stand_in.py").write_text(content)
    return "stand_in"


@pytest.mark.parametrize("name", ["tflite", "tflite_weights_int8"])
def test_a_conversion_that_hangs_is_stopped(name, tiny, tmp_path, monkeypatch):
    hanging = module(tmp_path, "import time\ndef convert(**request):\n    time.sleep(60)\n", monkeypatch)
    monkeypatch.setattr(exporter, "Converter", lambda work, limit: sources.Converter(work, limit, hanging))
    student, x = tiny
    report = room.export(student, tmp_path / "out", name, evaluation_data=x, time_limit=1.0)
    assert report[name].status == "failed: it took longer than 1 s and was stopped"
    assert not (tmp_path / "out").exists()


DYING = """
import os, signal
def open_file(**request):
    return {"input_dtypes": {"x": "float32"}, "output_dtypes": {"logits": "float32"}}
def measure(**request):
    os.kill(os.getpid(), signal.SIGSEGV)
"""


def test_a_runtime_that_dies_costs_one_row(tiny, tmp_path, monkeypatch):
    session = types.SimpleNamespace(__name__=module(tmp_path, DYING, monkeypatch))
    monkeypatch.setattr(remote, "session", session)
    student, x = tiny
    report = room.export(student, tmp_path / "out", "tflite", evaluation_data=x)
    why = "it cannot be run: its process died, by signal SIGSEGV"
    assert report["tflite"].status == f"exported, but failed verification: {why}"


@pytest.mark.slow
def test_calibration_on_noise_is_caught(student, digits, tmp_path):
    noise = 0.02 * np.random.default_rng(0).normal(size=(50, 8, 8, 1))
    data = {"calibration_data": noise, "evaluation_data": digits[1]}
    with pytest.warns(UserWarning, match="the same scale"):
        report = room.export(student, tmp_path / "out", "tflite_int8", **data)
    assert "agreement of output 'logits' is" in report["tflite_int8"].status
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def earlier(tiny, tmp_path):
    """An earlier export, and what is in its files."""
    student, x = tiny
    path = tmp_path / "out"
    assert room.export(student, path, "tflite", evaluation_data=x).passed
    return path, contents(path)


def contents(path):
    """Return every file's bytes."""
    return {file.relative_to(path): file.read_bytes() for file in path.rglob("*") if file.is_file()}


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit])
@pytest.mark.parametrize("where", ["write", "verify", "rename"])
def test_an_interrupted_export_changes_nothing(where, error, earlier, tiny, monkeypatch):
    def interrupt(*_, **__):
        raise error

    path, before = earlier
    if where == "write":
        monkeypatch.setitem(room.FORMATS, "tflite", dataclasses.replace(room.FORMATS["tflite"], write=interrupt))
    elif where == "verify":
        monkeypatch.setattr(verification, "verify", interrupt)
    else:
        monkeypatch.setattr(swapping, "exchange", interrupt)
    student, x = tiny
    with pytest.raises(error):
        room.export(student, path, "tflite", evaluation_data=x)
    assert contents(path) == before
    assert list(path.parent.iterdir()) == [path]


def test_an_export_without_passed_files_keeps_the_earlier_one(earlier, tiny, monkeypatch):
    path, before = earlier
    student, x = tiny
    limit_to(monkeypatch, min_agreement=1.01)
    report = room.export(student, path, "tflite", evaluation_data=x)
    assert report.path is None and "nothing was written or replaced" in str(report)
    assert contents(path) == before
    assert list(path.parent.iterdir()) == [path]


def test_export_over_an_earlier_one_replaces_it_and_keeps_what_users_added(earlier, tiny):
    path, before = earlier
    (path / "README.md").write_text("mine")
    (path / "notes").mkdir()
    (path / "notes" / "a.txt").write_text("also mine")
    student, x = tiny
    student.set_weights([weight + 1 for weight in student.get_weights()])
    assert room.export(student, path, "tflite", evaluation_data=x).passed
    after = contents(path)
    assert after.pop(pathlib.Path("README.md")) == b"mine"
    assert after.pop(pathlib.Path("notes/a.txt")) == b"also mine"
    assert after != before
    assert "README.md" not in json.loads((path / "export.json").read_text())["files"]
    assert list(path.parent.iterdir()) == [path]


def test_a_format_left_out_next_time_is_removed(exported, student, digits, tmp_path, monkeypatch):
    writer = copying(exported[0] / "student.tflite", bytes)
    monkeypatch.setitem(room.FORMATS, "tflite", dataclasses.replace(room.FORMATS["tflite"], write=writer))
    for names in (("tflite_float16", "tflite"), ("tflite_float16",)):
        assert room.export(student, tmp_path / "out", names, evaluation_data=digits[1]).passed
    assert not (tmp_path / "out" / "student.tflite").exists()
