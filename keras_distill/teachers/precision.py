"""A teacher that computes in another precision."""

from typing import Any

import keras

from keras_distill._core.checks import check_model
from keras_distill._core.messages import expected, unknown_name

DTYPES = ("bfloat16", "float16", "float32")
_FIX = "Leave `teacher_dtype` out, or load the model under the dtype policy that you want."


def in_precision(teacher: Any, dtype: Any = None) -> Any:
    """Return a copy of a teacher that computes in another precision.

    On accelerators half precision makes a teacher's forward pass up to twice as fast and halves its memory; on most
    CPUs it is slower than float32. The losses are computed in float32 whatever the teacher is in. The teacher given is
    left as it is.

    Args:
        teacher: A built Functional or Sequential `keras.Model`; models inside it are of these kinds as well.
        dtype: `"bfloat16"`, `"float16"` or `"float32"`, for weights and computation. Defaults to `None`, its own: it is
            returned as it is.

    Returns:
        A `keras.Model`, not trainable, whose layers have the names of those of the one given.

    Raises:
        ValueError: If the dtype is another, or the model cannot be cloned, as those that stand for files, functions
            and stores cannot.

    Example:

    >>> teacher = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3)])
    >>> half = in_precision(teacher, "bfloat16")
    >>> half(keras.ops.ones((1, 4))).dtype.name, teacher.compute_dtype
    ('bfloat16', 'float32')
    """
    check_model("teacher", teacher)
    if dtype is None:
        return teacher
    if not isinstance(dtype, str) or dtype not in DTYPES:
        raise ValueError(unknown_name("teacher_dtype", dtype, DTYPES))
    try:
        clone = keras.models.clone_model(teacher, clone_function=_cloning(dtype), recursive=True)
    except Exception as error:
        raise _refusal(teacher, f", which raised {type(error).__name__}: {error}") from error
    given, made = ([tuple(weight.shape) for weight in model.weights] for model in (teacher, clone))
    if given != made:
        raise _refusal(teacher, ", whose clone has other weights")
    for old, new in zip(teacher.weights, clone.weights, strict=True):
        new.assign(keras.ops.cast(old, new.dtype))
    clone.trainable = False
    return clone


def _cloning(dtype):
    def clone(layer: Any) -> Any:
        if isinstance(layer, keras.layers.InputLayer):
            return type(layer).from_config(layer.get_config())
        return type(layer).from_config(_in_dtype(layer.get_config(), dtype))

    return clone


def _in_dtype(config, dtype):
    """Return the configuration of a layer, and of the layers inside it, with every floating-point policy replaced."""
    if isinstance(config, (list, tuple)):
        return type(config)(_in_dtype(each, dtype) for each in config)
    if not isinstance(config, dict):
        return config
    replaced = {key: _in_dtype(value, dtype) for key, value in config.items()}
    if "dtype" in config and _is_floating(config["dtype"]):
        replaced["dtype"] = dtype
    return replaced


def _is_floating(policy):
    return policy is None or keras.backend.is_float_dtype(keras.dtype_policies.get(policy).compute_dtype)


def _refusal(teacher, reason=""):
    what = "a Functional or Sequential teacher whose layers can be cloned, where `teacher_dtype` is given"
    return ValueError(expected(what, f"{type(teacher).__name__} named {teacher.name!r}{reason}", _FIX))
