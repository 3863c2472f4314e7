"""Every tutorial runs from start to end, in a folder of its own, and reads well on paper."""

import pathlib
import warnings

import matplotlib.pyplot as plt
import nbformat
import pytest
from IPython.core.interactiveshell import InteractiveShell
from nbclient import NotebookClient

ROOT = pathlib.Path(__file__).parents[2]
NOTEBOOKS = sorted((ROOT / "tutorials").glob("*.ipynb"))
# In small form where less shows as much: epochs, and what must have come out.
EPOCHS = {"01": 10, "02": 12, "09": 5, "10": 1}
IN_A_KERNEL = ("01", "08")
"""The others run in the process of the tests: a kernel takes longer to import TensorFlow than most take to run."""

FILES = {
    "01": "saved_models/digits/student_int8.tflite",
    "06": "targets/digits/manifest.json",
    "07": "logs/dark_knowledge",
    "08": "exported_int8/student_int8.tflite",
    "10": "targets/shakespeare/manifest.json",
}


@pytest.fixture(params=NOTEBOOKS, ids=lambda path: path.stem)
def notebook(request):
    return nbformat.read(request.param, as_version=4)


def code_cells(notebook):
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def run_in_a_kernel(notebook, folder):
    """Run a notebook as Jupyter does; return what it prints."""
    NotebookClient(notebook, timeout=900, kernel_name="python3", resources={"metadata": {"path": folder}}).execute()
    cells = code_cells(notebook)
    assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1))
    return "".join(output.get("text", "") for cell in cells for output in cell.outputs)


def run_here(notebook, capsys):
    """Run a notebook in this process, which has imported TensorFlow already; return what it prints."""
    shell = InteractiveShell()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # They are no errors in a notebook.
            for cell in code_cells(notebook):
                shell.run_cell(cell.source, silent=True).raise_error()
    finally:
        plt.close("all")
    return capsys.readouterr().out


@pytest.mark.slow
def test_it_runs_from_start_to_end(notebook, tmp_path, monkeypatch, request, capsys):
    number = request.node.callspec.params["notebook"].stem[:2]
    monkeypatch.setenv("TUTORIAL_EPOCHS", str(EPOCHS.get(number, 2)))
    monkeypatch.chdir(tmp_path)
    loads = "tfds.load" in str(notebook)  # Where its data are, it reads once, when it is imported.
    if loads:
        monkeypatch.setenv("TFDS_DATA_DIR", str(request.getfixturevalue("shared") / "data" / "tfds"))
    in_a_kernel = loads or number in IN_A_KERNEL
    text = run_in_a_kernel(notebook, tmp_path) if in_a_kernel else run_here(notebook, capsys)
    assert "Traceback" not in text
    assert (tmp_path / FILES.get(number, ".")).exists()
    assert number != "01" or text.count("✓ passed") == 3


def test_it_is_short_and_its_figures_are_there(notebook):
    assert max(len(cell.source.splitlines()) for cell in code_cells(notebook)) <= 25
    outputs = [output for cell in code_cells(notebook) for output in cell.outputs]
    assert outputs
    assert all(set(output.data) == {"image/png"} for output in outputs)


def test_it_says_what_one_learns_needs_and_spends(notebook):
    first, install = notebook.cells[0].source, notebook.cells[1].source
    assert all(word in first for word in ("**You will learn**", "**You need**", "**It takes**"))
    assert "%pip install" in install


def test_there_are_ten():
    assert [path.stem[:2] for path in NOTEBOOKS] == [f"{number:02}" for number in range(1, 11)]
