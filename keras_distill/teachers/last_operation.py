"""The operation that computes the output of a model file, where only its values are moved or given another type."""

from typing import Any

_TFLITE = frozenset({"DEQUANTIZE", "QUANTIZE", "CAST", "RESHAPE", "SQUEEZE", "EXPAND_DIMS", "TRANSPOSE"})
_ONNX = frozenset({"Cast", "Identity", "Reshape", "Squeeze", "Unsqueeze", "Flatten", "Transpose", "DequantizeLinear"})
_GRAPH = frozenset({"Cast", "Identity", "Reshape", "Squeeze", "ExpandDims", "Transpose"})
_CALLS = frozenset({"PartitionedCall", "StatefulPartitionedCall"})


def find_in_tflite(operators: list[dict[str, Any]], output: int) -> str | None:
    """Return the operator behind a tensor of a TFLite file, such as `"LOGISTIC"`; `None` for an input.

    Args:
        operators: What LiteRT's interpreter says of them: dicts of `op_name`, `inputs` and `outputs`.
        output: Index of the tensor.
    """
    makers = {index: each for each in operators if each["op_name"] != "DELEGATE" for index in each["outputs"]}
    while output in makers and makers[output]["op_name"] in _TFLITE:
        output = makers[output]["inputs"][0]
    return makers[output]["op_name"] if output in makers else None


def find_in_onnx(path: str, output: str) -> str | None:
    """Return the operator behind an output of an ONNX file, such as `"Sigmoid"`; `None` without the package `onnx`."""
    try:
        import onnx
    except ImportError:
        return None
    nodes = {name: node for node in onnx.load(path, load_external_data=False).graph.node for name in node.output}
    while output in nodes and nodes[output].op_type in _ONNX:
        output = nodes[output].input[0]
    return nodes[output].op_type if output in nodes else None


def find_in_function(function: Any, output: int) -> str | None:
    """Return the operator behind an output of a concrete function, such as `"Sigmoid"`, within functions that it calls.

    Args:
        function: Concrete function of TensorFlow.
        output: Place of the output among those of the function, which are sorted by name.
    """
    graph = function.graph.as_graph_def()
    library = {each.signature.name: each for each in graph.library.function}
    nodes, tensor = {node.name: node for node in graph.node}, function.outputs[output].name
    while (node := nodes.get(tensor.split(":")[0])) is not None:
        if node.op in _GRAPH:
            tensor = node.input[0]
        elif node.op in _CALLS and node.attr["f"].func.name in library:
            called = library[node.attr["f"].func.name]
            place = int((tensor.split(":") + ["0"])[-1])
            nodes, tensor = {each.name: each for each in called.node_def}, _name_result(called, place)
        else:
            return node.op
    return None


def _name_result(function: Any, place: int) -> str:
    return function.ret[function.signature.output_arg[place].name]
