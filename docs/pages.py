"""A Sphinx extension that generates pages from the package: the reference, the table of methods, the tutorials."""

import ast
import importlib
import inspect
import pathlib
import re
import shutil
import types

HERE = pathlib.Path(__file__).parent
TUTORIALS = HERE.parent / "tutorials"
_TUTORIALS = """# Tutorials

Each notebook takes a few minutes on a laptop. The tests run all of them from start to end.

```{toctree}
:maxdepth: 1

"""
_METHODS = """# The methods

Use a method by its name, `kd.Distiller(teacher, student, ["dkd", "rkd"])`, as a class of `kd.losses` with its published
defaults, or as a pure function of `kd.losses.functional`. The prefix `logit_std_` before a method on logits standardises
the logits first. The tests compare values and gradients with those of the authors' code.

{legend}

"""


def setup(app):
    app.connect("builder-inited", write_pages)
    app.connect("autodoc-process-docstring", to_restructured_text)
    app.connect("autodoc-process-signature", show_constructor)
    return {"parallel_read_safe": True}


def write_pages(app):
    for folder in ("reference", "tutorials"):
        shutil.rmtree(HERE / folder, ignore_errors=True)
        (HERE / folder).mkdir()
    for room in rooms():
        _write(f"reference/{room}.rst", _reference(room))
    _write("reference/index.rst", _index())
    _write("methods.md", _methods())
    notebooks = sorted(TUTORIALS.glob("*.ipynb"))
    for notebook in notebooks:
        shutil.copy(notebook, HERE / "tutorials")
    _write("tutorials/index.md", _TUTORIALS + "\n".join(notebook.stem for notebook in notebooks) + "\n```\n")


def rooms():
    """Return the names of the package's public rooms."""
    import keras_distill

    return [name for name in keras_distill.__all__ if isinstance(getattr(keras_distill, name), types.ModuleType)]


def public_names(room):
    """Return the public names of a room: its `__all__`, or the names that it imports `as` themselves."""
    module = importlib.import_module(f"keras_distill.{room}" if room else "keras_distill")
    if hasattr(module, "__all__"):
        return list(module.__all__)
    tree = ast.parse(pathlib.Path(module.__file__).read_text(encoding="utf-8"))
    imports = [node for node in tree.body if isinstance(node, ast.ImportFrom)]
    return [alias.name for node in imports for alias in node.names if alias.asname == alias.name]


def show_constructor(app, what, name, thing, options, signature, returns):
    """Show the arguments of a constructor where Keras shows `(*args, **kwargs)`."""
    if what != "class" or hasattr(thing, "_fields"):
        return None
    parameters = list(inspect.signature(thing.__init__).parameters.values())[1:]
    return str(inspect.Signature(parameters)), returns


def to_restructured_text(app, what, name, thing, options, lines):
    """Convert a docstring, written for editors and terminals, to reStructuredText in place."""
    text = "\n".join(_tables(lines))
    text = re.sub(r"(?<!`)`([^`]+)`(?!`)", r"``\1``\\ ", text)  # Single backticks are code, over lines too.
    text = re.sub(r"\\ (?=[\s.,;:)]|$)", "", text)
    text = re.sub(r"(?<![`\w*\\])(\*{1,2})(?=[a-z])", lambda found: found[1].replace("*", r"\*"), text)  # **kwargs
    lines[:] = text.split("\n")


def _tables(lines):
    """Convert the Markdown tables in the lines of a docstring to reStructuredText."""
    rows = []
    for line in [*lines, ""]:
        if line.startswith("|"):
            rows.append([cell.strip() for cell in line.strip("|").split("|")])
            continue
        if rows:
            yield from ("", ".. list-table::", "   :header-rows: 1", "")
            for row in rows[:1] + rows[2:]:
                yield from (f"   {'  ' if place else '* '}- {cell}" for place, cell in enumerate(row))
            yield ""
            rows = []
        yield line


def _methods():
    import formulas

    from keras_distill.losses.listing import paper
    from keras_distill.losses.registry import in_order

    lines = ["| name | minimises | class | needs | paper |", "|---|---|---|---|---|"]
    for row in in_order():
        needs = ", ".join(row.needs)
        formula = formulas.FORMULAS[row.name].replace("|", "\\|")
        lines.append(f"| `{row.name}` | {formula} | `{row.loss.__name__}` | {needs} | {paper(row)} |")
    legend = inspect.getdoc(formulas).partition(": ")[2]
    return _METHODS.format(legend=f"In the formulas, {legend}") + "\n".join(lines) + "\n"


def _index():
    listed = "\n".join(f"   {room}" for room in rooms())
    distiller = ".. autoclass:: keras_distill.Distiller\n   :members:\n"
    return f"{_title('Reference')}{distiller}\n.. toctree::\n   :maxdepth: 1\n\n{listed}\n"


def _reference(room):
    module = importlib.import_module(f"keras_distill.{room}")
    summary = inspect.getdoc(module).split("\n\n>>>")[0]
    return "\n".join(
        [_title(f"keras_distill.{room}"), summary, "", *map(lambda n: _entry(room, n), public_names(room))]
    )


def _entry(room, name):
    path = f"keras_distill.{room}.{name}"
    thing = getattr(importlib.import_module(f"keras_distill.{room}"), name)
    if isinstance(thing, types.ModuleType):
        return f".. automodule:: {thing.__name__}\n   :members:\n"
    if inspect.isclass(thing):
        if (home := _home(thing, room)) != room:  # Sphinx allows one full entry per class.
            return f".. py:class:: {path}\n\n   The same class as `keras_distill.{home}.{name}`.\n"
        members = "" if hasattr(thing, "_fields") else "   :members:\n"  # Those of a named tuple are its attributes.
        return f".. autoclass:: {path}\n{members}"
    if callable(thing):
        return f".. autofunction:: {path}\n"
    held = ", ".join(f"``{key}``" for key in thing) if isinstance(thing, (dict, tuple)) else f"``{thing!r}``"
    return f".. py:currentmodule:: None\n\n.. py:data:: {path}\n\n   A {type(thing).__name__}: {held}.\n"


def _home(thing, room):
    """Return the first room in the reference that has a public class."""
    others = (other for other in rooms() if other < room)
    return next((other for other in others if thing in _values(other)), room)


def _values(room):
    module = importlib.import_module(f"keras_distill.{room}")
    return [getattr(module, name) for name in public_names(room)]


def _title(text):
    return f"{text}\n{'=' * len(text)}\n\n"


def _write(name, text):
    (HERE / name).write_text(text, encoding="utf-8")
