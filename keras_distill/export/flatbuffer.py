"""Looking into a TFLite file: which operators it has, and which types they compute in."""

import pathlib

_INTEGERS = frozenset({"INT8", "INT16", "INT32", "INT64", "UINT8", "BOOL"})
_CONVERSIONS = frozenset({"CAST", "QUANTIZE"})


def no_flex(path, signature):
    """Return a complaint for each kind of Flex operator, which only TensorFlow itself can run."""
    flex = sorted({name for name, _ in operators(path) if name.startswith("Flex")})
    return [f"it needs TensorFlow's operator {name}" for name in flex]


def fully_int8(path, signature):
    """Return complaints about what is not int8: operators in floating point, float inputs and outputs.

    Integer inputs, as tokens are, and integer outputs stay what they are.
    """
    graph = _model(path).subgraphs[0]
    # Bytes of a camera are cast and quantized on their way in; neither computes anything.
    entrance = _CONVERSIONS if any("int" in tensor.dtype for tensor in signature.inputs) else frozenset()
    floating = sorted({name for name, types in operators(path) if not _INTEGERS.issuperset(types)} - entrance)
    complaints = [f"{name} does not compute in integers" for name in floating]
    ends = (("input", graph.inputs, signature.inputs), ("output", graph.outputs, signature.outputs))
    for kind, indices, tensors in ends:
        types = {_type_name(graph.tensors[index].type) for index in indices}
        complaints += [f"an {kind} is {name}" for name in sorted(types - _allowed(tensors))]
    return no_flex(path, signature) + complaints


def _allowed(tensors):
    return {"INT8"} if all("float" in tensor.dtype for tensor in tensors) else _INTEGERS


def operators(path):
    """Return the operators of a TFLite file.

    Args:
        path: file.

    Returns:
        list of (str, tuple of str): each operator's name and the types of its inputs and outputs.
    """
    model = _model(path)
    found = []
    for graph in model.subgraphs:
        for operator in graph.operators:
            tensors = [index for index in (*operator.inputs, *operator.outputs) if index >= 0]
            types = tuple(_type_name(graph.tensors[index].type) for index in tensors)
            found.append((_operator_name(model.operatorCodes[operator.opcodeIndex]), types))
    return found


def _model(path):
    from ai_edge_litert import schema_py_generated as schema

    return schema.ModelT.InitFromPackedBuf(pathlib.Path(path).read_bytes(), 0)


def _operator_name(code):
    from ai_edge_litert import schema_py_generated as schema

    if code.customCode:
        return code.customCode.decode()
    # Codes that do not fit a byte stand in the newer field only.
    return _constant_name(schema.BuiltinOperator, max(code.builtinCode, code.deprecatedBuiltinCode))


def _type_name(value):
    from ai_edge_litert import schema_py_generated as schema

    return _constant_name(schema.TensorType, value)


def _constant_name(enumeration, value):
    return next(name for name, number in vars(enumeration).items() if number == value)
