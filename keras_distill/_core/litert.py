"""LiteRT's interpreter, an optional package, and the integers that its files compute in."""

import numpy as np

from keras_distill._core.messages import expected


def interpreter_class():
    """Return the class of interpreters; raise an `ImportError` that names the fix where there is none."""
    try:
        from ai_edge_litert.interpreter import Interpreter
    except ImportError as error:
        fix = 'pip install "keras_distill[edge]"'
        raise ImportError(expected("ai-edge-litert to be installed", str(error), fix)) from error
    return Interpreter


def quantized(array, detail):
    """Return an array as a tensor of a file takes it, by the interpreter's detail of that tensor.

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


def dequantized(array, detail):
    """Return what a tensor of a file stands for, by the interpreter's detail of that tensor.

    Example:

    >>> dequantized(np.array([-1, 1], "int8"), {"quantization": (0.5, -1)}).tolist()
    [0.0, 1.0]
    """
    scale, zero_point = detail["quantization"]
    if array.dtype.kind == "f" or not scale:
        return array
    return (array.astype(np.float32) - zero_point) * np.float32(scale)
