"""Every tutorial runs from start to end, in a folder and a kernel of its own, and reads well on paper."""

import pathlib

import nbformat
import pytest
from nbclient import NotebookClient

NOTEBOOKS = sorted((pathlib.Path(__file__).parents[2] / "tutorials").glob("*.ipynb"))


@pytest.fixture(params=NOTEBOOKS, ids=lambda path: path.stem)
def notebook(request):
    return nbformat.read(request.param, as_version=4)


def code_cells(notebook):
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


@pytest.mark.slow
def test_it_runs_from_start_to_end(notebook, tmp_path, monkeypatch):
    monkeypatch.setenv("TUTORIAL_EPOCHS", "20")
    before = [cell.source for cell in code_cells(notebook)]
    NotebookClient(notebook, timeout=900, kernel_name="python3", resources={"metadata": {"path": tmp_path}}).execute()
    assert [cell.execution_count for cell in code_cells(notebook)] == list(range(1, len(before) + 1))
    text = "".join(output.get("text", "") for cell in code_cells(notebook) for output in cell.outputs)
    assert "Traceback" not in text
    assert (tmp_path / "saved_models" / "digits" / "student_int8.tflite").exists()
    assert text.count("✓ passed") == 3


def test_it_is_short_and_its_figures_are_there(notebook):
    assert max(len(cell.source.splitlines()) for cell in code_cells(notebook)) <= 25
    outputs = [output for cell in code_cells(notebook) for output in cell.outputs]
    assert outputs
    assert all(set(output.data) == {"image/png"} for output in outputs)


def test_there_are_tutorials():
    assert [path.stem for path in NOTEBOOKS][0] == "01_distill_digits"
