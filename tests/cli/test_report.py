"""`keras-distill report`: its help, its arguments, and errors in one line."""

import json

import pytest
from click.testing import CliRunner

from keras_distill.cli import main


def invoke(*arguments):
    return CliRunner().invoke(main, ["report", *map(str, arguments)])


@pytest.fixture
def written(monkeypatch):
    """Record the arguments of the report, and write nothing; tests/report tests the rest."""
    calls = []
    monkeypatch.setattr("keras_distill.report.write", lambda *arguments: calls.append(arguments) or "written")
    return calls


def test_help_has_an_example_and_the_list_of_commands_has_the_command():
    result = invoke("--help")
    assert result.exit_code == 0 and "keras-distill report runs/mnist" in result.output.split("Example")[-1]
    assert "report" in CliRunner().invoke(main, ["--help"]).output


def test_formats_and_directory_are_passed_on(written, tmp_path):
    result = invoke("runs/mine", "--directory", tmp_path, "--format", "md", "--format", "json")
    assert result.exit_code == 0 and "written" in result.output
    assert written == [("runs/mine", str(tmp_path), ("md", "json"))]
    assert invoke("runs/mine").exit_code == 0 and written[1] == ("runs/mine", None, ("html", "md", "json"))


def test_users_errors_are_one_line_and_2(tmp_path):
    (tmp_path / "results.json").write_text(json.dumps({"producer": "keras_distill run"}))
    for arguments, words in (
        ((tmp_path / "none",), "the folder of a finished run"),
        ((tmp_path,), "a run that is still running or was interrupted"),
        ((tmp_path, "--format", "pdf"), "'pdf' is not one of"),
    ):
        result = invoke(*arguments)
        assert result.exit_code == 2 and "Traceback" not in result.output
        assert words in " ".join(result.output.split())
