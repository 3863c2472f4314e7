"""Old names work, and each warns with the new one. The table is read from the package, so that no name is missing."""

import ast
import contextlib
import importlib
import inspect
import pathlib
import re

import numpy as np
import pytest

import keras_distill as kd
from keras_distill._core import deprecation

PACKAGE = pathlib.Path(deprecation.__file__).parents[1]


def calls(name):
    """Yield the module, the class or "", the function or "", and the node of every call of a helper in the package."""
    for path in sorted(PACKAGE.rglob("*.py")):
        if path.name == "deprecation.py" or "deprecation" not in (text := path.read_text(encoding="utf-8")):
            continue
        parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
        module = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
        yield from ((module, *place, call) for place, call in _find(ast.parse(text), name, ("", "")))


def _name(call):
    return getattr(call.func, "attr", getattr(call.func, "id", ""))


def _find(node, name, place):
    for child in ast.iter_child_nodes(node):
        inner = place
        if isinstance(child, ast.ClassDef):
            inner = (child.name, "")
        elif isinstance(child, ast.FunctionDef):
            inner = (place[0], child.name)
        if isinstance(child, ast.Call) and _name(child).lstrip("_") == name:
            yield inner, child
        yield from _find(child, name, inner)


MODULE_NAMES = [
    (module, old.value, new.value)
    for module, _, _, call in calls("renamed")
    if len(call.args) == 2
    for old, new in zip(call.args[1].keys, call.args[1].values, strict=True)
]
ARGUMENTS = [
    # Without a function, it wraps the constructor that the dataclass has made.
    (module, owner if function else "Artifact", function or "__init__", keyword.arg, keyword.value.value)
    for module, owner, function, call in calls("renamed_arguments")
    for keyword in call.keywords
]


def find(path):
    parent, name = path.rsplit(".", 1)
    found = getattr(importlib.import_module(parent), name, None)
    return importlib.import_module(path) if found is None else found


def test_the_tables_hold_the_names_that_changed():
    assert ("keras_distill", "tune", "keras_distill.tuning.tune") in MODULE_NAMES
    assert ("keras_distill.report", "plots", "keras_distill.recipes.plots") in MODULE_NAMES
    assert ("keras_distill.export", "TARGETS", "keras_distill.export.devices.DEVICES") in MODULE_NAMES
    assert ("keras_distill.recipes.runner", "", "run", "out", "directory") in ARGUMENTS
    assert ("keras_distill.export.reporting.report", "Artifact", "__init__", "targets", "devices") in ARGUMENTS
    assert ("keras_distill.stages.mutual", "MutualLearning", "__init__", "losses", "distillation_losses") in ARGUMENTS


@pytest.mark.parametrize(("module", "old", "new"), MODULE_NAMES)
def test_an_old_name_of_a_module_is_the_new_thing(module, old, new):
    with pytest.warns(
        DeprecationWarning, match=f"^`{re.escape(module)}.{old}` is deprecated. Use `{re.escape(new)}`.$"
    ):
        found = getattr(importlib.import_module(module), old)
    assert found is find(new)


@pytest.mark.parametrize(("module", "owner", "name", "old", "new"), ARGUMENTS)
def test_an_old_argument_warns_and_is_passed_on(module, owner, name, old, new):
    found = importlib.import_module(module)
    function = getattr(getattr(found, owner) if owner else found, name)
    public = owner or name
    assert new in inspect.signature(function).parameters and old not in inspect.signature(function).parameters
    message = rf"^`{public}\({old}=\.\.\.\)` is deprecated. Use `{public}\({new}=\.\.\.\)`.$"
    # The other arguments are missing, so that nothing runs.
    with pytest.warns(DeprecationWarning, match=message), contextlib.suppress(TypeError):
        function(**{old: "value"})
    with pytest.raises(ValueError, match=f"^Expected either {new} or {old}, its old name. Received: both."):
        function(**{old: "value", new: "value"})


def test_the_value_of_an_old_argument_arrives():
    @deprecation.renamed_arguments(out="directory")
    def write(directory, formats=()):
        return directory, formats

    with pytest.warns(DeprecationWarning):
        assert write(out="pages", formats="md") == ("pages", "md")
    assert write("pages") == ("pages", ())


def test_the_old_functions_for_logits_at_a_temperature_work():
    def soften(temperature):
        return np.array([[4.0, 2.0]]) / temperature

    with pytest.warns(DeprecationWarning, match="Use `keras_distill.answers.TemperedLogits`"):
        outputs = kd.teachers.with_temperatures(soften(1.0), soften)
    with pytest.warns(DeprecationWarning, match=r"Use `teacher.answer\(x\).at\(T\)`"):
        assert np.array_equal(kd.teachers.at_temperature(outputs, 2.0), outputs.at(2.0))
    with pytest.warns(DeprecationWarning), pytest.raises(ValueError, match="^Expected an Answer. Received: ndarray."):
        kd.teachers.at_temperature(soften(1.0), 2.0)


def test_the_report_can_be_called_as_before(tmp_path):
    with pytest.warns(DeprecationWarning) as caught:
        with pytest.raises(FileNotFoundError, match="^Expected the folder of a finished run"):
            kd.report(tmp_path, out=tmp_path / "pages")
    assert [str(each.message).split("Use ")[1] for each in caught] == [
        "`keras_distill.report.write(...)`.", "`write(directory=...)`."
    ]  # fmt: skip


def test_an_unknown_name_is_an_error():
    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        kd.report.nothing  # noqa: B018
