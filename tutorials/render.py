"""Run the tutorials from start to end, and keep only the figures of their outputs.

    python tutorials/render.py [NOTEBOOK ...]

A diff of a tutorial then shows its text, and GitHub shows its figures. Each notebook runs in a folder and a kernel of
its own; one that fails is left unchanged. Needs nbclient and ipykernel, and a few minutes per notebook.
"""

import pathlib
import sys
import tempfile

import nbformat
from nbclient import NotebookClient

HERE = pathlib.Path(__file__).parent
_METADATA = {"kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"}}


def render(path):
    """Run a notebook and write it back with its figures."""
    notebook = nbformat.read(path, as_version=4)
    with tempfile.TemporaryDirectory() as folder:
        run(notebook, folder)
    notebook.metadata = _METADATA
    for number, cell in enumerate(notebook.cells):
        cell.id, cell.metadata = f"cell-{number:02}", {}
        if cell.cell_type == "code":
            cell.execution_count = None
            cell.outputs = [_figure(output) for output in cell.outputs if "image/png" in output.get("data", {})]
    beside = path.with_suffix(".partial")
    nbformat.write(notebook, beside)
    beside.replace(path)


def run(notebook, folder):
    """Run every cell of a notebook in a folder, in a fresh kernel."""
    NotebookClient(notebook, timeout=1800, kernel_name="python3", resources={"metadata": {"path": folder}}).execute()


def _figure(output):
    return nbformat.v4.new_output("display_data", {"image/png": output.data["image/png"]})


if __name__ == "__main__":
    for name in sys.argv[1:] or sorted(HERE.glob("*.ipynb")):
        render(pathlib.Path(name))
        print(name)
