"""The package as a whole: what its import costs, what it says of itself, and that the README's code runs."""

import configparser
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


def code_blocks():
    return re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), flags=re.DOTALL)


@pytest.fixture
def few_epochs(monkeypatch):
    """Train for ten epochs at most: enough for files that agree with their student."""
    fit = keras.Model.fit

    def fit_briefly(self, x=None, y=None, batch_size=None, epochs=1, *args, **kwargs):
        return fit(self, x, y, batch_size, min(epochs, 10), *args, **kwargs)

    monkeypatch.setattr(keras.Model, "fit", fit_briefly)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:`shuffle=True` was passed")  # By Keras, of every tf.data.Dataset.
def test_the_code_of_the_readme_runs(tmp_path, monkeypatch, capsys, few_epochs):
    monkeypatch.chdir(tmp_path)
    assert code_blocks()
    names = {"__name__": "readme"}
    for block in code_blocks():
        exec(compile(block, "README.md", "exec"), names)
    assert "passed" in capsys.readouterr().out
    assert (tmp_path / "exported_digits" / "student_int8.tflite").stat().st_size > 1000
    assert names["report"].passed and names["report"].missing_targets == ()
    assert (tmp_path / "exported_int8" / "student_int8.tflite").stat().st_size > 1000


def test_links_of_the_readme_lead_somewhere():
    links = re.findall(r"\]\((?!http)([^)#]+)", (ROOT / "README.md").read_text())
    assert links
    assert not [link for link in links if not (ROOT / link).exists()]
