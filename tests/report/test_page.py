"""The page: names of users are text and never markup, nothing is fetched, and the same run gives the same bytes."""

import collections
import html.parser
import json
import re

import numpy as np
import pytest

import keras_distill as kd
from keras_distill.report import page

NAMES = ("<script>alert('x')</script>", "a|b", "[x](javascript:alert(1)) *b*", "$\\frac")


class Elements(html.parser.HTMLParser):
    """Gather a page's elements, with their attributes, and its text."""

    def __init__(self, text):
        super().__init__()
        self.found, self.text = [], []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.found.append((tag, dict(attributes)))

    def handle_data(self, data):
        self.text.append(data)

    def all(self, tag):
        return [attributes for name, attributes in self.found if name == tag]


def written(path, formats=("md", "json")):
    report = kd.report.write(path, formats=formats)
    return {name: file.read_text(encoding="utf-8") for name, file in report.paths.items()}


@pytest.fixture(scope="module")
def path(tmp_path_factory, write_run):
    return write_run(tmp_path_factory.mktemp("run"), names=NAMES)


@pytest.fixture(scope="module")
def texts(path):
    return written(path, ("html", "md", "json"))


@pytest.fixture(scope="module")
def elements(texts):
    return Elements(texts["html"])


def test_nothing_is_fetched_and_nothing_runs(texts, elements):
    assert not elements.all("script") and not re.search(r"<[^>]*\son\w+=|url\((?!#)|@import", texts["html"])
    policy = next(meta["content"] for meta in elements.all("meta") if "http-equiv" in meta)
    assert policy == "default-src 'none'; style-src 'unsafe-inline'; img-src data:"
    for _, attributes in elements.found:
        for name in ("src", "href"):
            assert attributes.get(name, "#").startswith(("#", "data:"))


def test_ids_are_unique_and_every_reference_has_its_target(texts, elements):
    ids = collections.Counter(attributes["id"] for _, attributes in elements.found if "id" in attributes)
    assert len(ids) > 100 and set(ids.values()) == {1}
    references = set(re.findall(r'(?:href="|url\()#([^")]+)', texts["html"]))
    references |= {attributes["aria-labelledby"] for attributes in elements.all("section")}
    assert len(references) > 20 and references <= set(ids)


def test_the_page_is_accessible(elements):
    assert elements.all("html") == [{"lang": "en"}]
    figures = elements.all("svg")
    assert len(figures) == 7 and all(figure["role"] == "img" for figure in figures)
    said = " ".join(figure["aria-label"] for figure in figures)
    assert "Accuracy against size: teacher" in said and "from 4 in the first epoch to 2 in the last, of 2" in said
    assert [image["alt"][:13] for image in elements.all("img")] == ["Test sample 3", "Test sample 1"]
    headings = [int(tag[1]) for tag, _ in elements.found if re.fullmatch(r"h[1-6]", tag)]
    assert headings[0] == 1 and headings.count(1) == 1
    assert all(after <= before + 1 for before, after in zip(headings, headings[1:]))
    assert all(header["scope"] in ("col", "colgroup", "row", "rowgroup") for header in elements.all("th"))


def test_names_are_text(texts, elements):
    assert set(NAMES) <= set(elements.text)
    assert "<script" not in texts["md"] and "&lt;script&gt;" in texts["md"]
    assert r"| a\|b |" in texts["md"] and r"| \[x\](javascript:alert(1)) \*b\* |" in texts["md"]
    assert json.loads(texts["json"])["run"]["class_names"] == list(NAMES)


def test_rows_of_a_markdown_table_have_its_columns(texts):
    blocks = [block.splitlines() for block in texts["md"].split("\n\n") if block.startswith("|")]
    assert len(blocks) == 6
    for block in blocks:
        assert len({len(re.findall(r"(?<!\\)\|", line)) for line in block}) == 1


def test_a_file_that_failed_has_its_reason_and_dashes(texts, elements):
    assert "failed: no such <operator>" in elements.text
    assert "| onnx | failed: no such &lt;operator&gt; | – | – | – | – | – |" in texts["md"]
    assert [row["max_difference"] for row in json.loads(texts["json"])["files"]] == [1e-4, None, None]


