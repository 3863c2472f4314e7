"""Recipes: short Python files that define a distillation from data to results, and the function that runs them.

>>> load("digits").name
'digits'
"""

from keras_distill.recipes.progress import Progress
from keras_distill.recipes.recipe import Recipe
from keras_distill.recipes.registry import NAMES, load
from keras_distill.recipes.results import Results
from keras_distill.recipes.runner import RunResult, run

__all__ = ["NAMES", "Progress", "Recipe", "Results", "RunResult", "load", "run"]
