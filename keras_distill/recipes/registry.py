"""Finding a recipe: one of ours by its name, one of yours by the path of its file."""

import importlib
import importlib.util
import pathlib

from keras_distill._core.messages import expected, unknown_name
from keras_distill.recipes.recipe import Recipe

# A new recipe is a new file of this folder and its name here.
NAMES = ("cifar10", "digits", "function_matching", "hinton2015", "mnist")


def load(name_or_path):
    """Load a recipe by its name, or from a Python file that defines `RECIPE`.

    Loading a file runs its code, as `python FILE` would: load only what you would run.

    Args:
        name_or_path: A name in `NAMES`, or the path of a `.py` file.

    Returns:
        The `Recipe`.

    Raises:
        TypeError: If the file defines no `Recipe` named `RECIPE`.
        ValueError: If the name is unknown.
        FileNotFoundError: If there is no such file.

    Example:

    >>> load("digits").student().count_params() < load("digits").teacher().count_params()
    True
    >>> load("digit")
    Traceback (most recent call last):
    ValueError: Expected recipe to be one of cifar10, digits, ... Received: 'digit'. Did you mean 'digits'?
    """
    name_or_path = str(name_or_path)
    if name_or_path.endswith(".py"):
        return _of_file(pathlib.Path(name_or_path))
    if name_or_path not in NAMES:
        raise ValueError(unknown_name("recipe", name_or_path, NAMES))
    return importlib.import_module(f"keras_distill.recipes.{name_or_path}").RECIPE


def _of_file(path):
    if not path.is_file():
        raise FileNotFoundError(expected("the path of a recipe file", str(path)))
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    recipe = getattr(module, "RECIPE", None)
    if not isinstance(recipe, Recipe):
        fix = "Define RECIPE = keras_distill.recipes.Recipe(...) at the end of the file."
        raise TypeError(expected(f"{path} to define RECIPE, a Recipe", type(recipe).__name__, fix))
    return recipe
