"""Replacing operators of a SavedModel by others that compute the same in the kernels of small runtimes."""

import itertools
import os
import pathlib
from collections.abc import Callable
from typing import Any

# Each output of a node in a function is referred to by the name of the operator's output argument.
_OUTPUTS = {"Const": "output", "Relu": "activations"} | dict.fromkeys(("Abs", "Exp", "Log", "Sigmoid"), "y")
_OUTPUTS |= dict.fromkeys(("AddV2", "Maximum", "Minimum", "Mul", "Sub"), "z")
_SELU_SCALE, _SELU_ALPHA = 1.0507009873554805, 1.6732632423543772


def rewrite(path: str | os.PathLike) -> None:
    """Replace operators in a SavedModel, each by others that give the same numbers.

    Negations, squares and squared differences become products: TFLite has no int8 or no int16 kernel for them, so its
    converters would write float operators into a file that looks like int8. A softplus becomes a form without
    overflow: TFLite computes it as `log(1 + exp(x))`, which is infinite from 89 on. SELU becomes a form that int8
    represents. `keras.ops.argmax` loses its distinction of -0.0 from 0.0, for which TFLite has no operator.

    Args:
        path: Folder of the SavedModel, which is changed in place.
    """
    from tensorflow.core.protobuf import saved_model_pb2

    file = pathlib.Path(path) / "saved_model.pb"
    model = saved_model_pb2.SavedModel.FromString(file.read_bytes())
    for meta_graph in model.meta_graphs:
        for function in meta_graph.graph_def.library.function:
            _rewrite_function(function)
    file.write_bytes(model.SerializeToString())


class _Editor:
    """Adds nodes to a function, of the type of the nodes that they replace."""

    def __init__(self, function: Any):
        self._function = function
        self._nodes = {node.name: node for node in function.node_def}
        self._taken = set(self._nodes)

    def follow(self, output: str, *operators: str) -> str | None:
        """Return the first input of the last of a chain of nodes, each the first or second input of the one before.

        Args:
            output: Name of an output of the first node.
            *operators: Operators of the nodes.

        Returns:
            Name of the output that the last node reads; `None` if there is no such chain.
        """
        if not operators:
            return output
        node = self._nodes.get(output.split(":")[0])
        if node is None or node.op != operators[0]:
            return None
        ends = (self.follow(name, *operators[1:]) for name in node.input[:2])
        return next((end for end in ends if end is not None), None)

    def find_inputs(self, output: str, operator: str) -> list[str]:
        """Return the inputs of the node of an output, if it has that operator."""
        node = self._nodes.get(output.split(":")[0])
        return list(node.input[:2]) if node is not None and node.op == operator else []

    def add(self, operator: str, *inputs: str, near: Any) -> str:
        """Add a node named after the node `near`; return the name of its output."""
        names = (f"{near.name}/{operator.lower()}_{number}" for number in itertools.count())
        name = next(name for name in names if name not in self._taken)
        self._taken.add(name)
        node = self._function.node_def.add(name=name, op=operator, input=inputs)
        node.attr["T"].type = near.attr["T"].type
        return f"{name}:{_OUTPUTS[operator]}:0"

    def add_constant(self, value: float, near: Any) -> str:
        """Add a scalar constant; return the name of its output."""
        import tensorflow as tf

        output = self.add("Const", near=near)
        node = self._function.node_def[-1]
        node.attr.clear()
        node.attr["dtype"].type = near.attr["T"].type
        node.attr["value"].tensor.CopyFrom(tf.make_tensor_proto(value, tf.as_dtype(near.attr["T"].type)))
        return output

    def finish(self, results: dict[str, str]) -> None:
        """Remove nodes, and let whatever reads them read the outputs in `results`, a dict of node name to output."""
        kept = [node for node in self._function.node_def if node.name not in results]
        del self._function.node_def[:]
        self._function.node_def.extend(kept)

        def rename(name: str) -> str:
            while name.split(":")[0] in results and not name.startswith("^"):
                name = results[name.split(":")[0]]
            removed = name.startswith("^") and name[1:] in results
            return "^" + results[name[1:]].split(":")[0] if removed else name

        for node in self._function.node_def:
            node.input[:] = [rename(name) for name in node.input]
        for key, name in self._function.ret.items():
            self._function.ret[key] = rename(name)


