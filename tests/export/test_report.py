"""The report as text, Markdown and JSON."""

import io
import json

import numpy as np
import pytest
from rich.console import Console

from keras_distill.export import FORMATS, Artifact, ExportReport, export
from keras_distill.export.comparison.limits import Limits
from keras_distill.export.comparison.tally import Tally


@pytest.fixture
def report():
    rows = [
        Artifact("saved_model", "passed", "out/saved_model", 2 << 20, 1.0, 1e-6, 1e-7, 0.9, 0.9, True, 100.0, 7),
        Artifact("tflite", "exported, but failed verification: output 'y' is not finite", bytes=1024),
        Artifact("tflite_int8", "failed: no kernel for NEG | ABS"),
    ]
    return ExportReport("out", rows)


def test_table_and_reasons(report):
    text = str(report)
    assert "✓ passed" in text and "✗ failed verification │" in text and "✗ failed  " in text
    assert "2.0 MB" in text and "100.00 %" in text and "100 µs" in text
    assert "tflite_int8: failed: no kernel for NEG | ABS; no file was kept" in text
    assert text.splitlines()[-1] == "Written to out"
    console = Console(record=True, width=130, file=io.StringIO())
    console.print(report)
    assert "✓ passed" in console.export_text()


def test_rows(report):
    assert len(report) == 3 and not report.passed
    assert report["tflite"].bytes == 1024
    assert [row.passed for row in report] == [True, False, False]
    assert repr(report) == (
        "<ExportReport saved_model: passed, tflite: exported, but failed verification, tflite_int8: failed>"
    )
    with pytest.raises(KeyError, match="Did you mean 'tflite'"):
        report["tflit"]


def test_markdown_and_json(report):
    lines = report.to_markdown().splitlines()
    assert len(lines) == 5 and "NEG \\| ABS" in lines[-1]
    content = json.loads(report.to_json())
    assert content == report.to_dict()
    assert content["artifacts"][0]["latency_us"] == 100.0 and content["passed"] is False


def test_tally_by_hand():
    tally = Tally()
    tally.add(np.array([[0.0, 1.0], [2.0, 0.0]]), np.array([[0.0, 1.5], [2.0, 3.0]]), np.array([1, 1]))
    tally.add(np.array([[4.0, 0.0]]), np.array([[4.0, 0.0]]), np.array([0]))
    figures = tally.figures()
    assert figures["agreement"] == pytest.approx(2 / 3)
    assert figures["max_difference"] == 3.0
    assert figures["mean_difference"] == pytest.approx(3.5 / 6)
    assert figures["range"] == 4.0
    assert figures["accuracy"] == 1.0 and figures["student_accuracy"] == pytest.approx(2 / 3)
    complaints = Limits(0.9, 0.5, 0.1).complaints("y", figures)
    assert complaints == [
        "agreement of output 'y' is 0.6667, less than 0.9",
        "max difference of output 'y' is 3, more than 0.5 of the student's range 4",
        "mean difference of output 'y' is 0.583, more than 0.1 of the student's range 4",
    ]


def test_tally_refuses_other_shapes():
    with pytest.raises(ValueError, match=r"Expected an output of shape \(2, 1\)\. Received: \(2,\)\."):
        Tally().add(np.zeros((2, 1)), np.zeros(2))


def test_limits_of_the_table_are_those_documented():
    rows = [line.split("|") for line in export.__doc__.splitlines() if line.strip().startswith('| `"')]
    assert [row[1].strip(' `"') for row in rows] == list(FORMATS)
    for _, name, _, agreement, differences, _ in rows:
        limits = FORMATS[name.strip(' `"')].limits
        assert float(agreement.strip(" ≥")) == limits.min_agreement
        largest, mean = differences.strip(" ≤").split(" · ")
        assert (None if largest == "any" else float(largest)) == limits.max_difference
        assert float(mean) == limits.max_mean_difference


def test_targets_of_a_regression_switch_agreement_off():
    tally = Tally()
    tally.add(np.eye(2), np.eye(2), np.array([[0.3, 5.0], [1.0, -2.0]]))
    assert tally.figures()["agreement"] is None and tally.figures()["accuracy"] is None


def test_names_and_filenames_of_the_table_are_distinct():
    assert all(name == entry.name for name, entry in FORMATS.items())
    assert len({entry.filename for entry in FORMATS.values()}) == len(FORMATS)
