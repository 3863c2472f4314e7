"""The operations behind a tensor of a TensorFlow graph, as the rules about heads see them."""

import inspect
import math
from typing import Any

from keras_distill.losses.head_rules import Graph, Node

_MOVES = {
    **dict.fromkeys(("Reshape", "Squeeze", "ExpandDims", "Transpose", "StridedSlice", "Slice", "EnsureShape"), 0),
    **dict.fromkeys(("Identity", "IdentityN", "Cast", "StopGradient", "PreventGradient", "CheckNumerics"), 0),
    **dict.fromkeys(("Snapshot", "ReverseV2", "Roll", "Tile", "BroadcastTo", "GatherV2", "GatherNd", "Unpack"), 0),
    **dict.fromkeys(("ResizeNearestNeighbor", "DepthToSpace", "SpaceToDepth", "BatchToSpaceND", "SpaceToBatchND"), 0),
    "SplitV": 0,
    "Split": 1,
}
"""Type of an operation that only moves numbers -> the place of the input that holds them."""

_RENAMED = {"squeeze_dims": "axis", **dict.fromkeys(("dim", "split_dim", "reduction_indices"), "axis")}
"""Arguments of operations that have another name in Python."""

_QUANTIZERS = ("FakeQuantWithMinMaxVars", "FakeQuantWithMinMaxArgs", "FakeQuantWithMinMaxVarsPerChannel")
_CONTRACTIONS = ("MatMul", "BatchMatMul", "BatchMatMulV2", "BatchMatMulV3", "Einsum")
_CONVOLUTIONS = ("Conv2D", "Conv3D", "DepthwiseConv2dNative", "Conv", "Conv2DBackpropInput", "Conv3DBackpropInputV2")
_LINEAR_MAPS = ("AvgPool", "AvgPool3D", "ResizeBilinear", "ResizeBicubic", "ResizeArea", "Neg", "Pad", "PadV2")
_NORMALIZERS = ("FusedBatchNorm", "FusedBatchNormV2", "FusedBatchNormV3")


class TensorFlowGraph(Graph):
    """The graph of the function that TensorFlow is tracing."""

    def node(self, tensor: Any) -> Node:
        operation = tensor.op
        kind, inputs = operation.type, list(operation.inputs)
        if kind in _MOVES:
            place = tensor.value_index if kind == "IdentityN" else _MOVES[kind]
            return Node("move", [inputs[place]], _repeat(tensor, {place}), _mover(operation, tensor))
        if kind in _QUANTIZERS:
            return Node("move", inputs[:1], None, lambda axis: axis)
        read = _READERS.get(kind)
        return read(operation, inputs, tensor) if read else Node(kind, inputs)

    def parents(self, tensor: Any) -> list[Any]:
        return list(tensor.op.inputs)

    def is_source(self, tensor: Any) -> str | None:
        kind = tensor.op.type
        if kind == "ReadVariableOp":
            return "variable"
        if kind == "Placeholder":  # A tensor from outside the function, rather than an argument of it.
            outside = [found for found, inside in getattr(tensor.graph, "captures", ()) if inside is tensor]
            return "constant" if outside and hasattr(outside[0], "numpy") else None
        return "constant" if kind == "Const" else None

    def shape(self, tensor: Any) -> tuple[int | None, ...] | None:
        return None if tensor.shape.rank is None else tuple(tensor.shape)


def _repeat(tensor, places):
    """Return a function that applies the operation of a tensor to others instead of the inputs at these places."""
    operation = tensor.op

    def apply(given: list[Any]) -> Any:
        if operation.type in ("Identity", "IdentityN", "EnsureShape", "CheckNumerics"):
            return given[0]
        replaced = iter(given)
        inputs = [next(replaced) if place in places else each for place, each in enumerate(operation.inputs)]
        returned = _call(operation, inputs)
        return returned[tensor.value_index] if isinstance(returned, (list, tuple)) else returned

    return apply


def _call(operation, inputs):
    """Run an operation of the same type and with the same attributes."""
    import tensorflow as tf

    function = getattr(tf.raw_ops, operation.type)
    arguments, start = {}, 0
    for argument in operation.op_def.input_arg:
        if argument.number_attr:
            count = operation.get_attr(argument.number_attr)
            arguments[argument.name], start = inputs[start : start + count], start + count
        else:
            arguments[argument.name], start = inputs[start], start + 1
    arguments |= {each.name: operation.get_attr(each.name) for each in operation.op_def.attr}
    arguments = {_RENAMED.get(name, name): value for name, value in arguments.items()}
    accepted = inspect.signature(function).parameters  # Dtypes and counts follow from the inputs.
    return function(**{name: value for name, value in arguments.items() if name in accepted})


def _mover(operation, tensor):
    """Return the function that moves the axis of the classes, if whole rows of them move."""

    import tensorflow as tf

    def move_axis(axis: int) -> int | None:
        before, after = operation.inputs[_MOVES.get(operation.type, 0)].shape, tensor.shape
        if before.rank is None or after.rank is None:
            return None
        if operation.type == "Transpose":
            permutation = tf.get_static_value(operation.inputs[1])
            return None if permutation is None else list(permutation).index(axis)
        if axis != before.rank - 1 or before[-1] is None or before[-1] != after[-1]:
            return None
        if operation.type == "GatherV2" and _normal(operation.inputs[2], before.rank) in (None, axis):
            return None  # Classes may be drawn twice.
        if operation.type in ("SpaceToDepth", "DepthToSpace", "GatherNd"):
            return None
        return after.rank - 1

    return move_axis


