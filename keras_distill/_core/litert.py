"""LiteRT's interpreter, an optional package, and the integers that its files compute in."""

from typing import Any

import numpy as np

from keras_distill._core.extras import missing


def interpreter_class() -> Any:
    """Return the class of interpreters; raise an `ImportError` that says what to install if LiteRT is missing."""
    try:
        from ai_edge_litert.interpreter import Interpreter
    except ImportError as error:
        raise missing("ai-edge-litert, which runs TFLite files", error, "edge") from error
    return Interpreter


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
