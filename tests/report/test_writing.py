"""Writing a report: foreign files stay, and either every file is written or none changes."""

import io
import json
import pathlib

import pytest
from rich.console import Console

import keras_distill as kd
from keras_distill.recipes import RunResult
from tests.run_results import make_results

NAMES = {"html": "report.html", "md": "report.md", "json": "report.json"}


def test_by_default_the_report_is_in_the_folder_of_the_run(run_folder):
    path = run_folder()
    report = kd.report.write(path)
    assert isinstance(report, kd.report.Report) and report.folder == path.resolve()
    assert {name: file.name for name, file in report.paths.items()} == NAMES
    assert json.loads(report.paths["json"].read_text()) == report.content
    assert {entry.name for entry in path.iterdir()} == {*NAMES.values(), "results.json", "predictions.npz"}


def test_formats_directory_and_the_result_of_a_run(run_folder, tmp_path):
    result = RunResult(run_folder(), make_results())
    report = kd.report.write(result, tmp_path / "new" / "pages", formats="md")
    assert [file.name for file in (tmp_path / "new" / "pages").iterdir()] == ["report.md"]
    assert list(report.paths) == ["md"]


def test_a_printed_report_is_a_table_the_verdict_and_the_paths(run_folder):
    console = Console(width=160, record=True, file=io.StringIO())
    report = kd.report.write(run_folder(), formats=("json",))
    console.print(report)
    text = console.export_text()
    assert "Brier score" in text and report.content["verdict"][:40] in text and "report.json" in text


@pytest.mark.parametrize(
    ("formats", "message"),
    [(("htm",), "Did you mean 'html'?"), ((), "one or more formats of html, md, json. Received: formats=()")],
)
def test_formats_are_checked(run_folder, formats, message):
    with pytest.raises(ValueError, match="^Expected") as caught:
        kd.report.write(run_folder(), formats=formats)
    assert message in str(caught.value)


def test_a_report_is_replaced_but_no_foreign_file(run_folder):
    path = run_folder()
    before = kd.report.write(path, formats="json").paths["json"].read_bytes()
    (path / "report.md").write_text("my own notes")
    (path / "report.json").write_bytes(before.replace(b"animals", b"letters"))
    with pytest.raises(FileExistsError, match=r"^Expected report\.md to be new, or an earlier report"):
        kd.report.write(path)
    assert (path / "report.md").read_text() == "my own notes" and not (path / "report.html").exists()
    kd.report.write(path, formats="json")
    assert (path / "report.json").read_bytes() == before


def test_a_folder_that_cannot_be_written(run_folder, tmp_path):
    (tmp_path / "file").write_text("mine")
    with pytest.raises(OSError, match="^Expected .* to be a folder that can be written. Received: "):
        kd.report.write(run_folder(), tmp_path / "file" / "pages", formats="md")
    assert (tmp_path / "file").read_text() == "mine"


def test_a_full_disk_leaves_the_earlier_report(run_folder, monkeypatch):
    path = run_folder()
    paths = kd.report.write(path, formats=("md", "json")).paths
    before = {name: file.read_bytes() for name, file in paths.items()}
    real = pathlib.Path.write_text

    def full(self, *args, **options):
        if "json" in self.name:
            raise OSError(28, "No space left on device")
        return real(self, *args, **options)

    monkeypatch.setattr(pathlib.Path, "write_text", full)
    with pytest.raises(OSError, match="^Expected .*No space left on device"):
        kd.report.write(path, formats=("md", "json"))
    assert {name: file.read_bytes() for name, file in paths.items()} == before
    assert not list(path.glob(".report*"))


@pytest.mark.parametrize(
    ("missing", "formats", "message"),
    [("jinja2", ("md",), "jinja2"), ("matplotlib", ("html",), "matplotlib")],
)
def test_the_error_for_a_missing_package_tells_how_to_install_it(run_folder, monkeypatch, missing, formats, message):
    monkeypatch.setitem(__import__("sys").modules, missing, None)
    with pytest.raises(ImportError, match=rf"^Expected {message}.*Install it: pip install"):
        kd.report.write(run_folder(), formats=formats)
    assert kd.report.write(run_folder(), formats=("json",)).paths["json"].exists()
