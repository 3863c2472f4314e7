"""The table of methods, and the README's copy of it."""

import pathlib

from keras_distill.losses import METHODS
from keras_distill.report import methods

README = pathlib.Path(__file__).parents[2] / "README.md"


def test_markdown_has_a_row_for_each():
    header, line, *rows = methods.markdown().splitlines()
    assert header.count("|") == line.count("|") == 6 and len(rows) == len(METHODS)
    for row, (name, method) in zip(rows, METHODS.items(), strict=True):
        assert row.count("|") == 6 and row.startswith(f"| `{name}` | `{method.loss.__name__}` |")


def test_the_readme_has_this_very_table():
    between = (
        README.read_text().split("<!-- keras-distill losses --format markdown -->\n")[1].split("\n<!-- end -->")[0]
    )
    assert between == methods.markdown()


def test_describe():
    text = methods.describe("dkd")
    assert text.startswith("dkd: keras_distill.losses.DKD(temperature=4.0, alpha=1.0, beta=8.0, name=None)")
    assert "arXiv:2203.08679" in text and "LogitStandardization" in methods.describe("logit_std_dist")
