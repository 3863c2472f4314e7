"""The folder of a run: foreign files are never touched."""

import json

import pytest

from keras_distill.recipes.folder import RunFolder, read_results


def finished(path, seeds=(0,)):
    folder = RunFolder(path)
    folder.begin()
    (folder / "plots").mkdir()
    (folder / "plots" / f"{seeds[0]}.png").write_bytes(b"png")
    folder.write_results({"seeds": list(seeds)})
    folder.publish()
    return folder.path


def test_results_appear_when_the_run_is_complete(tmp_path):
    folder = RunFolder(tmp_path / "run")
    assert not any(tmp_path.iterdir())
    folder.begin()
    folder.write_results({"seeds": [1]})
    assert not (tmp_path / "run").exists()
    folder.publish()
    assert read_results(tmp_path / "run")["seeds"] == [1]
    assert [entry.name for entry in tmp_path.iterdir()] == ["run"]


def test_an_earlier_run_is_replaced_and_files_of_users_stay(tmp_path):
    path = finished(tmp_path / "run", seeds=(1,))
    (path / "notes.txt").write_text("mine")
    finished(path, seeds=(2,))
    assert read_results(path)["seeds"] == [2]
    assert [plot.name for plot in (path / "plots").iterdir()] == ["2.png"]
    assert (path / "notes.txt").read_text() == "mine"


def test_reports_are_removed_with_the_results_that_they_describe(tmp_path):
    path = finished(tmp_path / "run", seeds=(1,))
    (path / "report.html").write_text('<meta name="generator" content="keras_distill report 1.0">')
    (path / "report.md").write_text("my own, on keras_distill report")
    finished(path, seeds=(2,))
    assert not (path / "report.html").exists() and (path / "report.md").read_text().startswith("my own")


def test_an_interrupted_run_keeps_the_last_one_and_is_cleared_by_the_next(tmp_path):
    path = finished(tmp_path / "run", seeds=(1,))
    interrupted = RunFolder(path)
    interrupted.begin()
    (interrupted / "teacher.keras").write_bytes(b"half")
    assert read_results(path)["seeds"] == [1]
    finished(path, seeds=(2,))
    assert not (path / "teacher.keras").exists()


@pytest.mark.parametrize(
    "files",
    [
        {"letter.txt": "mine"},
        {"results.json": "{}"},
        {"results.json": "no json"},
        {"results.json": json.dumps({"producer": "someone else"})},
        {"results.json": "[1]"},
    ],
)
@pytest.mark.parametrize("name", ["run", "run.partial"])
def test_a_foreign_folder_is_refused_and_not_changed(tmp_path, files, name):
    (tmp_path / name).mkdir()
    for file, text in files.items():
        (tmp_path / name / file).write_text(text)
    with pytest.raises(FileExistsError, match="^Expected a folder that is new, empty, or of an earlier run"):
        RunFolder(tmp_path / "run")
    assert {entry.name: entry.read_text() for entry in (tmp_path / name).iterdir()} == files


def test_a_file_is_refused(tmp_path):
    (tmp_path / "run").write_text("mine")
    with pytest.raises(FileExistsError):
        RunFolder(tmp_path / "run")
    assert (tmp_path / "run").read_text() == "mine"


def test_reading_a_folder_without_results(tmp_path):
    with pytest.raises(FileNotFoundError, match="^Expected the folder of a finished run"):
        read_results(tmp_path)
    begun = RunFolder(tmp_path / "run")
    begun.begin()
    with pytest.raises(FileNotFoundError, match=r"run\.partial beside it is still running or was interrupted"):
        read_results(tmp_path / "run")
    for name in ("run.partial", "renamed"):
        begun.partial = begun.partial.rename(tmp_path / name)
        with pytest.raises(ValueError, match="a run that is still running or was interrupted"):
            read_results(tmp_path / name)
