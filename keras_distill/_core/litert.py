"""LiteRT's interpreter, an optional package, and the integers that its files compute in."""

from typing import Any

import numpy as np

from keras_distill._core.extras import missing
from keras_distill._core.messages import expected


def interpreter_class() -> Any:
    """Return the class of interpreters; raise an `ImportError` that says what to install if LiteRT is missing."""
    try:
        from ai_edge_litert.interpreter import Interpreter
    except ImportError as error:
        raise missing("ai-edge-litert, which runs TFLite files", error, "edge") from error
    return Interpreter


def check_initialised(interpreter: Any, path: Any) -> None:
    """Raise a `ValueError` if a file reads variables that nothing in it gives a value.

    TensorFlow's converter leaves the initial values out if it is not given the model's own `serving_default` with fixed
    sizes; the interpreter then reads zeros, and every output is wrong.

    Args:
        interpreter: LiteRT's interpreter of the file.
        path: The file, for the message.
    """
    names = {operator["op_name"] for operator in interpreter._get_ops_details()}
    if "VAR_HANDLE" in names and "CALL_ONCE" not in names:
        fix = "Convert the model again, with its variables frozen to constants."
        raise ValueError(expected(f"{path} to give its variables a value", "VAR_HANDLE without CALL_ONCE", fix))


def quantized(array: np.ndarray, detail: dict[str, Any]) -> np.ndarray:
    """Return an array in the dtype of a file's tensor, quantized if the tensor is.

    Args:
        array: Array of any shape.
        detail: The interpreter's detail of the tensor: its `dtype` and `quantization`, a pair of scale and zero point.

    Example:

    >>> detail = {"dtype": np.int8, "quantization": (0.5, -1)}
    >>> quantized(np.array([0.0, 1.0, 1000.0]), detail).tolist()
    [-1, 1, 127]
    """
    dtype, (scale, zero_point) = np.dtype(detail["dtype"]), detail["quantization"]
    if array.dtype == dtype or not scale:
        return array.astype(dtype)
    limits = np.iinfo(dtype)
    return np.clip(np.round(array / scale) + zero_point, limits.min, limits.max).astype(dtype)


def dequantized(array: np.ndarray, detail: dict[str, Any]) -> np.ndarray:
    """Return the numbers that a file's tensor stands for; an array that is not quantized stays as it is.

    Args:
        array: Array of any shape, of the tensor's dtype.
        detail: The interpreter's detail of the tensor: its `quantization`, a pair of scale and zero point.

    Example:

    >>> dequantized(np.array([-1, 1], "int8"), {"quantization": (0.5, -1)}).tolist()
    [0.0, 1.0]
    """
    scale, zero_point = detail["quantization"]
    if array.dtype.kind == "f" or not scale:
        return array
    return (array.astype(np.float32) - zero_point) * np.float32(scale)
