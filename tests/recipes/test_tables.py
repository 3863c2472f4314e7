"""Tables and verdict, from hand-made results."""

import copy
import io

import pytest
from rich.console import Console

from keras_distill.recipes import tables

COST = {"parameters": 1200, "bytes": 2048, "latency_us": 12.4}
ROW = {"format": "tflite", "status": "passed", "accuracy": 0.9, "agreement": 1.0, "bytes": 1024, "latency_us": 3.0}
RESULTS = {
    "seeds": [0, 1],
    "samples": {"test": 300},
    "teacher": {**COST, "parameters": 45000, "test_accuracy": 0.99, "agreement": 1.0},
    "student": COST,
    "alone": [{"test_accuracy": 0.90, "agreement": 0.91}, {"test_accuracy": 0.92, "agreement": 0.93}],
    "distilled": [{"test_accuracy": 0.94, "agreement": 0.95}, {"test_accuracy": 0.96, "agreement": 0.97}],
    "exported_seed": 1,
    "export": {"passed": True, "artifacts": [ROW]},
}


def printed(results):
    console = Console(width=120, record=True, file=io.StringIO())
    for table in tables.tables(results):
        console.print(table)
    return console.export_text()


def test_rows_are_means_and_standard_deviations():
    text = printed(RESULTS)
    for cell in ("45,000", "99.00 %", "91.00 ± 1.41 %", "95.00 ± 1.41 %", "92.00 ± 1.41 %", "96.00 ± 1.41 %", "2.0 kB"):
        assert cell in text
    assert "over 2 seeds" in text
    assert "12 µs" in text


def test_what_did_not_pass_says_why():
    results = copy.deepcopy(RESULTS)
    withheld = {
        "status": "failed: no such operator",
        "accuracy": None,
        "agreement": None,
        "bytes": None,
        "latency_us": None,
    }
    results["export"]["artifacts"][0] |= withheld
    assert "failed: no such operator" in printed(results)


def test_the_verdict_compares_the_worst_with_the_best():
    assert tables.verdict(RESULTS).endswith("The worst distilled student beats the best one alone.")
    near = copy.deepcopy(RESULTS)
    near["distilled"][0]["test_accuracy"] = 0.91
    assert tables.verdict(near).endswith("The worst distilled student does not beat the best one alone.")


def test_a_loss_is_called_a_loss():
    worse = {"alone": RESULTS["distilled"], "distilled": RESULTS["alone"]}
    assert tables.verdict(worse).endswith("a loss of 4.00 points.")


def test_a_quick_form_says_so():
    assert tables.verdict({**RESULTS, "quick": True}).endswith("figures say nothing: it shows that all of it works.")


def test_what_are_no_results_is_refused():
    with pytest.raises(ValueError, match="^Expected the results of a run"):
        tables.verdict({})
