"""Biases that do not fit into the 32 bits in which quantizers compute them."""

from typing import Any

import numpy as np

from keras_distill._core.messages import expected
from keras_distill.export.tflite import flatbuffer

# Kernels add products to a bias, so it takes half of the 32 bits' range at most.
_LARGEST_BIAS = 2.0**30
_ENDS_OF_32_BITS = (-(2**31), 2**31 - 1)
_LARGEST_WEIGHTS = {"INT8": 127, "INT4": 7}
# Places of the inputs of an operator: what is multiplied by weights, the weights, and the bias.
_PLACES = dict.fromkeys(("CONV_2D", "CONV_3D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED"), (0, 1, 2))
_PLACES["TRANSPOSE_CONV"] = (2, 1, 3)


def are_cut_off(model: Any) -> bool:
    """Return whether a bias of a quantized model, a `ModelT` of LiteRT's schema, is at an end of 32 bits."""
    biases = (_read_biases(model, bias) for _, _, bias in _list_sums(model) if bias.quantization is not None)
    return any(np.isin(bias, _ENDS_OF_32_BITS).any() for bias in biases)


def fit_biases(quantized: Any, original: Any) -> None:
    """Raise the steps of weights until the biases beside them fit into 32 bits.

    The step of a bias is that of the input times that of the weights. Beside small weights it is so small that a bias
    of usual size has more than 2³¹ steps. litert-quantizer 0.11 then stores the most negative number, whatever the
    sign, and TensorFlow's converter the end of the range. With larger steps the weights lose precision, by less than a
    step of the output.

    Args:
        quantized: Quantized model, a `ModelT` of LiteRT's schema, which is changed in place.
        original: The float model that it was quantized from.

    Raises:
        ValueError: If the models do not hold the same biases.
    """
    sums, exact = _list_sums(quantized), [_read_biases(original, bias) for _, _, bias in _list_sums(original)]
    if [bias.shape.tolist() for _, _, bias in sums] != [list(each.shape) for each in exact]:
        raise ValueError(expected(f"{len(exact)} biases in the quantized file, as in the float file", len(sums)))
    steps: dict[int, np.ndarray] = {}
    pairs = [pair for pair in zip(sums, exact, strict=True) if _is_quantized(quantized, pair[0])]
    for (source, weights, _), numbers in pairs:
        least = np.abs(numbers) / (_LARGEST_BIAS * source.quantization.scale[0])
        old = steps.get(weights.buffer, weights.quantization.scale)
        steps[weights.buffer] = np.maximum(old, least if len(old) > 1 else least.max()).astype(np.float32)
    for (source, weights, bias), numbers in pairs:
        new = steps[weights.buffer]
        if not np.array_equal(new, weights.quantization.scale):
            bias.quantization.scale = source.quantization.scale[0] * new
            rounded = np.round(numbers / bias.quantization.scale.astype(np.float64))
            quantized.buffers[bias.buffer].data = _to_bytes(rounded.astype(_find_integer(bias)))
    for graph in quantized.subgraphs:
        for tensor in graph.tensors:
            if tensor.buffer in steps and flatbuffer.name_type(tensor.type) in _LARGEST_WEIGHTS:
                _change_steps(quantized, tensor, steps.pop(tensor.buffer))


def _list_sums(model: Any) -> list[tuple[Any, Any, Any]]:
    """Return the input, weights and constant bias of each operator that has them.

    Quantizing adds and removes conversions only, so the operators of both models are in the same order.
    """
    found = []
    for graph in model.subgraphs:
        for operator in graph.operators:
            places = _PLACES.get(flatbuffer.name_operator(model.operatorCodes[operator.opcodeIndex]))
            if places is not None and len(operator.inputs) > places[2] and operator.inputs[places[2]] >= 0:
                source, weights, bias = (graph.tensors[operator.inputs[place]] for place in places)
                if flatbuffer.is_constant(model, bias):
                    found.append((source, weights, bias))
    return found


def _is_quantized(model: Any, tensors: tuple[Any, Any, Any]) -> bool:
    source, weights, bias = tensors
    integers = flatbuffer.name_type(weights.type) in _LARGEST_WEIGHTS and "INT" in flatbuffer.name_type(bias.type)
    return integers and source.quantization is not None and flatbuffer.is_constant(model, weights)


def _change_steps(model: Any, weights: Any, new: np.ndarray) -> None:
    """Store weights in other steps; all tensors that share the bytes have the same steps."""
    kind, quantization = flatbuffer.name_type(weights.type), weights.quantization
    data = np.asarray(model.buffers[weights.buffer].data, np.uint8).view(np.int8)
    if kind == "INT4":
        # The first of two numbers is in the lower half of a byte.
        data = np.stack([np.left_shift(data, 4) >> 4, data >> 4], -1).ravel()[: int(np.prod(weights.shape))]
    shape = [1] * len(weights.shape)
    shape[quantization.quantizedDimension if len(new) > 1 else 0] = len(new)
    ratio = np.reshape(quantization.scale.astype(np.float64) / new, shape)
    kept = np.round(data.reshape(weights.shape) * ratio).astype(np.int8).ravel()
    if kind == "INT4":
        pairs = np.append(kept, np.zeros(len(kept) % 2, np.int8)).reshape(-1, 2)
        kept = (pairs[:, 0] & 15) | np.left_shift(pairs[:, 1], 4)
    for graph in model.subgraphs:
        for tensor in graph.tensors:
            if tensor.buffer == weights.buffer:
                tensor.quantization.scale = new
    model.buffers[weights.buffer].data = _to_bytes(kept)


def _read_biases(model: Any, bias: Any) -> np.ndarray:
    dtype = _find_integer(bias) if "INT" in flatbuffer.name_type(bias.type) else np.float32
    return np.asarray(model.buffers[bias.buffer].data, np.uint8).view(dtype).astype(np.float64)


def _find_integer(bias: Any) -> Any:
    return np.int64 if flatbuffer.name_type(bias.type) == "INT64" else np.int32


def _to_bytes(numbers: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(numbers).view(np.uint8).ravel()
