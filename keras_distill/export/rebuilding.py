"""Rebuilding a student from its config, with the same weights: in float32, or with its recurrent loops unrolled."""

import textwrap
from collections.abc import Callable
from typing import Any

import keras
import numpy as np

from keras_distill._core.messages import expected
from keras_distill.export.arrays import Arrays
from keras_distill.export.signature import Signature

_HALF = frozenset({"float16", "bfloat16", "mixed_float16", "mixed_bfloat16"})
_ROUNDING = 0.1


def convert_to_float32(student: keras.Model) -> keras.Model:
    """Return the student itself if all of it is float32, else a float32 copy with the same weights.

    Converters turn half precision into casts that few kernels support, or refuse it.

    Args:
        student: Built `keras.Model`.

    Returns:
        `keras.Model`.

    Raises:
        ValueError: If the student's config does not rebuild a model with the same weights.
    """
    if not any(layer.dtype_policy.name in _HALF for layer in student._flatten_layers()):
        return student
    try:
        return _rebuild(student, _replace_half)
    except Exception as error:
        raise ValueError(_cannot_rebuild(student, error)) from error


def check_rebuilt(student: keras.Model, rebuilt: keras.Model, signature: Signature, inputs: Arrays) -> None:
    """Raise a `ValueError` if the rebuilt model's outputs differ by more than half precision explains.

    Args:
        student: `keras.Model` of half precision.
        rebuilt: What `convert_to_float32` returned.
        signature: `Signature` of the rebuilt model.
        inputs: Dict of input name to array, one batch.
    """
    before, after = signature.call(student, inputs), signature.call(rebuilt, inputs)
    for name in before:
        old, new = (np.asarray(keras.ops.convert_to_numpy(side[name])).astype(np.float64) for side in (before, after))
        # Rounding to half precision moves single outputs far; their mean moves by a few hundredths at most.
        if np.abs(old - new).mean() > _ROUNDING * np.abs(new).mean():
            raise ValueError(_cannot_rebuild(student, f"other values of output {name!r} after rebuilding"))


def unroll(student: keras.Model, signature: Signature) -> keras.Model:
    """Return a copy of a student, with the same weights, whose recurrent layers are unrolled.

    Quantizers do not look into loops, and a loop over batches of a free size cannot be converted at all.

    Args:
        student: Built float32 `keras.Model`.
        signature: `Signature` of the student; its example gives the length of sequences of any length.

    Returns:
        `keras.Model`; the student itself if it has no loop or cannot be rebuilt from its config.
    """
    if not any(getattr(layer, "unroll", True) is False for layer in student._flatten_layers()):
        return student
    shapes = {tensor.keras_name: signature.example_shapes[tensor.name][1:] for tensor in signature.inputs}
    try:
        return _rebuild(student, lambda config: _replace_loops(config, shapes))
    except Exception:  # A user's config may raise anything. The format's row of the report says what is missing.
        return student


def returns_sequences(student: keras.Model) -> bool:
    """Return whether a student has a recurrent layer with a loop that returns its answer at every step."""
    layers = [layer for layer in student._flatten_layers() if getattr(layer, "unroll", True) is False]
    return any(getattr(layer, "return_sequences", False) for layer in layers)


def _rebuild(student: keras.Model, edit: Callable[[Any], Any]) -> keras.Model:
    """Return a model of an edited config, with copies of the student's weights."""
    # The student's own classes are known to be safe, registered or not.
    classes = {type(layer).__name__: type(layer) for layer in student._flatten_layers()}
    config = edit(keras.saving.serialize_keras_object(student))
    rebuilt = keras.saving.deserialize_keras_object(config, custom_objects=classes, safe_mode=True)
    old, new = student.weights, rebuilt.weights
    if [weight.shape for weight in old] != [weight.shape for weight in new]:
        raise ValueError(f"{len(new)} weights of other shapes instead of {len(old)}")
    for source, copy in zip(old, new, strict=True):
        copy.assign(np.asarray(keras.ops.convert_to_numpy(source)).astype(copy.dtype))
    return rebuilt


def _replace_half(config: Any) -> Any:
    """Replace every half-precision dtype and dtype policy in a nested config by float32."""
    if isinstance(config, (list, tuple)):
        return type(config)(_replace_half(item) for item in config)
    if not isinstance(config, dict):
        return config
    if str(config.get("class_name", "")).endswith("DTypePolicy"):
        return "float32" if config.get("config", {}).get("name") in _HALF else config
    # An export does not use losses and metrics, and they may fail to deserialize.
    return {
        key: ("float32" if value in _HALF else value)
        if key == "dtype" and isinstance(value, str)
        else _replace_half(value)
        for key, value in config.items()
        if key != "compile_config"
    }


def _replace_loops(config: Any, shapes: dict[str, tuple]) -> Any:
    """Set `unroll` to true in a nested config, and give inputs of a free length that of the example."""
    if isinstance(config, (list, tuple)):
        return type(config)(_replace_loops(item, shapes) for item in config)
    if not isinstance(config, dict):
        return config
    copy: dict[str, Any] = {
        key: True if key == "unroll" else _replace_loops(value, shapes) for key, value in config.items()
    }
    if "batch_shape" in copy and copy.get("name") in shapes:
        copy["batch_shape"] = [None, *shapes[copy["name"]]]
    return copy


def _cannot_rebuild(student: keras.Model, why: object) -> str:
    name = type(student).__name__
    return expected(
        f"a half-precision student that can be rebuilt in float32 from its config ({name}.get_config)",
        textwrap.shorten(str(why), 200, placeholder=" …") or type(why).__name__,
        "Build the same architecture under the float32 policy, copy the weights with set_weights, and export that.",
    )
