"""What a run found, for readers: tables for a terminal, figures, and a page with all of it.

The room is a function too: `keras_distill.report("runs/mnist")` is `keras_distill.report.report("runs/mnist")`.

>>> import keras_distill as kd
>>> kd.report("runs/none")
Traceback (most recent call last):
FileNotFoundError: Expected the folder of a finished run, with its results.json. Received: ...runs/none, where ...
"""

import importlib
import sys
import types

from keras_distill.report import methods, pictures, plots, tables

__all__ = ["Report", "methods", "pictures", "plots", "report", "tables"]


class _Room(types.ModuleType):
    def __call__(self, *args, **options):
        return self.report(*args, **options)


def __getattr__(name):
    # At use: it reads what recipes write, and callbacks, which recipes need, draw with this room.
    if name in ("Report", "report"):
        return getattr(importlib.import_module("keras_distill.report.writing"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


sys.modules[__name__].__class__ = _Room
