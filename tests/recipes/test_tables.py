"""Tables and verdict, from hand-made results."""

import dataclasses
import io

from rich.console import Console

from keras_distill.recipes import tables
from tests.run_results import FILE, make_results


def printed(results):
    console = Console(width=120, record=True, file=io.StringIO())
    for table in tables.build_tables(results):
        console.print(table)
    return console.export_text()


def test_rows_are_means_and_standard_deviations():
    text = printed(make_results())
    for cell in ("45,000", "99.00 %", "91.00 ± 1.41 %", "95.00 ± 1.41 %", "2.0 kB"):
        assert cell in text
    assert "over 2 seeds" in text
    assert "12 µs" in text


def test_agreement_is_a_column_of_its_own_without_the_teacher():
    results = make_results()
    alone = [dataclasses.replace(each, agreement=0.93) for each in results.alone]
    lines = printed(dataclasses.replace(results, alone=alone)).splitlines()
    (row,) = [line for line in lines if "student alone" in line]
    assert "91.00 ± 1.41 %" in row and "93.00 ± 0.00 %" in row
    (row,) = [line for line in lines if "45,000" in line]
    assert "–" in row and "99.00 %" in row


def test_a_file_that_did_not_pass_has_its_reason():
    figures = dict.fromkeys(("accuracy", "agreement", "bytes", "latency_us"))
    results = make_results(files=[{**FILE, "status": "failed: no such operator", **figures}])
    assert "failed: no such operator" in printed(results)


def test_the_verdict_compares_the_worst_with_the_best():
    assert tables.verdict(make_results()) == (
        "Distilled, the student is right on 95.00 ± 1.41 % of the test images; alone, on 91.00 ± 1.41 %: "
        "a gain of 4.00 points. The worst distilled student beats the best one alone."
    )
    near = tables.verdict(make_results(distilled=(0.91, 0.96)))
    assert near.endswith("The worst distilled student does not beat the best one alone.")


def test_the_verdict_on_a_loss_is_a_loss():
    assert tables.verdict(make_results((0.94, 0.96), (0.90, 0.92))).endswith("a loss of 4.00 points.")


def test_the_verdict_on_a_quick_form_warns():
    assert tables.verdict(make_results(quick=True)).endswith("its figures mean nothing.")
