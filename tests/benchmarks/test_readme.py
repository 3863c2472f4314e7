"""The tables that readers see are those that the results make."""

import pytest

from benchmarks import readme


def test_a_table_is_what_its_command_prints(monkeypatch):
    monkeypatch.setattr(readme, "printed", lambda command: f"| {command} |\n")
    page = "before\n<!-- python -m benchmarks.x --table -->\nold\n<!-- end -->\nafter"
    assert readme.made(page) == page.replace("old", "| benchmarks.x --table |")


@pytest.mark.slow
def test_every_table_is_up_to_date():
    found = 0
    for page in readme.pages():
        text = page.read_text(encoding="utf-8")
        found += text.count("<!-- python -m benchmarks.")
        assert readme.made(text) == text, page.name
    assert found > 3
