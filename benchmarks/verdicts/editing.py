"""Faults for TFLite files: each changes one place of a model, chosen by a random generator.

A fault is a function of a model, a `ModelT` of LiteRT's schema, a generator, and whether the outputs are numbers. It
returns `False` if the model has no such place.
"""

import dataclasses

import numpy as np

from keras_distill.export.tflite import flatbuffer

TYPES = {"FLOAT32": np.float32, "FLOAT16": np.float16, "INT8": np.int8, "INT32": np.int32, "INT64": np.int64}
OUTPUT_AXIS = {"CONV_2D": 0, "FULLY_CONNECTED": 0, "DEPTHWISE_CONV_2D": -1}
FACTORS = (0.1, 0.5, 2.0, 10.0)
STEPS = (3, 10, 30, 100)
NEVER = -50.0
"""Logit of a class that never wins."""


@dataclasses.dataclass
class Constant:
    """A tensor whose values are in the file."""

    model: object
    tensor: object

    @property
    def values(self):
        """A copy of its values."""
        kind = TYPES[flatbuffer.name_type(self.tensor.type)]
        data = bytes(self.model.buffers[self.tensor.buffer].data)
        return np.frombuffer(data, kind).reshape([int(size) for size in self.tensor.shape]).copy()

    @values.setter
    def values(self, array):
        self.model.buffers[self.tensor.buffer].data = np.frombuffer(array.tobytes(), np.uint8)

    @property
    def scales(self):
        """Its scales, one or one for each channel; empty for floats."""
        given = self.tensor.quantization and self.tensor.quantization.scale
        return np.array([] if given is None else given, np.float32)

    @scales.setter
    def scales(self, array):
        self.tensor.quantization.scale = [float(value) for value in array]

    def encode(self, value, place):
        """Return a number as this tensor would hold it at a place of its last axis."""
        if not len(self.scales):
            return value
        scale = self.scales[place if len(self.scales) > 1 else 0]
        return np.clip(np.rint(value / scale), -(2**31) + 1, 2**31 - 1)


def list_layers(model):
    """Return `(operator, kernel, bias, axis of the outputs)` of the layers with weights, in order; the bias may be
    `None`."""
    graph = model.subgraphs[0]
    made_by = {index: operator for operator in graph.operators for index in operator.outputs}

    def constant(index):
        # Kernels in float16 are cast by an operator of their own.
        if index >= 0 and not flatbuffer.is_constant(model, graph.tensors[index]) and index in made_by:
            index = made_by[index].inputs[0]
        found = index >= 0 and flatbuffer.is_constant(model, graph.tensors[index])
        return Constant(model, graph.tensors[index]) if found else None

    layers = []
    for operator in graph.operators:
        name = flatbuffer.name_operator(model.operatorCodes[operator.opcodeIndex])
        if name in OUTPUT_AXIS and (kernel := constant(operator.inputs[1])) is not None:
            bias = constant(operator.inputs[2]) if len(operator.inputs) > 2 else None
            layers.append((operator, kernel, bias, OUTPUT_AXIS[name]))
    return layers


def change_weight(model, rng, numbers):
    """Replace one weight by the largest one, with the opposite sign."""
    _, kernel, _, _ = _pick(list_layers(model), rng)
    values = kernel.values
    place = rng.integers(values.size)
    largest = 127 if values.dtype == np.int8 else np.abs(values).max()
    values.flat[place] = -largest if values.flat[place] >= 0 else largest
    kernel.values = values


def change_weight_scale(model, rng, numbers):
    """Multiply one scale of a kernel."""
    layers = [layer for layer in list_layers(model) if len(layer[1].scales)]
    if not layers:
        return False
    _, kernel, _, _ = _pick(layers, rng)
    scales = kernel.scales
    scales[rng.integers(len(scales))] *= rng.choice(FACTORS)
    kernel.scales = scales


