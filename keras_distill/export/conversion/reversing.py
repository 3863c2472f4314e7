"""Operators that move integers from place to place, whose results were given another scale."""

import copy
from typing import Any

from keras_distill.export.tflite import flatbuffer

# Their kernels copy integers. TensorFlow's quantizer knows that of RESHAPE, SLICE and others, but not of these.
_COPYING = ("REVERSE_V2",)
_FIELDS = ("scale", "zeroPoint")


def requantize_copies(model: Any) -> bool:
    """Put a conversion of scales behind operators that copy integers into a tensor of another scale.

    A backward recurrent layer ends in `REVERSE_V2`, and a concatenation with the forward one gives the result of
    both a common scale. LiteRT's kernel copies the integers all the same.

    Args:
        model: Quantized model, a `ModelT` of LiteRT's schema, which is changed in place.

    Returns:
        Whether anything was changed.
    """
    changed = False
    for graph in model.subgraphs:
        for operator in list(graph.operators):
            if flatbuffer.name_operator(model.operatorCodes[operator.opcodeIndex]) not in _COPYING:
                continue
            source, result = graph.tensors[operator.inputs[0]], graph.tensors[operator.outputs[0]]
            if _read_scale(source) != _read_scale(result):
                _insert_conversion(model, graph, operator, source.quantization)
                changed = True
    return changed


def _read_scale(tensor: Any) -> list[list]:
    given = [None if tensor.quantization is None else getattr(tensor.quantization, field) for field in _FIELDS]
    return [[] if numbers is None else list(numbers) for numbers in given]


def _insert_conversion(model: Any, graph: Any, operator: Any, quantization: Any) -> None:
    from ai_edge_litert import schema_py_generated as schema

    result = int(operator.outputs[0])
    moved = copy.copy(graph.tensors[result])
    moved.name, moved.quantization = (moved.name or b"") + b"/copied", quantization
    graph.tensors.append(moved)
    operator.outputs = [len(graph.tensors) - 1]
    conversion = schema.OperatorT()
    conversion.opcodeIndex = _find_code(model, schema)
    conversion.inputs, conversion.outputs = list(operator.outputs), [result]
    graph.operators.insert(graph.operators.index(operator) + 1, conversion)


def _find_code(model: Any, schema: Any) -> int:
    """Return the index of the operator QUANTIZE among the codes of a model, which gets it if it has none."""
    names = [flatbuffer.name_operator(code) for code in model.operatorCodes]
    if "QUANTIZE" not in names:
        code = schema.OperatorCodeT()
        code.builtinCode = code.deprecatedBuiltinCode = schema.BuiltinOperator.QUANTIZE
        code.version = 1
        model.operatorCodes.append(code)
        names.append("QUANTIZE")
    return names.index("QUANTIZE")
