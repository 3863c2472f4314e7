"""The report on a run: one page to look at, Markdown, and JSON.

>>> import keras_distill as kd
>>> kd.report.write("runs/none")
Traceback (most recent call last):
FileNotFoundError: Expected the folder of a finished run, with its results.json. Received: ...runs/none, where ...
"""

import sys
import types
from typing import Any

from keras_distill._core import deprecation
from keras_distill.report.writing import Report, write

__all__ = ["Report", "write"]

__getattr__ = deprecation.renamed(
    __name__,
    {
        "report": "keras_distill.report.write",
        "methods": "keras_distill.losses.listing",
        "pictures": "keras_distill.drawing.pictures",
        "plots": "keras_distill.recipes.plots",
        "tables": "keras_distill.recipes.tables",
    },
)


def __dir__() -> list[str]:
    return __all__


class _CallableModule(types.ModuleType):
    """A module that can be called as `keras_distill.report(run)`, the former name of `write`."""

    def __call__(self, *args: Any, **options: Any) -> Report:
        deprecation.warn("keras_distill.report(...)", "keras_distill.report.write(...)")
        return write(*args, **options)


sys.modules[__name__].__class__ = _CallableModule
