"""The package as a whole: what its import costs, what it says of itself, and that the README's code runs."""

import configparser
import os
import pathlib
import re

import keras
import pytest

import keras_distill as kd

ROOT = pathlib.Path(__file__).parents[1]


def test_version_is_said_once():
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg")
    assert setup["metadata"]["version"] == "attr: keras_distill._version.__version__"
    assert re.fullmatch(r"\d+\.\d+\.\d+", kd.__version__)


def test_the_licence_is_there():
    assert "Apache License" in (ROOT / "LICENSE").read_text()


RUN = ("README.md", *(f"docs/guides/{page}.md" for page in ("watching", "stored_targets", "export", "questions")))
"""Pages whose code runs, each with what the pages before it have defined."""

PAGES = ["README.md", "CONTRIBUTING.md", "CHANGELOG.md", "SECURITY.md", "findings/README.md"]
PAGES += [
    path.relative_to(ROOT).as_posix() for path in sorted((ROOT / "docs").rglob("*.md")) if path.parent.name != "_build"
]


def code_blocks(page):
    return re.findall(r"```python\n(.*?)```", (ROOT / page).read_text(encoding="utf-8"), flags=re.DOTALL)


@pytest.fixture
def few_epochs(monkeypatch):
    """Train for ten epochs at most: enough for files that agree with their student."""
    fit = keras.Model.fit

    def fit_briefly(self, x=None, y=None, batch_size=None, epochs=1, *args, **kwargs):
        return fit(self, x, y, batch_size, min(epochs, 10), *args, **kwargs)

    monkeypatch.setattr(keras.Model, "fit", fit_briefly)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:`shuffle=True` was passed")  # By Keras, of every tf.data.Dataset.
def test_the_code_of_readme_and_guides_runs(tmp_path, monkeypatch, capsys, few_epochs):
    monkeypatch.chdir(tmp_path)
    names = {"__name__": "readme"}
    for page in RUN:
        assert code_blocks(page)
        for block in code_blocks(page):
            exec(compile(block, page, "exec"), names)
    assert "passed" in capsys.readouterr().out
    assert (tmp_path / "exported_digits" / "student_int8.tflite").stat().st_size > 1000
    assert names["report"].passed and names["report"].missing_devices == ()
    assert (tmp_path / "exported_int8" / "student_int8.tflite").stat().st_size > 1000


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_somewhere(page):
    made = ("reference/", "methods.md", "tutorials/")  # Pages that the site makes.
    links = re.findall(r"\]\((?!http)([^)#\s]+)", (ROOT / page).read_text(encoding="utf-8"))
    lost = [link for link in links if not ((ROOT / page).parent / link).exists()]
    assert not [link for link in lost if not link.removeprefix("../").startswith(made)]


def test_the_front_page_is_one_page():
    assert len((ROOT / "README.md").read_text(encoding="utf-8").splitlines()) <= 180


def test_findings_stand_alone():
    scripts = sorted((ROOT / "findings").glob("*.sh"))
    assert scripts
    for script in scripts:
        text = script.read_text(encoding="utf-8")
        assert os.access(script, os.X_OK) and "mktemp -d" in text and re.search(r"[a-z0-9]==\d", text), script.name
        assert not re.search(r"(from|import) keras_distill", text), script.name
        assert script.name in (ROOT / "findings" / "README.md").read_text(encoding="utf-8"), script.name
