"""`keras-distill profile`: a table, a file, a trace."""

import json

import pytest
from click.testing import CliRunner

from keras_distill.cli import main


@pytest.mark.slow
def test_it_times_the_step_of_a_built_in_recipe(tmp_path):
    result = CliRunner().invoke(main, ["profile", "digits", "--quick", "--steps", "2", "--directory", str(tmp_path)])
    assert result.exit_code == 0, result.output
    found = json.loads((tmp_path / "profile.json").read_text())
    assert abs(sum(found["parts"].values()) + found["residual"] - found["whole"]) < 1e-9
    assert "student, backward" in result.output and f"{found['whole']:.2f}" in result.output
    assert list(tmp_path.rglob("*.xplane.pb"))


def test_an_unknown_recipe_is_one_line():
    result = CliRunner().invoke(main, ["profile", "digitz"])
    assert result.exit_code == 2 and "Did you mean 'digits'?" in result.output and "Traceback" not in result.output
