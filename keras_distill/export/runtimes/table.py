"""The table of runtimes: programs other than Keras that run the files.

They run in a process of their own, see `remote.RemoteRuntime`, and import neither Keras nor, except for the SavedModel's,
TensorFlow. A new runtime is one file and one entry here.
"""

import importlib

from keras_distill._core.messages import unknown_name
from keras_distill.export.runtimes.runtime import Runtime

RUNTIMES = {
    "saved_model": "saved_model.SavedModelRuntime",
    "litert": "litert.LiteRTRuntime",
    "litert_batch": "litert.BatchRuntime",
    "any_litert": "litert.AnyLiteRTRuntime",
    "litert_reference": "litert.ReferenceRuntime",
    "microcontroller": "micro.MicroRuntime",
    "c_array": "c_source.CArrayRuntime",
    "onnx": "onnx.OnnxRuntime",
}
"""Name of a runtime to its module and class."""


def runtime_class(name: str) -> type[Runtime]:
    """Return the class of a runtime; raise a `ValueError` if the name is not in `RUNTIMES`."""
    # Not `check_choice`, which imports Keras: this file runs in a process without it.
    if name not in RUNTIMES:
        raise ValueError(unknown_name("runtime", name, RUNTIMES))
    module, attribute = RUNTIMES[name].split(".")
    return getattr(importlib.import_module(f"{__package__}.{module}"), attribute)
