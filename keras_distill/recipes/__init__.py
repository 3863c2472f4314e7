"""Recipes: short Python files that say how a teacher teaches a student, and what runs them.

>>> load("digits").name
'digits'
"""

from keras_distill.recipes.recipe import Recipe
from keras_distill.recipes.registry import NAMES, load
from keras_distill.recipes.runner import RunResult, run

__all__ = ["NAMES", "Recipe", "RunResult", "load", "run"]
