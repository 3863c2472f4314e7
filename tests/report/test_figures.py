"""Figures of the page: what they show, read back from the axes."""

import pytest

from keras_distill.report import calibration, pareto

MODEL = {"bytes": [2048], "latency_us": [50.0]}
FILE = {"status": "passed", "accuracy": 0.8, "bytes": 1024, "latency_us": 5.0}
CONTENT = {
    "models": {
        "teacher": {**MODEL, "accuracy": [0.9], "bytes": [8192]},
        "alone": {**MODEL, "accuracy": [0.6, 0.7]},
        "distilled": {**MODEL, "accuracy": [0.8, 0.9]},
    },
    "files": [
        {**FILE, "format": "tflite"},
        {**FILE, "format": "int8", "status": "exported, but failed verification: no", "bytes": 512, "accuracy": 0.95},
        {"format": "onnx", "status": "failed", "accuracy": None, "bytes": None, "latency_us": None},
    ],
}
BINS = [
    {"start": 0.4, "end": 0.6, "confidence": 0.5, "accuracy": 0.75, "samples": 4},
    {"start": 0.8, "end": 1.0, "confidence": 0.9, "accuracy": 0.8, "samples": 100},
]


def test_accuracy_against_size_has_every_model_and_file_and_the_front_of_what_passed():
    figure = pareto.draw(CONTENT, "bytes")
    (axes,) = figure.axes
    front, *marks = axes.lines
    shown = {mark.get_label(): (mark.get_xdata()[0], mark.get_ydata()[0]) for mark in marks}
    assert {name: pytest.approx(point) for name, point in shown.items()} == {
        "teacher": (8.0, 90.0), "student alone": (2.0, 65.0), "student distilled": (2.0, 85.0),
        "tflite": (1.0, 80.0), "int8, not passed": (0.5, 95.0),
    }  # fmt: skip
    assert front.get_xydata().tolist() == [pytest.approx(point) for point in ((1.0, 80.0), (2.0, 85.0), (8.0, 90.0))]
    assert [mark.get_markerfacecolor() for mark in marks][-1] == "none"
    (alone, distilled) = (lines.get_segments()[0][:, 1] for lines in axes.collections)
    assert alone == pytest.approx([60, 70]) and distilled == pytest.approx([80, 90])
    assert axes.get_xscale() == "log" and axes.get_title("left") == "Accuracy against size"


def test_the_reliability_diagram_leads_from_accuracy_to_confidence():
    axes, below = calibration.draw(BINS, "distilled").axes
    accuracy, gaps = axes.containers
    assert [bar.get_height() for bar in accuracy] == [0.75, 0.8]
    assert [bar.get_y() + bar.get_height() for bar in gaps] == pytest.approx([0.5, 0.9])
    assert [bar.get_x() for bar in accuracy] == [0.4, 0.8]
    assert [bar.get_height() for bar in below.containers[0]] == [4, 100]
    assert accuracy[0].get_alpha() is None and accuracy[0].get_facecolor()[3] < accuracy[1].get_facecolor()[3] == 1.0


def test_a_reliability_diagram_of_nothing_is_empty():
    axes, _ = calibration.draw([], "teacher").axes
    assert not axes.patches
