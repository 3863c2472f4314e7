"""Writing out the loops of recurrent layers, step by step."""

import keras
import numpy as np


def unrolled(student, signature):
    """Return a copy of a student, with the same weights, whose recurrent layers are unrolled.

    Quantizers do not look into loops, and a loop over batches of a free size cannot be converted at all.

    Args:
        student: built float32 `keras.Model`.
        signature: `signature.Signature` of it; its example gives the length of sequences of any length.

    Returns:
        `keras.Model`; the student itself if it has no loop, or does not say in its config what it is made of.
    """
    if not any(getattr(layer, "unroll", True) is False for layer in student._flatten_layers()):
        return student
    shapes = {tensor.keras_name: signature.example_shapes[tensor.name][1:] for tensor in signature.inputs}
    classes = {type(layer).__name__: type(layer) for layer in student._flatten_layers()}
    try:
        config = _without_loops(keras.saving.serialize_keras_object(student), shapes)
        copy = keras.saving.deserialize_keras_object(config, custom_objects=classes, safe_mode=True)
        copy.set_weights([np.asarray(keras.ops.convert_to_numpy(weight)) for weight in student.weights])
    except Exception:  # Whatever a config of another's writing may raise: the format's row says what is missing.
        return student
    return copy


def _without_loops(config, shapes):
    """Switch `unroll` on in a nested config, and give inputs of a free length the example's."""
    if isinstance(config, (list, tuple)):
        return type(config)(_without_loops(item, shapes) for item in config)
    if not isinstance(config, dict):
        return config
    copy = {key: True if key == "unroll" else _without_loops(value, shapes) for key, value in config.items()}
    if "batch_shape" in copy and copy.get("name") in shapes:
        copy["batch_shape"] = [None, *shapes[copy["name"]]]
    return copy
