"""Knowledge distillation for Keras: a small student learns from a large teacher and ships to the edge."""

import importlib

from keras_distill._core import deprecation, registration
from keras_distill._version import __version__

__all__ = [
    "Distiller",
    "__version__",
    "answers",
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
    "tuning",
]

_renamed = deprecation.renamed(__name__, {"tune": "keras_distill.tuning.tune"})


def __getattr__(name):
    if name == "Distiller":
        return importlib.import_module("keras_distill.distiller").Distiller
    if name in __all__:
        return importlib.import_module(f"keras_distill.{name}")
    return _renamed(name)


def __dir__():
    return __all__


registration.register_with_keras()