def change_activation_scale(model, rng, numbers):
    """Multiply the scale of what an operator answers."""
    tensors = _list_activations(model)
    if not tensors:
        return False
    tensor = _pick(tensors, rng)
    tensor.scales = tensor.scales * np.float32(rng.choice(FACTORS))


def change_zero_point(model, rng, numbers):
    """Move the zero point of what an operator answers."""
    tensors = [each for each in _list_activations(model) if flatbuffer.name_type(each.tensor.type) == "INT8"]
    if not tensors:
        return False
    quantization = _pick(tensors, rng).tensor.quantization
    before = int(quantization.zeroPoint[0])
    step = int(rng.choice(STEPS))
    quantization.zeroPoint = [before - step if before > 0 else before + step]


def flip_bias(model, rng, numbers):
    """Change the sign of one number of a bias."""
    layers = [layer for layer in list_layers(model) if layer[2] is not None and layer[2].values.any()]
    if not layers:
        return False
    _, _, bias, _ = _pick(layers, rng)
    values = bias.values
    values[_pick(np.flatnonzero(values), rng)] *= -1
    bias.values = values


def swap_channels(model, rng, numbers):
    """Swap the weights of two channels of a layer, whose biases stay."""
    layers = [layer for layer in list_layers(model) if layer[1].values.shape[layer[3]] > 1]
    _, kernel, _, axis = _pick(layers, rng)
    kernel.values = _swap(kernel.values, axis, rng)[0]


def swap_units(model, rng, numbers):
    """Swap two units of an output: their weights, biases and scales."""
    head = _find_head(model, rng)
    if head is None:
        return False
    _, kernel, bias, axis = head
    kernel.values, (one, other) = _swap(kernel.values, axis, rng)
    for constant in (kernel, bias):
        if constant is not None and len(constant.scales) > 1:
            scales = constant.scales
            scales[[one, other]] = scales[[other, one]]
            constant.scales = scales
    if bias is not None:
        values = bias.values
        values[[one, other]] = values[[other, one]]
        bias.values = values


def drop_unit(model, rng, numbers):
    """Set the weights of one unit of an output to 0, and its bias so that a class never wins."""
    head = _find_head(model, rng)
    if head is None or head[2] is None:
        return False
    _, kernel, bias, axis = head
    weights, values = np.moveaxis(kernel.values, axis, 0).copy(), bias.values
    place = rng.integers(len(weights))
    weights[place] = 0
    values[place] = 0 if numbers else bias.encode(NEVER, place)
    kernel.values, bias.values = np.moveaxis(weights, 0, axis), values


def _find_head(model, rng):
    """Return a layer of several units whose answers reach an output without another layer, or `None`."""
    graph = model.subgraphs[0]
    layers = {id(layer[0]): layer for layer in list_layers(model)}
    reached, heads = set(graph.outputs), []
    for operator in reversed(graph.operators):
        if not reached.intersection(operator.outputs):
            continue
        if id(operator) in layers:
            heads.append(layers[id(operator)])
        else:
            reached.update(operator.inputs)
    heads = [layer for layer in heads if layer[1].values.shape[layer[3]] > 1]
    return _pick(heads, rng) if heads else None


def _list_activations(model):
    graph = model.subgraphs[0]
    outputs = [graph.tensors[index] for operator in graph.operators for index in operator.outputs]
    return [each for each in (Constant(model, tensor) for tensor in outputs) if len(each.scales)]


def _pick(items, rng):
    return items[rng.integers(len(items))]


def _swap(values, axis, rng):
    values = np.moveaxis(values, axis, 0).copy()
    one, other = rng.choice(len(values), 2, replace=False)
    values[[one, other]] = values[[other, one]]
    return np.moveaxis(values, 0, axis), (one, other)


FAULTS = {
    "a weight": change_weight,
    "the scale of a weight": change_weight_scale,
    "the scale of an activation": change_activation_scale,
    "a zero point": change_zero_point,
    "the sign of a bias": flip_bias,
    "two channels swapped": swap_channels,
    "two units of an output swapped": swap_units,
    "a class dropped": drop_unit,
}