def test_the_same_run_gives_the_same_bytes(path, texts, tmp_path):
    again = kd.report.write(path, tmp_path)
    assert {name: file.read_text(encoding="utf-8") for name, file in again.paths.items()} == texts


def test_without_predictions_the_report_names_what_is_left_out(run_folder):
    path = run_folder()
    (path / "predictions.npz").unlink()
    texts = written(path, ("html", "md", "json"))
    held, elements = json.loads(texts["json"]), Elements(texts["html"])
    (sentence,) = held["left_out"]
    assert sentence.startswith("Fidelity beyond agreement, calibration and disagreements are left out")
    assert sentence in " ".join(elements.text) and "predictions.npz" in texts["md"]
    assert held["calibration"] is held["disagreements"] is held["models"]["alone"]["brier_score"] is None
    assert len(held["models"]["alone"]["accuracy"]) == 2 and len(elements.all("svg")) == 4


def test_inputs_that_are_not_pictures_have_only_bars(run_folder):
    texts = written(run_folder(shape=(7,)), ("html", "json"))
    elements = Elements(texts["html"])
    assert not elements.all("img")
    assert sum(table.get("class") == "bars" for table in elements.all("table")) == 2
    assert "they are not pictures" in json.loads(texts["json"])["left_out"][0]


def test_a_training_that_diverged_is_a_dash(run_folder):
    def spoil(arrays):
        arrays["distilled"][1] = np.nan

    texts = written(run_folder(spoil=spoil))
    held = json.loads(texts["json"])
    first, second = held["models"]["distilled"]["brier_score"]
    assert first > 0 and second is None and held["disagreements"] == []
    (row,) = [line for line in texts["md"].splitlines() if line.startswith("| Brier score")]
    assert [cell.strip() for cell in row.split("|")][-2] == "–" and row.count("–") == 1


def test_of_many_classes_those_with_the_least_agreement_are_shown(run_folder):
    texts = written(run_folder(names=tuple(f"class {place}" for place in range(100)), samples=400))
    held = json.loads(texts["json"])["classes"]
    least = sorted(row["agreement"]["distilled"] for row in held if row["agreement"]["distilled"] is not None)
    shown = [row["agreement"]["distilled"] for row in page._select_hardest(held)]
    assert "Of 100 classes, the 20 with the least agreement." in texts["md"]
    assert len(held) == 100 and shown == least[:20]


def test_one_seed_has_no_spread(run_folder):
    text = written(run_folder(seeds=(7,)))["md"]
    assert "±" not in text and "## Seeds" not in text and "| Accuracy | higher |" in text


def test_two_classes_have_no_rank_correlation_of_the_others(run_folder):
    held = json.loads(written(run_folder(names=("no", "yes")))["json"])
    assert held["models"]["distilled"]["dark_knowledge_correlation"] == [None, None]


@pytest.mark.parametrize(
    ("command", "quoted"),
    [
        (["keras-distill", "run", "my recipe.py"], "keras-distill run 'my recipe.py'"),
        (["__main__.py", "run", "mnist"], "python -m keras_distill run mnist"),
        (["__main__.py", "tests"], "kd.recipes.run(RECIPE, 'runs/mine', "),
        (
            ["notebook.py"],
            "kd.recipes.run(RECIPE, 'runs/mine', seeds=(0, 4), formats=('tflite', 'tflite_int8', 'onnx'))",
        ),
    ],
)
def test_how_to_repeat_the_run(run_folder, command, quoted):
    assert f"    {quoted}" in written(run_folder(command=command))["md"]


def test_the_better_student_is_better_as_written():
    accuracy, brier = (
        next(each for each in page.MEASURES if each.name == name) for name in ("accuracy", "brier_score")
    )
    models = {
        "alone": {"accuracy": [0.5], "brier_score": [0.2]},
        "distilled": {"accuracy": [0.6], "brier_score": [0.20001]},
    }
    assert page._find_better(accuracy, models) == "distilled" and page._find_better(brier, models) is None
    models["distilled"]["brier_score"] = [0.3]
    assert page._find_better(brier, models) == "alone"
