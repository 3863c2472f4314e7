"""The table of methods, and its copy in the documentation."""

import pathlib

from keras_distill.losses import METHODS, listing
from keras_distill.losses.registry import in_order

PAGE = pathlib.Path(__file__).parents[2] / "docs" / "losses.md"


def test_markdown_has_a_row_for_each():
    header, line, *rows = listing.markdown().splitlines()
    assert header.count("|") == line.count("|") == 6 and len(rows) == len(METHODS)
    for row, method in zip(rows, in_order(), strict=True):
        assert row.count("|") == 6 and row.startswith(f"| `{method.name}` | `{method.loss.__name__}` |")


def test_the_documentation_has_this_very_table():
    between = (
        PAGE.read_text(encoding="utf-8")
        .split("<!-- keras-distill losses --format markdown -->\n")[1]
        .split("\n<!-- end -->")[0]
    )
    assert between == listing.markdown()


def test_describe():
    text = listing.describe("dkd")
    assert text.startswith("dkd: keras_distill.losses.DKD(temperature=4.0, alpha=1.0, beta=8.0, name=None)")
    assert "arXiv:2203.08679" in text and "LogitStandardization" in listing.describe("logit_std_dist")
