"""Walking through the graph of a model, including nested models, to build another model from it."""

import collections
import dataclasses
from collections.abc import Callable
from typing import Any

import keras
from keras import ops

from keras_distill._core.messages import expected


@dataclasses.dataclass(frozen=True)
class Step:
    """One call of an operation in the graph of a model.

    Attributes:
        operation: The layer, or Keras operation.
        node: Keras's node of the call.
        following: Operations that take its output; `None` stands for an output of the model.
        calls: Dict of the id of an operation to the number of its calls in the graph.
        prefix: Prefix of the layer's name in the new model: the names of the nested models that contain it.
    """

    operation: Any
    node: Any
    following: tuple[Any, ...]
    calls: dict[int, int]
    prefix: str

    @property
    def name(self) -> str:
        """The name of the layer in the new model."""
        return f"{self.prefix}{self.operation.name}"

    @property
    def is_output(self) -> bool:
        """Whether it computes an output of the whole model."""
        return None in self.following and not self.prefix

    def is_called_once(self, operation: Any) -> bool:
        """Return whether the graph calls an operation exactly once."""
        return self.calls[id(operation)] == 1

    def arguments(self, tensors: list[Any]) -> tuple[tuple, dict[str, Any]]:
        """Return the call's arguments with other tensors, a tuple and a dict."""
        return self.node.arguments.fill_in(dict(zip(map(id, self.node.input_tensors), tensors, strict=True)))


def as_functional(model: Any) -> Any:
    """Return a Functional model of the same graph, or `None` if the model is not Functional or Sequential."""
    if not getattr(model, "inputs", None):
        return None
    graph = keras.Model(model.inputs, model.outputs)
    return graph if type(model).call in (type(graph).call, keras.Sequential.call) else None


def transcribe(model: Any, values: list[Any], visit: Callable[[Step, list[Any]], Any], prefix: str = "") -> list[Any]:
    """Visit every call of a graph in order.

    Args:
        model: Functional or Sequential model.
        values: One value per input, of any type.
        visit: Function of a `Step` and the values of its inputs that returns the value of its output, or a list of
            several.
        prefix: Prefix of the layers' names, see `Step`. Defaults to `""`.

    Returns:
        One value per output.
    """
    graph = as_functional(model)
    known = dict(zip(map(id, graph.inputs), values, strict=True))
    nodes = [node for depth in sorted(graph._nodes_by_depth, reverse=True) for node in graph._nodes_by_depth[depth]]
    following = collections.defaultdict(list)
    for node in nodes:
        for tensor in node.input_tensors:
            following[id(tensor)].append(node.operation)
    for tensor in graph.outputs:
        following[id(tensor)].append(None)
    calls = collections.Counter(id(node.operation) for node in nodes)
    for node in nodes:
        if node.is_input:
            continue
        inputs = [known[id(tensor)] for tensor in node.input_tensors]
        operation = node.operation
        if isinstance(operation, keras.Model):
            outputs = _transcribe_nested(operation, inputs, visit, prefix)
        else:
            after = tuple(following[id(node.outputs[0])]) if len(node.outputs) == 1 else (None, None)
            result = visit(Step(operation, node, after, calls, prefix), inputs)
            outputs = list(result) if isinstance(result, (list, tuple)) else [result]
        known.update(zip(map(id, node.outputs), outputs, strict=True))
    return [known[id(tensor)] for tensor in graph.outputs]


def _transcribe_nested(model: Any, inputs: list[Any], visit: Callable, prefix: str) -> list[Any]:
    if as_functional(model) is None:
        raise ValueError(not_functional_message(model))
    return transcribe(model, inputs, visit, f"{prefix}{model.name}_")


def not_functional_message(model: Any) -> str:
    """Compose the message for a model whose graph cannot be read."""
    return expected(
        "a Functional or Sequential model, so that its graph can be read",
        f"{model.name!r} of type {type(model).__name__}",
        "Build it with keras.Model(inputs, outputs), inner models too.",
    )


def find_structures(model: Any) -> tuple[Any, Any]:
    """Return the nested structures of a model's inputs and outputs."""
    if isinstance(model, keras.Sequential):
        return model.inputs[0], model.outputs[0]
    return model.input, model.output


def copy_layer(layer: Any, name: str) -> Any:
    """Return a layer or operation of the same class, config, weights and input shape, with another name."""
    copy = type(layer).from_config({**layer.get_config(), "name": name})
    if isinstance(layer, keras.layers.Layer) and layer.built and layer.weights:
        copy.build_from_config(layer.get_build_config())
        copy.set_weights([ops.convert_to_numpy(weight) for weight in layer.weights])
        if isinstance(copy, keras.layers.Normalization):
            copy.finalize_state()
    return copy
