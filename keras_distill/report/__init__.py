"""What a run found, as one page to look at, as Markdown and as JSON.

>>> import keras_distill as kd
>>> kd.report.write("runs/none")
Traceback (most recent call last):
FileNotFoundError: Expected the folder of a finished run, with its results.json. Received: ...runs/none, where ...
"""

import sys
import types

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


class _Callable(types.ModuleType):
    """Let `keras_distill.report(run)`, the name that `write` had, still work."""

    def __call__(self, *args, **options):
        deprecation.warn("keras_distill.report(...)", "keras_distill.report.write(...)")
        return write(*args, **options)


sys.modules[__name__].__class__ = _Callable
