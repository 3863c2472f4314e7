"""Run the tutorials from start to end and keep, of what they print and draw, the figures.

    python tutorials/render.py [NOTEBOOK ...]

So that a change of a tutorial reads as a change of its text, and its figures show on GitHub. Each runs in a folder and
a kernel of its own; a notebook that fails stays as it was. Needs nbclient and ipykernel, and minutes each.
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
