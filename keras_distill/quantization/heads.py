"""The ends of a model: ranges of inputs and of outputs, which cover every value that training has seen."""

from typing import Any

from keras_distill.quantization.affine import QuantizedAffine
from keras_distill.quantization.builder import Value
from keras_distill.quantization.kernels import QuantizedKernel
from keras_distill.quantization.parts import Part
from keras_distill.quantization.ranges import FakeQuantization


def cover_ends(model: Any, values: list[Value]) -> None:
    """Let the ranges of a quantization-aware model's inputs and heads cover all that they see in training.

    A moving average of the extremes of batches is narrower than the data, and a learned range starts with few batches.
    A classifier does without what is cut off; a number that is cut off is wrong. A head reaches from an output back to
    the last layer with weights, over scaling, sums and reshaping. Of a model of numbers, all moving averages cover.

    Args:
        model: Functional `keras.Model` with `FakeQuantization` layers, which are changed.
        values: The `Value`s of its outputs.
    """
    inputs = {id(each) for each in model.inputs}
    ranges = [layer for layer in model.layers if isinstance(layer, FakeQuantization)]
    numbers = any(_is_number(value, model.inputs) for value in values)
    for layer in ranges:
        averaged = numbers and layer.ranges == "moving_average"
        if averaged or any(id(node.input_tensors[0]) in inputs for node in layer._inbound_nodes):
            layer.covers = True
    waiting, seen = list(model.outputs), set()
    while waiting:
        tensor = waiting.pop()
        if id(tensor) in seen:
            continue
        seen.add(id(tensor))
        layer, node = _find_origin(tensor)
        if isinstance(layer, FakeQuantization):
            layer.covers = True
        if not _ends_head(layer):
            waiting += node.input_tensors


def _is_number(value: Value, inputs: list[Any]) -> bool:
    """Return whether an output looks like numbers, such as of a regression or an autoencoder, instead of scores."""
    shape = value.tensor.shape
    free = value.range is not None and value.range.limits is None
    return free and (shape[1:] == (1,) or len(shape) > 2 or any(each.shape == shape for each in inputs))


def _ends_head(layer: Any) -> bool:
    """Return whether a layer has weights that learn, so that what comes before it is not part of the head."""
    return isinstance(layer, Part) or (isinstance(layer, QuantizedKernel) and not isinstance(layer, QuantizedAffine))


def _find_origin(tensor: Any) -> tuple[Any, Any]:
    """Return the layer that computes a symbolic tensor, and the node of that call."""
    history = tensor._keras_history
    return history.operation, history.operation._inbound_nodes[history.node_index]
