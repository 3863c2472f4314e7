"""Comparing files of any origin: the measured figures are right."""

import json
import types

import numpy as np
import pytest
import tensorflow as tf

from keras_distill.export.benchmarking import benchmark
from keras_distill.export.quiet import quiet
from keras_distill.export.reporting.benchmark_report import BenchmarkReport, Measured
from keras_distill.export.runtimes import session
from keras_distill.export.runtimes.litert import AnyLiteRTRuntime

RNG = np.random.default_rng(0)
WEIGHTS = RNG.normal(size=(6, 3)).astype("float32")
X = RNG.normal(size=(20, 6)).astype("float32")
SCORES = X @ WEIGHTS
Y = SCORES.argmax(-1)


def converted(function, shape, signature="serving_default", int8=False, name="x"):
    """Return the bytes of a file; without a signature if its name is None."""
    module = tf.Module()
    module.call = tf.function(lambda x: {"scores": function(x)}, [tf.TensorSpec(shape, name=name)])
    with quiet():
        converter = tf.lite.TFLiteConverter.from_concrete_functions([module.call.get_concrete_function()], module)
        if int8:
            converter.optimizations = [tf.lite.Optimize.DEFAULT]
            converter.representative_dataset = lambda: ([row[None]] for row in X)
            converter.inference_input_type = converter.inference_output_type = tf.int8
        return converter.convert()


def with_signature(data, key):
    """Give a file a signature of that name, or remove it."""
    from ai_edge_litert import schema_py_generated as schema

    from keras_distill.export.tflite import flatbuffer

    model = schema.ModelT.InitFromPackedBuf(data, 0)
    if key is None:
        model.signatureDefs = []
    else:
        model.signatureDefs[0].signatureKey = key.encode()
    return flatbuffer.serialize(model)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("benchmark")
    linear = lambda x: x @ WEIGHTS  # noqa: E731
    plain = converted(linear, (1, 6))
    contents = {
        "float": plain,
        "unsigned": with_signature(plain, None),
        "other_key": with_signature(plain, "classify"),
        "int8": converted(linear, (1, 6), int8=True),
        "batch8": converted(linear, (8, 6)),
        "free": converted(linear, (None, 6)),
        "opposite": converted(lambda x: x @ -WEIGHTS, (1, 6), name="features"),
        "truncated": plain[: len(plain) // 2],
        "nan": converted(lambda x: x @ (WEIGHTS * np.float32("nan")), (1, 6)),
    }
    for name, content in contents.items():
        (folder / f"{name}.tflite").write_bytes(content)
    return folder


@pytest.mark.parametrize("name", ["float", "unsigned", "other_key", "batch8", "free"])
def test_files_of_any_origin_run(name, folder):
    runtime = AnyLiteRTRuntime(folder / f"{name}.tflite")
    (given,) = runtime.input_dtypes
    (scores,) = runtime({given: X}).values()
    np.testing.assert_allclose(scores, SCORES, atol=1e-5)
    runtime.prepared({given: X[:1]})()
    with pytest.raises(ValueError, match=r"samples of 6 for input .* Received: shape \(5,\)"):
        runtime({given: X[:, :5]})


@pytest.fixture(scope="module")
def report(folder):
    names = ("float", "int8", "opposite", "truncated", "nan")
    return benchmark([folder / f"{name}.tflite" for name in names], (X, Y), threads=(1, 2), rounds=2)


def test_figures_are_those_of_the_files(report, folder):
    first, int8, opposite, truncated, nan = report
    assert [row.passed for row in report] == [True, True, True, False, False] and not report.passed
    assert first.bytes == (folder / "float.tflite").stat().st_size
    assert first.agreement == 1.0 and first.max_difference == 0.0 and first.accuracy == 1.0 and first.samples == 20
    assert int8.agreement >= 0.9 and 0 < int8.max_difference < 0.3
    assert opposite.agreement == opposite.accuracy == 0.0
    assert opposite.max_difference == pytest.approx(2 * np.abs(SCORES).max(), rel=1e-4)
    assert first.inputs == ["x (1, 6) float32"] and int8.inputs == ["x (1, 6) int8"]
    assert set(first.computing) == {"FLOAT32"} and set(int8.computing) == {"INT8"}
    assert set(first.latency_us) == {1, 2}
    low, high = first.latency_range_us[1]
    assert 0 < low <= first.latency_us[1] <= high
    assert first.peak_memory > 0 and first.partitions in (0, 1)
    assert "whole TFLite file" in truncated.status
    assert nan.status == "failed: an output is not finite" and nan.latency_us == {}


@pytest.mark.parametrize(("seconds", "runs"), [(0.125, 24), (0.001, 50)])
def test_latency_is_in_microseconds_and_takes_three_seconds_at_most(seconds, runs, monkeypatch):
    clock = types.SimpleNamespace(now=0.0, runs=0, perf_counter=lambda: clock.now)

    def invoke():
        clock.now += seconds
        clock.runs += 1

    monkeypatch.setattr(session, "time", clock)
    np.testing.assert_allclose(session._time(invoke), [1e6 * seconds] * 3)
    assert clock.runs == 5 + runs


def test_it_prints_as_text_markdown_and_json(report):
    text = str(report)
    assert "float.tflite" in text and "opera" in text and "100.00 %" in text
    assert "truncated.tflite: failed: Expected a whole TFLite file" in text
    assert max(map(len, text.splitlines())) <= 110
    assert len(report.to_markdown().splitlines()) == 7
    assert json.loads(report.to_json())["files"][1]["computing"] == {"INT8": report[1].computing["INT8"]}
    assert report._repr_html_().count("<tr>") == 6


def test_files_of_the_same_name_are_distinguished():
    report = BenchmarkReport([Measured("a/m.tflite", "passed", 1024), Measured("b/m.tflite", "failed: it crashed")])
    assert "a/m.tflite" in str(report) and "b/m.tflite: failed: it crashed" in str(report)


@pytest.mark.parametrize(
    ("arguments", "kind", "message"),
    [
        ({"files": []}, ValueError, "at least one TFLite file"),
        ({"files": "none.tflite"}, FileNotFoundError, "an existing TFLite file. Received: none.tflite"),
        ({"files": __file__, "rounds": 0}, ValueError, "rounds to be a whole number >= 1. Received: rounds=0"),
    ],
)
def test_errors(arguments, kind, message):
    with pytest.raises(kind, match=message):
        benchmark(**arguments)


def test_data_for_other_inputs_is_a_failed_row(folder):
    report = benchmark(folder / "float.tflite", {"image": X, "age": X}, threads=(1,), rounds=1)
    assert report[0].status == "failed: Expected data for the inputs x. Received: image, age."


def test_a_killed_process_is_a_failed_row(folder):
    first, second = benchmark(
        [folder / "float.tflite", folder / "int8.tflite"], threads=(1,), rounds=1, time_limit=0.01
    )
    assert first.status == "failed: it took longer than 0.01 s and was stopped"
    assert second.status == first.status and second.bytes > 0 and second.latency_us == {}