def _negate(editor: _Editor, node: Any) -> str:
    return editor.add("Mul", node.input[0], editor.add_constant(-1.0, node), near=node)


def _square(editor: _Editor, node: Any) -> str:
    return editor.add("Mul", node.input[0], node.input[0], near=node)


def _square_difference(editor: _Editor, node: Any) -> str:
    difference = editor.add("Sub", *node.input[:2], near=node)
    return editor.add("Mul", difference, difference, near=node)


def _choose(editor: _Editor, node: Any) -> str | None:
    """Drop the replacement of -0.0 by a smaller number, which Keras's `argmax` computes from the bits of a float."""
    source = editor.follow(node.input[0], "LogicalAnd", "Less", "BitwiseAnd", "Bitcast")
    return source if source is not None and source == node.input[2] else None


def _count_from_the_end(editor: _Editor, node: Any) -> str | None:
    """Compute `x + size if x < 0 else x` by arithmetic, since microcontrollers cannot choose between indices."""
    x = node.input[2]
    addends = editor.find_inputs(node.input[1], "AddV2")
    if editor.follow(node.input[0], "Less") != x or len(addends) != 2 or x not in addends:
        return None
    size = addends[1 - addends.index(x)]
    below = editor.add("Minimum", x, editor.add_constant(0, node), near=node)
    sign = editor.add("Maximum", below, editor.add_constant(-1, node), near=node)
    return editor.add("Sub", x, editor.add("Mul", sign, size, near=node), near=node)


def _soften(editor: _Editor, node: Any) -> str:
    """Compute softplus(x) as relu(x) - log(sigmoid(|x|)), whose parts neither overflow nor need a wide range."""
    (x,) = node.input[:1]
    gate = editor.add("Sigmoid", editor.add("Abs", x, near=node), near=node)
    return editor.add("Sub", editor.add("Relu", x, near=node), editor.add("Log", gate, near=node), near=node)


def _scale_exponential(editor: _Editor, node: Any) -> str:
    """Compute SELU with the exponential of negative numbers only, since those of positive ones widen the range."""
    (x,) = node.input[:1]

    def add(operator: str, first: str, second: float | str) -> str:
        other = second if isinstance(second, str) else editor.add_constant(second, node)
        return editor.add(operator, first, other, near=node)

    below = add("Sub", editor.add("Exp", add("Minimum", x, 0.0), near=node), 1.0)
    above = add("Mul", editor.add("Relu", x, near=node), _SELU_SCALE)
    return add("AddV2", above, add("Mul", below, _SELU_SCALE * _SELU_ALPHA))


# DT_FLOAT, DT_INT32 and DT_INT64 of TensorFlow, which this file need not import to say so.
_FLOAT32, _INT32, _INT64 = 1, 3, 9
_RULES: dict[tuple[int, str], Callable[[_Editor, Any], str | None]] = {
    (_FLOAT32, "Neg"): _negate,
    (_FLOAT32, "SelectV2"): _choose,
    (_FLOAT32, "Selu"): _scale_exponential,
    (_FLOAT32, "Softplus"): _soften,
    (_FLOAT32, "Square"): _square,
    (_FLOAT32, "SquaredDifference"): _square_difference,
    (_INT32, "SelectV2"): _count_from_the_end,
    (_INT64, "SelectV2"): _count_from_the_end,
}
"""Type and operator to the function that adds its replacement and returns its output; `None` if the node stays."""


def _rewrite_function(function: Any) -> None:
    # The converter recognises exact GELU only in the form erfc(-x * constant).
    untouched = _find_nodes_before(function, "Erfc", steps=2)
    replaced = [node for node in function.node_def if node.name not in untouched and _find_kind(node) in _RULES]
    if replaced:
        editor = _Editor(function)
        results = {node.name: _RULES[_find_kind(node)](editor, node) for node in replaced}
        editor.finish({name: output for name, output in results.items() if output is not None})


def _find_kind(node: Any) -> tuple[int, str]:
    # Reading an attribute that a node lacks would add it.
    return (node.attr["T"].type if "T" in node.attr else 0), node.op


def _find_nodes_before(function: Any, operator: str, steps: int) -> set[str]:
    """Return the names of nodes at most `steps` edges before an operator of that kind."""
    found = {node.name for node in function.node_def if node.op == operator}
    for _ in range(steps):
        found |= {name.split(":")[0] for node in function.node_def if node.name in found for name in node.input}
    return found
