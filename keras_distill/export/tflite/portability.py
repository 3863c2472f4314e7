"""Replacing operators of a finished TFLite file by equivalents that more runtimes have."""

import math
import os
import pathlib
from typing import Any

import numpy as np

from keras_distill.export.tflite import flatbuffer


def replace_operators(path: str | os.PathLike) -> None:
    """Replace operators of a TFLite file that microcontrollers and reference kernels lack, where others do the same.

    SELECT becomes SELECT_V2. TILE of axes of size 1, as up-sampling and repetition write it, becomes BROADCAST_TO.

    Args:
        path: The file, which is changed in place if there is something to replace.
    """
    model = flatbuffer.load_model(path)
    changed = False
    for graph in model.subgraphs:
        for operator in graph.operators:
            rule = _RULES.get(flatbuffer.name_operator(model.operatorCodes[operator.opcodeIndex]))
            changed |= rule is not None and rule(model, graph, operator)
    if changed:
        _drop_unused_codes(model)
        pathlib.Path(path).write_bytes(flatbuffer.serialize(model))


def take_signed_bytes(path: str | os.PathLike) -> None:
    """Let a TFLite file take bytes of a camera as int8, 128 less, since microcontrollers cannot cast from uint8.

    Args:
        path: The file, which is changed in place if an input is uint8 and is cast to floats only.
    """
    from ai_edge_litert import schema_py_generated as schema

    model = flatbuffer.load_model(path)
    graph = model.subgraphs[0]
    for index in graph.inputs:
        readers = [operator for operator in graph.operators if index in operator.inputs]
        names = {flatbuffer.name_operator(model.operatorCodes[operator.opcodeIndex]) for operator in readers}
        floats = all(graph.tensors[each.outputs[0]].type == schema.TensorType.FLOAT32 for each in readers)
        if flatbuffer.name_type(graph.tensors[index].type) != "UINT8" or names != {"CAST"} or not floats:
            continue
        quantization = schema.QuantizationParametersT()
        quantization.scale, quantization.zeroPoint = np.array([1.0], np.float32), np.array([-128], np.int64)
        graph.tensors[index].type, graph.tensors[index].quantization = schema.TensorType.INT8, quantization
        for cast in readers:
            _read_bytes(model, graph, cast)
        _drop_unused_codes(model)
        pathlib.Path(path).write_bytes(flatbuffer.serialize(model))


def _read_bytes(model: Any, graph: Any, cast: Any) -> None:
    """Turn a cast into a dequantization, or let the quantizations after it read the bytes themselves."""
    from ai_edge_litert import schema_py_generated as schema

    source, (result,) = cast.inputs[0], cast.outputs
    after = [operator for operator in graph.operators if result in operator.inputs]
    names = {flatbuffer.name_operator(model.operatorCodes[operator.opcodeIndex]) for operator in after}
    if names == {"QUANTIZE"}:
        for quantize in after:
            quantize.inputs = np.array([source], np.int32)
        graph.operators.remove(cast)
    else:
        _set_operator(model, cast, "DEQUANTIZE", schema.DequantizeOptionsT())


def _select(model: Any, graph: Any, operator: Any) -> bool:
    from ai_edge_litert import schema_py_generated as schema

    shapes = {tuple(graph.tensors[index].shape) for index in operator.inputs}
    if len(shapes) > 1:
        # A vector chooses whole rows here, and is broadcast there.
        return False
    _set_operator(model, operator, "SELECT_V2", schema.SelectV2OptionsT())
    return True


def _tile(model: Any, graph: Any, operator: Any) -> bool:
    from ai_edge_litert import schema_py_generated as schema

    source, target = (graph.tensors[index] for index in (operator.inputs[0], operator.outputs[0]))
    sizes = None if source.shape is None or target.shape is None else list(zip(source.shape, target.shape, strict=True))
    free = any(each.shapeSignature is not None and -1 in each.shapeSignature for each in (source, target))
    if sizes is None or free or math.prod(target.shape) == 0 or any(old not in (1, new) for old, new in sizes):
        return False
    shape, buffer = schema.TensorT(), schema.BufferT()
    buffer.data = np.array(target.shape, np.int32).view(np.uint8)
    shape.name, shape.type = b"%s/shape" % target.name, schema.TensorType.INT32
    shape.shape, shape.buffer = np.array([len(target.shape)], np.int32), len(model.buffers)
    model.buffers.append(buffer)
    graph.tensors.append(shape)
    operator.inputs = np.array([operator.inputs[0], len(graph.tensors) - 1], np.int32)
    _set_operator(model, operator, "BROADCAST_TO", schema.BroadcastToOptionsT())
    return True


_RULES = {"SELECT": _select, "TILE": _tile}


def _set_operator(model: Any, operator: Any, name: str, options: Any) -> None:
    """Change the kind of an operator."""
    from ai_edge_litert import schema_py_generated as schema

    number = getattr(schema.BuiltinOperator, name)
    codes = [max(code.builtinCode, code.deprecatedBuiltinCode) for code in model.operatorCodes]
    if number not in codes:
        code = schema.OperatorCodeT()
        # The older field holds a byte.
        code.builtinCode, code.deprecatedBuiltinCode = number, min(number, 127)
        code.version = _VERSIONS.get(name, 1)
        model.operatorCodes.append(code)
        codes.append(number)
    operator.opcodeIndex = codes.index(number)
    operator.builtinOptions = options
    operator.builtinOptionsType = getattr(schema.BuiltinOptions, type(options).__name__.removesuffix("T"))


def _drop_unused_codes(model: Any) -> None:
    """Drop codes of operators that no longer occur, since runtimes refuse a file for a code that they do not know."""
    operators = [operator for graph in model.subgraphs for operator in graph.operators]
    kept = sorted({operator.opcodeIndex for operator in operators})
    model.operatorCodes = [model.operatorCodes[index] for index in kept]
    for operator in operators:
        operator.opcodeIndex = kept.index(operator.opcodeIndex)


# The first versions that take int8.
_VERSIONS = {"BROADCAST_TO": 2, "DEQUANTIZE": 2}
