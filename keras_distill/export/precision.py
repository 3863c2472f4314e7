"""Rebuilding a student of half or mixed precision in float32, with the same weights."""

import textwrap

import keras
import numpy as np

from keras_distill._core.messages import expected

_HALF = frozenset({"float16", "bfloat16", "mixed_float16", "mixed_bfloat16"})
_ROUNDING = 0.1


def in_float32(student):
    """Return the student itself if all of it is float32, else a float32 copy with the same weights.

    Converters turn half precision into casts that few kernels support, or refuse it.

    Args:
        student: built `keras.Model`.

    Returns:
        `keras.Model`.

    Raises:
        ValueError: if the student's config does not rebuild a model with the same weights.
    """
    layers = student._flatten_layers()
    if not any(layer.dtype_policy.name in _HALF for layer in layers):
        return student
    rebuilt = _rebuild(student)
    _copy_weights(student, rebuilt)
    return rebuilt


def check_rebuilt(student, rebuilt, signature, inputs):
    """Raise ValueError if the rebuilt model answers otherwise than half precision explains.

    Args:
        student: `keras.Model` of half precision.
        rebuilt: what `in_float32` made of it.
        signature: `signature.Signature`.
        inputs: dict of input name to array, one batch.
    """
    before, after = signature.call(student, inputs), signature.call(rebuilt, inputs)
    for name in before:
        old, new = (np.asarray(keras.ops.convert_to_numpy(side[name])).astype(np.float64) for side in (before, after))
        # Rounding of half precision moves single outputs far; their mean moves by a few hundredths at most.
        if np.abs(old - new).mean() > _ROUNDING * np.abs(new).mean():
            raise ValueError(_cannot_rebuild(student, f"other values of output {name!r} after rebuilding"))


def _rebuild(student):
    # The student's own classes are known to be safe, registered or not.
    classes = {type(layer).__name__: type(layer) for layer in student._flatten_layers()}
    try:
        config = _without_half(keras.saving.serialize_keras_object(student))
        return keras.saving.deserialize_keras_object(config, custom_objects=classes, safe_mode=True)
    except Exception as error:
        raise ValueError(_cannot_rebuild(student, error)) from error


def _without_half(config):
    """Replace every half-precision dtype and dtype policy in a nested config by float32."""
    if isinstance(config, dict):
        if str(config.get("class_name", "")).endswith("DTypePolicy"):
            return _policy_without_half(config)
        # Losses and metrics are of no use to an export, and may not deserialise.
        return {key: _dtype_without_half(key, value) for key, value in config.items() if key != "compile_config"}
    if isinstance(config, (list, tuple)):
        return type(config)(_without_half(item) for item in config)
    return config


def _policy_without_half(config):
    name = config.get("config", {}).get("name")
    return "float32" if name in _HALF else config


def _dtype_without_half(key, value):
    if key == "dtype" and isinstance(value, str):
        return "float32" if value in _HALF else value
    return _without_half(value)


def _copy_weights(student, rebuilt):
    old, new = student.weights, rebuilt.weights
    if [weight.shape for weight in old] != [weight.shape for weight in new]:
        raise ValueError(_cannot_rebuild(student, f"{len(new)} weights of other shapes instead of {len(old)}"))
    for source, target in zip(old, new, strict=True):
        target.assign(np.asarray(keras.ops.convert_to_numpy(source)).astype(target.dtype))


def _cannot_rebuild(student, why):
    return expected(
        f"a half-precision student that can be rebuilt in float32 from its config ({type(student).__name__}.get_config)",
        textwrap.shorten(str(why), 200, placeholder=" …") or type(why).__name__,
        "Build the same architecture under the float32 policy, copy the weights with set_weights, and export that.",
    )
