"""Recipes are found by name or by file, and checked."""

import dataclasses

import keras
import pytest

from keras_distill import recipes

MINE = """
import dataclasses
from keras_distill import recipes

RECIPE = dataclasses.replace(recipes.load("digits"), name="mine", summary="My own.")
"""


@pytest.mark.parametrize("name", recipes.NAMES)
def test_teacher_and_student_of_every_recipe_fit_together(name):
    recipe = recipes.load(name)
    teacher, student = recipe.teacher(), recipe.student()
    assert recipe.name == name
    assert teacher.input_shape == student.input_shape
    assert teacher.output_shape == student.output_shape == (None, 10)
    assert student.count_params() * 1.5 < teacher.count_params()
    # Distillation and export need logits, so a linear head.
    assert student.layers[-1].activation is keras.activations.linear
    assert recipe.temperature(recipe.student_epochs)(0) >= 1.0


@pytest.mark.parametrize("name", recipes.NAMES)
def test_the_quick_form_does_less(name):
    recipe = recipes.load(name)
    quick = recipe.quickened()
    assert quick.student_epochs < recipe.student_epochs
    assert quick.samples is not None
    assert quick.student().count_params() == recipe.student().count_params()


@pytest.mark.parametrize("name", recipes.NAMES)
def test_the_docstring_has_command_cost_and_figures(name):
    import importlib

    text = importlib.import_module(f"keras_distill.recipes.{name}").__doc__
    assert f"keras-distill run {name}" in text
    assert "Cost " in text and "Expected " in text and "TBD" not in text


def test_every_file_that_defines_a_recipe_is_listed():
    assert recipes.NAMES == ("cifar10", "digits", "function_matching", "hinton2015", "mnist")


def test_an_unknown_name_gets_the_nearest():
    with pytest.raises(ValueError, match="Did you mean 'mnist'"):
        recipes.load("mnits")


def test_a_file_of_the_user(tmp_path):
    path = tmp_path / "my_recipe.py"
    path.write_text(MINE)
    assert recipes.load(path).name == "mine"
    assert recipes.load(str(path)).summary == "My own."


def test_a_file_without_a_recipe(tmp_path):
    path = tmp_path / "empty.py"
    path.write_text("RECIPE = 3\n")
    with pytest.raises(TypeError, match="to define RECIPE, a Recipe. Received: int"):
        recipes.load(path)
    with pytest.raises(FileNotFoundError, match="the path of a recipe file"):
        recipes.load(tmp_path / "none.py")


@pytest.mark.parametrize(
    "change",
    [
        {"student_epochs": 0},
        {"teacher_epochs": 1.5},
        {"batch_size": True},
        {"teacher": 3},
        {"student_loss_weight": 1.1},
    ],
)
def test_a_recipe_checks_its_attributes(change):
    with pytest.raises((TypeError, ValueError), match=f"^Expected {next(iter(change))} to be a"):
        dataclasses.replace(recipes.load("digits"), **change)
