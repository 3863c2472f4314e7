"""Going through the graph of a model, nested models included, and building another from it."""

import collections
import dataclasses

import keras
from keras import ops

from keras_distill._core.messages import expected


@dataclasses.dataclass(frozen=True)
class Step:
    """One call of an operation in the graph of a model.

    Attributes:
        operation: the layer, or Keras operation.
        node: Keras's node of the call.
        following: the operations that take its output, `None` for the model's own outputs.
        calls: dict of the id of an operation to how often the graph calls it.
        prefix: str, goes before the layer's name in the new model: the names of the nested models it is in.
    """

    operation: object
    node: object
    following: tuple
    calls: dict
    prefix: str

    @property
    def name(self):
        """The name of the layer in the new model."""
        return f"{self.prefix}{self.operation.name}"

    @property
    def is_output(self):
        """Whether it gives an output of the whole model."""
        return None in self.following and not self.prefix

    def called_once(self, operation):
        """Whether the graph calls an operation once only."""
        return self.calls[id(operation)] == 1

    def arguments(self, tensors):
        """Return the call's arguments with other tensors, a tuple and a dict."""
        return self.node.arguments.fill_in(dict(zip(map(id, self.node.input_tensors), tensors, strict=True)))


def functional(model):
    """Return a model as one of inputs and outputs, or `None` for one that is more than the graph of its layers."""
    if not getattr(model, "inputs", None):
        return None
    graph = keras.Model(model.inputs, model.outputs)
    return graph if type(model).call in (type(graph).call, keras.Sequential.call) else None


def transcribe(model, values, visit, prefix=""):
    """Visit every call of a graph in order.

    Args:
        model: Functional or Sequential model.
        values: list of one value per input: whatever `visit` passes on.
        visit: function of a `Step` and the values of its inputs that returns the value of its output.
        prefix: str, see `Step`. Defaults to "".

    Returns:
        list of one value per output.
    """
    graph = functional(model)
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
            outputs = _nested(operation, inputs, visit, prefix)
        else:
            after = tuple(following[id(node.outputs[0])]) if len(node.outputs) == 1 else (None, None)
            outputs = [visit(Step(operation, node, after, calls, prefix), inputs)]
        known.update(zip(map(id, node.outputs), outputs, strict=True))
    return [known[id(tensor)] for tensor in graph.outputs]


def _nested(model, inputs, visit, prefix):
    if functional(model) is None:
        raise ValueError(not_functional(model))
    return transcribe(model, inputs, visit, f"{prefix}{model.name}_")


def not_functional(model):
    """Compose the message for a model whose layers do not say what it computes."""
    return expected(
        "a Functional or Sequential model, so that its graph can be read",
        f"{model.name!r} of type {type(model).__name__}",
        "Build it with keras.Model(inputs, outputs), inner models too.",
    )


def structures(model):
    """Return the nested structures of a model's inputs and outputs."""
    if isinstance(model, keras.Sequential):
        return model.inputs[0], model.outputs[0]
    return model.input, model.output


def copy(layer, name):
    """Return a layer of the same class, config and weights, built for the same inputs, by another name."""
    twin = type(layer).from_config({**layer.get_config(), "name": name})
    if layer.built and layer.weights:
        twin.build_from_config(layer.get_build_config())
        twin.set_weights([ops.convert_to_numpy(weight) for weight in layer.weights])
    return twin
