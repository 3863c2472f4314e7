"""Plots and tables of the report: positions of points, the front computed by hand, tables that fit."""

import re

import numpy as np
import pytest

from keras_distill.export.reporting import figures
from keras_distill.export.reporting.report import Artifact, ExportReport

WEAK = "exported, but failed verification: agreement of output 'logits' is 0.8"


def row(name, size, accuracy, latency, status="passed", **fields):
    kept = "out/file" if status == "passed" else None
    agreement = None if accuracy is None else accuracy - 0.01
    return Artifact(name, status, kept, size, agreement, 0.1, 0.01, accuracy, latency_us=latency, **fields)


ROWS = [
    row("saved_model", 200 * 1024, 0.99, 900.0),
    row("tflite", 90 * 1024, 0.99, 16.0),
    row("tflite_int8", 40 * 1024, 0.97, 20.0),
    row("tflite_int16x8", 50 * 1024, 0.96, 500.0),
    row("tflite_weight_only_4", 30 * 1024, 0.80, 44.0, WEAK),
    Artifact("onnx", "failed: no kernel"),
]


def points(axes):
    """Return the coordinates of the single points."""
    lines = [line for line in axes.lines if line.get_linestyle() == "None"]
    return [tuple(float(values[0]) for values in line.get_data()) for line in lines]


def front(axes):
    (line,) = [line for line in axes.lines if line.get_linestyle() == "-"]
    return np.round(np.transpose(line.get_data()), 6).tolist()


def test_points_and_front(tmp_path):
    figure = ExportReport("out", ROWS).plot(tmp_path / "plot.png")
    size, latency = figure.axes
    drawn = [[200, 99], [90, 99], [40, 97], [50, 96], [30, 80]]
    np.testing.assert_allclose(points(size), drawn)
    np.testing.assert_allclose(points(latency), [[900, 99], [16, 99], [20, 97], [500, 96], [44, 80]])
    # The failed file is cheapest of all, and not on the front; the fastest is also the best.
    assert front(size) == [[40, 97], [90, 99]]
    assert not [line for line in latency.lines if line.get_linestyle() == "-"]
    assert (tmp_path / "plot.png").read_bytes()[:4] == b"\x89PNG"
    hollow = [line.get_markerfacecolor() for line in size.lines if line.get_data()[0][0] == 30]
    assert hollow == ["white"]


def test_the_legend_names_every_point_the_best_first():
    figure = figures.draw_trade_offs(ROWS)
    texts = [text.get_text() for text in figure.legends[0].get_texts()]
    assert texts[0] == "saved_model\n99.00 %, 200.0 kB, 900 µs"
    assert texts[4].startswith("tflite_weight_only_4") and texts[-1] == "failed verification"


def test_ten_names_do_not_overlap():
    many = [row(f"tflite_format_number_{place}", 1000 + place, 0.9, 10.0) for place in range(10)]
    figure = figures.draw_trade_offs(many)
    figure.canvas.draw()
    boxes = [text.get_window_extent() for text in figure.legends[0].get_texts()]
    assert not any(one.overlaps(other) for place, one in enumerate(boxes) for other in boxes[:place])
    looks = {(line.get_color(), line.get_marker()) for line in figure.axes[0].lines if line.get_linestyle() == "None"}
    assert len(looks) == 10
    right, edge = max(axes.get_window_extent().x1 for axes in figure.axes), figure.bbox.x1
    assert all(right < box.x0 and box.x1 <= edge for box in boxes)


def test_agreement_and_differences_replace_accuracy():
    without_labels = [Artifact(f"f{place}", "passed", "x", 100 * place, 0.9, latency_us=5.0) for place in (1, 2)]
    assert figures.draw_trade_offs(without_labels).axes[0].get_ylabel() == "agreement with the student (%)"
    regression = [Artifact(f"f{place}", "passed", "x", 100 * place, mean_difference=0.1 / place) for place in (1, 2)]
    (axes,) = figures.draw_trade_offs(regression).axes
    assert axes.get_ylabel() == "mean difference from the student" and axes.yaxis_inverted()
    assert front(axes) == np.round([[100 / 1024, 0.1], [200 / 1024, 0.05]], 6).tolist()


def test_nothing_to_draw_is_an_error():
    with pytest.raises(
        ValueError, match="rows with accuracy or agreement, and a size, to draw. Received: 1 rows without"
    ):
        ExportReport(None, [Artifact("onnx", "failed: no kernel")]).plot()


def test_which_file_to_ship():
    report = ExportReport("out", ROWS)
    assert (report.smallest().format, report.fastest().format) == ("tflite_int8", "tflite")
    assert report.smallest(min_accuracy=0.98).format == "tflite"
    with pytest.raises(ValueError, match="with an accuracy of 0.995. Received: 0.99 at best"):
        report.smallest(min_accuracy=0.995)
    with pytest.raises(ValueError, match="Expected a file that passed. Received: no such file."):
        ExportReport(None, ROWS[-1:]).fastest()
    assert "Smallest that passed: tflite_int8 (40.0 kB, accuracy 97.00 %); fastest: tflite (16 µs" in str(report)


FULL = {"latency_4_threads_us": 12.0, "peak_memory": 3 << 20, "partitions": 1}


@pytest.mark.parametrize("columns", [{}, FULL, FULL | {"devices": {"android": "passed", "web": "not run: no browser"}}])
def test_tables_fit_and_leave_out_what_is_empty(columns):
    rows = [row("tflite_weight_only_8_dynamic", 123_456, 0.99, 98_765.0, **columns), *ROWS]
    report = ExportReport("out", rows)
    lines = str(report).splitlines()
    assert max(map(len, lines)) <= 110
    for cell in ("120.6 kB", "98.00 %", "99.00 %", "98.8 ms"):
        assert re.search(rf"[│ ]{cell}[│ ]", lines[5] + lines[4] + lines[3]), str(report)
    head = report.to_markdown().splitlines()[0]
    assert ("partitions" in head) == bool(columns) and ("web" in head) == ("devices" in columns)
    assert ("on device" in str(report)) == ("devices" in columns)


def test_devices_on_which_no_file_passed_are_named():
    passed = row("tflite", 1024, 0.9, 5.0, devices={"android": "passed", "microcontroller": "failed: no GELU"})
    report = ExportReport("out", [passed], missing_devices=["microcontroller"])
    assert not report.passed and report.to_dict()["missing_targets"] == ["microcontroller"]
    assert "tflite on microcontroller: failed: no GELU" in str(report)
    assert "no file passed for device microcontroller" in str(report)
    assert "no file passed for device microcontroller" in report._repr_html_()
    assert report._repr_html_().count("<tr>") == 2


def test_html_escapes():
    assert "<script>" not in ExportReport(None, [Artifact("onnx", "failed: <script>")])._repr_html_()
