"""Knowledge distillation for Keras: a small student learns from a large teacher, and is shipped to the edge."""

import importlib
import pathlib
import sys

from keras_distill._version import __version__ as __version__

__all__ = [
    "Distiller",
    "callbacks",
    "data",
    "distribution",
    "export",
    "features",
    "losses",
    "metrics",
    "profiling",
    "quantization",
    "recipes",
    "report",
    "schedules",
    "stages",
    "targets",
    "teachers",
    "tune",
    "tuning",
]
_AT_USE = ("distribution", "export", "profiling", "recipes", "report", "tune", "tuning")
_FROM = {"Distiller": "keras_distill.distiller", "tune": "keras_distill.tuning"}


def __getattr__(name):
    if name in _FROM:
        return getattr(importlib.import_module(_FROM[name]), name)
    if name in __all__:
        return importlib.import_module(f"keras_distill.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__():
    return sorted({*globals(), *__all__})


def _is_a_command():
    script = pathlib.Path(sys.argv[0] if sys.argv else "").stem
    modules = [name for flag, name in zip(sys.orig_argv, sys.orig_argv[1:]) if flag == "-m"]
    return script == "keras-distill" or any(name.split(".")[0] == __name__ for name in modules)


# Those at once whose classes Keras has to know when it loads a file, the others at their first use; and a command answers
# `--help` without TensorFlow.
if not _is_a_command():
    for _name in __all__:
        if _name not in _AT_USE:
            globals()[_name] = __getattr__(_name)
