"""What to do about a layer or operation that is not in the tables."""

from typing import Any

import keras

from keras_distill._core.messages import expected
from keras_distill._core.tensors import get_tensor_attr

_CALIBRATE = "export the float student with calibration_data"
_RECURRENT = (keras.layers.RNN, keras.layers.Bidirectional, keras.layers.ConvLSTM1D, keras.layers.ConvLSTM2D)


def describe_unknown(operation: Any) -> str:
    """Compose the message for a layer or operation without a rule."""
    name, kind = operation.name, type(operation)
    if not isinstance(operation, keras.layers.Layer):
        received = f"the operation {kind.__name__} of keras.ops, {name!r}"
        what = "operations that a file can compute in integers, such as + - * of tensors, slices and keras.ops.reshape"
        return expected(
            what,
            received,
            f"Replace it by one of kd.quantization.OPERATIONS or kd.quantization.LAYERS, or {_CALIBRATE}.",
        )
    received = f"layer {name!r} of type {kind.__name__}"
    what = "layers of the kinds in kd.quantization.LAYERS"
    if isinstance(operation, _RECURRENT):
        fix = "The steps of a recurrent layer have ranges of their own, which training cannot find"
        return expected(what, received, f"{fix}: {_CALIBRATE}, for example to 'tflite_int8'.")
    if kind.__module__.startswith("keras."):
        return expected(what, received, f"No rule is known for it: replace it, or {_CALIBRATE}.")
    rule = f"custom_layers={{{kind.__name__}: kd.quantization.own_range}}"
    fix = f"If one operation of TFLite computes it in int8, pass {rule}; for others, see `custom_layers`."
    return expected(what, received, f"{fix} Or {_CALIBRATE}.")


def check_unmasked(operation: Any, tensors: list[Any]) -> None:
    """Raise a `ValueError` if a layer would use a mask that no operation of integers can."""
    masked = isinstance(operation, (keras.layers.GlobalAveragePooling1D, keras.layers.Softmax))
    if masked and any(get_tensor_attr(tensor, "_keras_mask") is not None for tensor in tensors):
        fix = "Remove the mask, for example by mask_zero=False."
        raise ValueError(expected(f"no mask in layer {operation.name!r}", "the mask of its inputs", fix))
