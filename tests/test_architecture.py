"""The plan of the house, held against the imports: which room may use which, and how.

`docs/architecture.md` describes the rooms. Arrows run down, from a floor to those below it, or between files of a room.
"""

import ast
import functools
import pathlib

import pytest

PACKAGE = pathlib.Path(__file__).parents[1] / "keras_distill"
NAME = PACKAGE.name
FLOORS = (
    ("__main__",),
    ("cli",),
    ("report",),
    ("recipes", "stages", "tuning"),
    ("distiller",),
    ("callbacks", "targets"),
    ("metrics", "export", "teachers"),
    ("losses", "profiling"),
    ("features", "data", "schedules", "quantization", "distribution", "drawing", "answers"),
    ("_core",),
    ("_version",),
)
"""Rooms from the top floor to the ground."""

INSIDE_FUNCTIONS = {
    "keras_distill.tuning.search": "`trials` subclasses a class of KerasTuner, an extra",
}
"""File -> why it imports a file of ours where it is used, rather than at its top."""

FLOOR = {room: floor for floor, rooms in enumerate(FLOORS) for room in rooms}


@functools.cache
def modules():
    return {_name(path): path for path in sorted(PACKAGE.rglob("*.py"))}


def _name(path):
    parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


@functools.cache
def imports(path, everywhere=False):
    """Return the modules of ours that a file imports: at its top, or everywhere in it."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    inside = {id(each) for node in ast.walk(tree) if isinstance(node, ast.FunctionDef) for each in ast.walk(node)}
    known, found = modules(), []
    for node in ast.walk(tree):
        if not everywhere and id(node) in inside:
            continue
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names if alias.name.split(".")[0] == NAME]
        elif isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == NAME:
            full = [f"{node.module}.{alias.name}" for alias in node.names]
            found += [name if name in known else node.module for name in full]
    return found


def room_of(module):
    return module.split(".")[1] if "." in module else ""


def files(*left_out):
    return [name for name in modules() if room_of(name) and room_of(name) not in left_out]


def test_every_room_has_a_floor():
    assert {room_of(name) for name in files()} == set(FLOOR)


def test_no_arrow_runs_up_or_across():
    for name in files():
        for imported in imports(modules()[name], everywhere=True):
            mine, other = room_of(name), room_of(imported)
            if mine == "cli" and not other:
                continue
            assert other, f"{name} imports the package itself"
            assert mine == other or FLOOR[other] > FLOOR[mine], f"{name} imports {imported}"


def test_no_circle_of_files():
    graph = {name: [each for each in imports(path) if each != name] for name, path in modules().items()}
    done, open_ = set(), []

    def visit(name):
        if name in done:
            return
        assert name not in open_, f"a circle: {' -> '.join([*open_[open_.index(name) :], name])}"
        open_.append(name)
        for each in graph.get(name, ()):
            visit(each)
        open_.pop()
        done.add(name)

    for name in graph:
        visit(name)


@pytest.mark.parametrize("room", sorted({room_of(name) for name in files("cli", "__main__")} - {"_version"}))
def test_no_import_of_our_rooms_inside_a_function(room):
    for name in files():
        if room_of(name) != room:
            continue
        path = modules()[name]
        inside = [each for each in imports(path, everywhere=True)]
        for each in imports(path):
            inside.remove(each)
        assert not inside or name in INSIDE_FUNCTIONS, f"{name} imports {inside} inside a function"


def test_the_few_imports_inside_functions_are_still_there():
    assert len(INSIDE_FUNCTIONS) <= 3
    for name in INSIDE_FUNCTIONS:
        assert len(imports(modules()[name], everywhere=True)) > len(imports(modules()[name]))


def test_rooms_are_entered_by_their_files():
    """Rooms below the recipes name the files they use: a door that is half imported has no names yet."""
    doors = {name for name, path in modules().items() if path.name == "__init__.py" and name.count(".") == 1}
    for name in set(files("cli", "__main__", "recipes", "report", "tuning")) - doors:
        through = [each for each in imports(modules()[name], everywhere=True) if each in doors]
        assert not through, f"{name} imports through {through}"


def test_every_folder_is_a_package():
    """Others would be missing from a wheel."""
    folders = {path.parent for path in PACKAGE.rglob("*.py")}
    assert not [folder for folder in folders if not (folder / "__init__.py").exists()]