def _normal(axis, rank):
    import tensorflow as tf

    axis = tf.get_static_value(axis)
    return None if axis is None else int(axis) % rank


def _join(data):
    def read(operation: Any, inputs: list[Any], tensor: Any) -> Node:
        places = set(range(len(inputs))[data])

        def move_axis(axis: int) -> int | None:
            before, after = inputs[max(places)].shape.rank, tensor.shape.rank
            if before is None or after is None or axis != before - 1:
                return None
            if operation.type == "Pack":
                along = operation.get_attr("axis") % after
            elif operation.type == "ConcatV2":
                along = _normal(inputs[-1], after)
            else:
                along = after - 1 if inputs[0].shape.rank == after and inputs[0].shape[-1] != 1 else -1
            return None if along is None or along == after - 1 else after - 1

        conditions = tuple(inputs[:1]) if operation.type == "SelectV2" else ()
        given = [inputs[place] for place in sorted(places)]
        return Node("join", given, _repeat(tensor, places), move_axis, conditions=conditions)

    return read


def _activation(role):
    def read(operation: Any, inputs: list[Any], tensor: Any) -> Node:
        return Node(role, inputs, lambda given: given[0], lambda axis: axis)

    return read


def _plain(role, *places):
    def read(operation: Any, inputs: list[Any], tensor: Any) -> Node:
        return Node(role, [inputs[place] for place in places] if places else inputs)

    return read


def _add(operation, inputs, tensor):
    return Node("add", inputs, lambda given: given[0])


def _bias(operation, inputs, tensor):
    # Keras adds a tensor of a single row in this way too, without its axis of length one.
    row = inputs[1].op.inputs[0] if inputs[1].op.type == "Squeeze" else None
    if row is not None and row.shape == inputs[0].shape:
        return _add(operation, [inputs[0], row], tensor)
    return Node("add", inputs)


def _pick(operation, inputs, tensor):
    data = inputs[:1] if operation.type in ("Max", "Min", "MaxPool", "MaxPool3D") else inputs
    return Node("pick", data, _repeat(tensor, set(range(len(data)))))


def _scale(operation, inputs, tensor):
    import tensorflow as tf

    values = [tf.get_static_value(each) for each in inputs]
    known = [place for place, value in enumerate(values) if value is not None and value.size == 1]
    constant = None
    if known and not (operation.type == "RealDiv" and known[-1] == 0) and len(known) < len(inputs):
        constant = float(values[known[-1]].reshape(()))
        if operation.type == "RealDiv":
            constant = 1.0 / constant if constant else None
    return Node("divide" if operation.type == "RealDiv" else "multiply", inputs, constant=constant)


def _sum(operation, inputs, tensor):
    import tensorflow as tf

    axes, rank, kept = tf.get_static_value(inputs[1]), inputs[0].shape.rank, operation.get_attr("keep_dims")
    if axes is None or rank is None:
        return Node("sum", inputs[:1])
    axes = sorted({int(axis) % rank for axis in axes.reshape(-1)})
    sizes = [inputs[0].shape[axis] for axis in axes]
    averages = operation.type == "Mean"
    constant = 1.0 if averages else None if None in sizes else float(math.prod(sizes))

    def apply(given: list[Any]) -> Any:
        total = tf.reduce_logsumexp(given[0], axis=axes, keepdims=kept)
        count = tf.cast(tf.reduce_prod([tf.shape(given[0])[axis] for axis in axes]), total.dtype)
        return total - tf.math.log(count) if averages else total

    def move_axis(axis: int) -> int | None:
        return None if axis in axes else axis if kept else axis - sum(each < axis for each in axes)

    return Node("sum", inputs[:1], apply, move_axis, constant)


_READERS = {
    "Softmax": _activation("softmax"),
    "Sigmoid": _activation("sigmoid"),
    "LogSoftmax": _plain("log_softmax"),
    "Log": _plain("log"),
    "Tanh": _plain("tanh"),
    **dict.fromkeys(("ReadVariableOp", "ResourceGather"), _plain("variable")),
    "Pack": _join(slice(None)),
    "ConcatV2": _join(slice(None, -1)),
    "SelectV2": _join(slice(1, None)),
    **dict.fromkeys(("AddV2", "Add", "AddN"), _add),
    "BiasAdd": _bias,
    "Sub": _plain("add"),
    **dict.fromkeys(("Mul", "RealDiv"), _scale),
    **dict.fromkeys(("Mean", "Sum"), _sum),
    **dict.fromkeys(("Max", "Min", "MaxPool", "MaxPool3D", "Maximum", "Minimum"), _pick),
    **dict.fromkeys(_CONTRACTIONS + _CONVOLUTIONS, _plain("contract")),
    **dict.fromkeys(_LINEAR_MAPS + _NORMALIZERS, _plain("map", 0)),
}
"""Type of an operation -> the function that reads it."""
