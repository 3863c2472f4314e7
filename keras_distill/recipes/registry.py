"""Recipes by name, and recipes of users by the path of their file."""

import importlib
import importlib.util
import os
import pathlib
import types

from keras_distill._core.checked import checked
from keras_distill._core.checks import check_choice
from keras_distill._core.messages import expected
from keras_distill.recipes.recipe import Recipe

NAMES: tuple[str, ...] = tuple(
    sorted(
        path.stem
        for path in pathlib.Path(__file__).parent.glob("*.py")
        if "\nRECIPE = " in path.read_text(encoding="utf-8")
    )
)
"""Names of the recipes that come with the package: the files beside this one that define `RECIPE`."""


@checked()
def load(name_or_path: str | os.PathLike) -> Recipe:
    """Load a recipe by its name, or from a Python file that defines `RECIPE`.

    Loading a file runs its code, as `python FILE` does: load only files that you trust.

    Args:
        name_or_path: A name in `NAMES`, or the path of a `.py` file.

    Returns:
        The `Recipe`.

    Raises:
        TypeError: If the file does not define a `Recipe` named `RECIPE`.
        ValueError: If the name is unknown.
        FileNotFoundError: If the file does not exist.

    Example:

    >>> load("digits").student().count_params() < load("digits").teacher().count_params()
    True
    >>> load("digit")
    Traceback (most recent call last):
    ValueError: Expected recipe to be one of cifar10, digits, ... Received: 'digit'. Did you mean 'digits'?
    """
    name_or_path = str(name_or_path)
    if name_or_path.endswith(".py"):
        return _load_file(pathlib.Path(name_or_path))
    return importlib.import_module(f"keras_distill.recipes.{check_choice('recipe', name_or_path, NAMES)}").RECIPE


def _load_file(path: pathlib.Path) -> Recipe:
    spec = importlib.util.spec_from_file_location(path.stem, path) if path.is_file() else None
    if spec is None or spec.loader is None:
        raise FileNotFoundError(expected("the path of a recipe file", str(path)))
    module: types.ModuleType = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    recipe = getattr(module, "RECIPE", None)
    if not isinstance(recipe, Recipe):
        fix = "Define RECIPE = keras_distill.recipes.Recipe(...) at the end of the file."
        raise TypeError(expected(f"{path} to define RECIPE, a Recipe", type(recipe).__name__, fix))
    return recipe
