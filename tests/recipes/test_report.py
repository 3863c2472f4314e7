"""The report on a real run: its figures computed again by other libraries, and its page in a real browser."""

import json
import re

import numpy as np
import pytest
from scipy import stats
from sklearn import calibration, metrics

import keras_distill as kd
from tests import browsing


@pytest.fixture(scope="module")
def report(quick_run, tmp_path_factory):
    return kd.report.write(quick_run, tmp_path_factory.mktemp("report"))


@pytest.fixture(scope="module")
def arrays(quick_run):
    with np.load(quick_run.folder / "predictions.npz", allow_pickle=False) as held:
        return dict(held)


def probabilities(logits):
    return np.exp(logits - np.logaddexp.reduce(logits, axis=-1, keepdims=True))


def calibration_error(labels, shares):
    sure, right = shares.max(axis=-1), shares.argmax(axis=-1) == labels
    accuracy, confidence = calibration.calibration_curve(right, sure, n_bins=15, strategy="uniform")
    weights = np.histogram(sure, bins=15, range=(0, 1))[0]
    return np.average(np.abs(accuracy - confidence), weights=weights[weights > 0])


def rank_correlation(teacher, student):
    rows = np.arange(len(teacher))
    others = np.arange(teacher.shape[1])[None] != teacher.argmax(axis=-1)[:, None]
    return np.mean([stats.spearmanr(teacher[row][others[row]], student[row][others[row]])[0] for row in rows])


def expected(labels, teacher, logits):
    """Compute every measure of a model by scikit-learn and SciPy."""
    shares, said = probabilities(logits.astype("float64")), probabilities(teacher.astype("float64"))
    return {
        "accuracy": metrics.accuracy_score(labels, shares.argmax(axis=-1)),
        "negative_log_likelihood": metrics.log_loss(labels, shares, labels=range(10)),
        "brier_score": np.mean(np.sum((shares - np.eye(10)[labels]) ** 2, axis=-1)),
        "expected_calibration_error": calibration_error(labels, shares),
        "agreement": metrics.accuracy_score(said.argmax(axis=-1), shares.argmax(axis=-1)),
        "teacher_divergence": np.mean(stats.entropy(said, shares, axis=-1)),
        "dark_knowledge_correlation": rank_correlation(teacher, logits),
    }


@pytest.mark.slow
def test_figures_agree_with_other_libraries(report, arrays):
    held = json.loads(report.paths["json"].read_text())["models"]
    for way in ("alone", "distilled"):
        for seed, logits in enumerate(arrays[way]):
            for name, value in expected(arrays["y"], arrays["teacher"], logits).items():
                assert held[way][name][seed] == pytest.approx(value, rel=1e-4, abs=1e-6), (way, name)
    for name, value in expected(arrays["y"], arrays["teacher"], arrays["teacher"]).items():
        if held["teacher"][name] is not None:
            assert held["teacher"][name] == [pytest.approx(value, rel=1e-4, abs=1e-6)], name
    assert [name for name, values in held["teacher"].items() if values is None] == [
        "agreement", "teacher_divergence", "dark_knowledge_correlation",
    ]  # fmt: skip


def test_markdown_has_the_means_and_deviations_of_the_json(report, arrays):
    rows = [
        [cell.strip() for cell in line.split("|")[1:-1]]
        for line in report.paths["md"].read_text().splitlines()
        if "|" in line
    ]
    values = [
        [expected(arrays["y"], arrays["teacher"], logits) for logits in arrays[way]] for way in ("alone", "distilled")
    ]
    for heading, name, factor in (
        ("Brier score", "brier_score", 1),
        ("Calibration error", "expected_calibration_error", 100),
    ):
        (row,) = [row for row in rows if row[0] == heading]
        for cell, seeds in zip(row[-2:], values, strict=True):
            mean, deviation = map(float, re.findall(r"[\d.]+", cell))
            each = factor * np.array([seed[name] for seed in seeds])
            assert (mean, deviation) == pytest.approx((each.mean(), each.std(ddof=1)), abs=0.006)


def test_reliability_and_classes_agree_with_scikit_learn(report, arrays):
    labels, logits = np.tile(arrays["y"], 2), np.concatenate(arrays["distilled"])
    shares = probabilities(logits.astype("float64"))
    right = shares.argmax(axis=-1) == labels
    accuracy, confidence = calibration.calibration_curve(right, shares.max(axis=-1), n_bins=15, strategy="uniform")
    bins = report.content["calibration"]["distilled"]
    assert [each["accuracy"] for each in bins] == pytest.approx(accuracy)
    assert [each["confidence"] for each in bins] == pytest.approx(confidence, rel=1e-5)
    assert sum(each["samples"] for each in bins) == 600
    recalls = metrics.recall_score(labels, shares.argmax(axis=-1), average=None)
    assert [row["accuracy"]["distilled"] for row in report.content["classes"]] == pytest.approx(recalls)


def test_disagreements_are_the_largest_divergences(report, quick_run, arrays):
    exported = quick_run.record.exported
    shares = [
        probabilities(arrays["teacher"].astype("float64")),
        probabilities(arrays["distilled"][exported].astype("float64")),
    ]
    divergences = stats.entropy(*shares, axis=-1)
    shown = report.content["disagreements"]
    assert [row["sample"] for row in shown] == np.argsort(-divergences)[:9].tolist()
    assert [row["divergence"] for row in shown] == pytest.approx(np.sort(divergences)[::-1][:9], rel=1e-4)
    first = shown[0]
    for each in first["classes"]:
        place = int(each["name"])
        assert each["teacher"] == pytest.approx(shares[0][first["sample"], place], abs=1e-6)
        assert each["student"] == pytest.approx(shares[1][first["sample"], place], abs=1e-6)
    assert any(each["right"] for each in first["classes"])


@pytest.mark.slow
@pytest.mark.parametrize("width", [1280, 375])
def test_the_page_is_complete_in_a_browser(report, width):
    with browsing.page(width=width, height=800) as watched:
        page = watched.page
        page.goto(report.paths["html"].as_uri())
        assert watched.errors == watched.requests == watched.failed == []
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        sizes = page.evaluate("[...document.images].map(image => [image.complete, image.naturalWidth])")
        assert len(sizes) == 9 and all(whole and size > 0 for whole, size in sizes)
        boxes = [figure.bounding_box() for figure in page.locator("figure svg").all()]
        assert len(boxes) == 7 and all(box["width"] > 200 and box["height"] > 150 for box in boxes)
        # What is wider than a phone scrolls within itself; a desktop has room for all.
        wide = page.locator(".scroll").evaluate_all("boxes => boxes.map(box => box.scrollWidth > box.clientWidth)")
        assert any(wide) == (width == 375)


@pytest.mark.slow
def test_the_page_prints_on_a4(report):
    with browsing.page() as watched:
        watched.page.goto(report.paths["html"].as_uri())
        watched.page.emulate_media(media="print")
        watched.page.set_viewport_size({"width": 688, "height": 1000})  # A4 within its margins, 182 mm.
        assert watched.page.evaluate("document.documentElement.scrollWidth") <= 688
        content = watched.page.pdf(prefer_css_page_size=True)
    assert content.startswith(b"%PDF")
    pages = re.findall(rb"/Type\s*/Page\b", content)
    boxes = {tuple(map(float, box.split())) for box in re.findall(rb"/MediaBox\s*\[([^\]]+)\]", content)}
    assert 3 <= len(pages) <= 10
    assert [box == pytest.approx((0, 0, 595, 842), abs=2) for box in boxes] == [True]
