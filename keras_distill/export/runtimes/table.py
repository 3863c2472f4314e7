"""Other programs than Keras that run the files.

They run in a process of their own, see `remote.RemoteRuntime`, and import neither Keras nor, unless they are
TensorFlow, TensorFlow. A new runtime is one file and one entry here.
"""

import importlib

from keras_distill._core.messages import unknown_name

RUNTIMES = {
    "saved_model": "saved_model.SavedModelRuntime",
    "litert": "litert.LiteRTRuntime",
    "litert_batch": "litert_batch.BatchRuntime",
    "any_litert": "any_litert.AnyLiteRTRuntime",
    "litert_reference": "litert.ReferenceRuntime",
    "microcontroller": "micro.MicroRuntime",
    "c_array": "c_source.CArrayRuntime",
    "onnx": "onnx.OnnxRuntime",
}


def runtime_class(name):
    """Return the class of a runtime by its name in `RUNTIMES`.

    Raises:
        ValueError: if there is none of that name.
    """
    if name not in RUNTIMES:
        raise ValueError(unknown_name("runtime", name, RUNTIMES))
    module, attribute = RUNTIMES[name].split(".")
    return getattr(importlib.import_module(f"{__package__}.{module}"), attribute)
