"""What tells one teacher from another, and one data set from another."""

import hashlib
import json
import os

import keras
import numpy as np

_UNTOLD = ("name", "trainable", "compile_config", "build_config", "path")
"""What may differ between two copies of one model that answer alike."""


def of_teacher(teacher):
    """Return what a teacher is known by: hashes of its weights, of its configuration and of its files.

    Names that Keras makes up, and whether it may be trained, do not count. Of a function no more than its name is
    known.

    Args:
        teacher: A `keras.Model`.

    Returns:
        A dict of `class`, `weights` and `configuration`, and `files` where it runs any.

    Example:

    >>> def model(name):
    ...     layers = [keras.Input((2,)), keras.layers.Dense(2, kernel_initializer="ones", name=name)]
    ...     return keras.Sequential(layers)
    >>> of_teacher(model("one")) == of_teacher(model("other"))
    True
    """
    record = {"class": type(teacher).__name__, "weights": _of_weights(teacher), "configuration": _of_config(teacher)}
    paths = sorted({layer.file for layer in teacher._flatten_layers() if isinstance(getattr(layer, "file", None), str)})
    return {**record, "files": _of_files(paths)} if paths else record


def of_json(record):
    """Return the hash of a record of plain values."""
    return hashlib.sha256(json.dumps(record, sort_keys=True).encode()).hexdigest()


def _of_weights(model):
    digest = hashlib.sha256()
    for variable in model.weights:
        array = np.ascontiguousarray(keras.ops.convert_to_numpy(variable))
        digest.update(f"{array.dtype} {array.shape} ".encode())
        digest.update(array.tobytes())
    return digest.hexdigest()


def _of_config(model):
    try:
        config = keras.saving.serialize_keras_object(model)
    except Exception:  # Whatever a model without a configuration, or a function that is not registered, raises.
        function = getattr(model, "function", type(model))
        function = function if hasattr(function, "__qualname__") else type(function)
        return of_json(f"{function.__module__}.{function.__qualname__}")
    names = {name: f"layer {index}" for index, name in enumerate(_names(config))}
    return of_json(_plain(config, names))


def _names(config):
    """Return the names of all layers, in the order in which they stand."""
    if isinstance(config, dict):
        inner = config.get("config")
        own = [inner["name"]] if isinstance(inner, dict) and isinstance(inner.get("name"), str) else []
        found = own + [name for each in config.values() for name in _names(each)]
    else:
        found = [name for each in config for name in _names(each)] if isinstance(config, (list, tuple)) else []
    return list(dict.fromkeys(found))


def _plain(config, names):
    if isinstance(config, dict):
        return {str(key): _plain(each, names) for key, each in config.items() if key not in _UNTOLD}
    if isinstance(config, (list, tuple)):
        return [_plain(each, names) for each in config]
    return names.get(config, config) if isinstance(config, str) else repr(config)


def _of_files(paths):
    digest = hashlib.sha256()
    for path in paths:
        inside = [os.path.join(root, name) for root, _, names in os.walk(path) for name in names]
        for file in sorted(inside) or [path]:
            digest.update(os.path.relpath(file, path).encode())
            with open(file, "rb") as content:
                while portion := content.read(1 << 22):
                    digest.update(portion)
    return digest.hexdigest()
