"""The head of a model whose outputs do not show what computed them: those of eager calls, and all those on JAX."""

import weakref
from typing import Any

import keras

from keras_distill._core.tensors import Origin
from keras_distill.losses.head_jax import JaxGraph
from keras_distill.losses.head_rules import UNKNOWN, Head, read_head
from keras_distill.losses.head_tensorflow import TensorFlowGraph

_KNOWN: Any = weakref.WeakKeyDictionary()


def probe(origin: Origin) -> Head:
    """Return the head behind an output of a model, without its logits, by tracing the model once.

    Args:
        origin: Which output of which model it is, and the inputs that it was computed from.
    """
    model = origin.model()
    if model is None:
        return UNKNOWN
    known = _KNOWN.setdefault(model, {})
    if origin.inputs not in known:
        trace = _trace_on_jax if keras.backend.backend() == "jax" else _trace_on_tensorflow
        try:
            known[origin.inputs] = trace(model, origin)
        except Exception:  # A model that runs only eagerly, whatever its reason: nothing is established.
            known[origin.inputs] = []
    heads = known[origin.inputs]
    return heads[origin.place] if origin.place < len(heads) else UNKNOWN


def _run(model, origin, leaves, variables=()):
    # Nothing that the call does to the model remains: neither updates of its variables nor the losses it adds.
    with keras.StatelessScope(variables, collect_losses=True):
        return keras.tree.flatten(model(keras.tree.pack_sequence_as(origin.structure, leaves), training=False))


def _trace_on_tensorflow(model, origin):
    import tensorflow as tf

    heads: list[Head] = []

    def trace(*leaves: Any) -> Any:
        heads.extend(_without_logits(read_head(each, TensorFlowGraph())) for each in _run(model, origin, list(leaves)))
        return leaves

    specs = [tf.TensorSpec((None, *shape[1:]), dtype) for shape, dtype in origin.inputs]
    tf.function(trace, autograph=False).get_concrete_function(*specs)
    return heads


def _trace_on_jax(model, origin):
    import jax

    def trace(values: Any, *leaves: Any) -> Any:
        return _run(model, origin, list(leaves), list(zip(model.variables, values, strict=True)))

    specs = [jax.ShapeDtypeStruct(shape, dtype) for shape, dtype in origin.inputs]
    values = [jax.ShapeDtypeStruct(each.shape, each.dtype) for each in model.variables]
    jaxpr = jax.make_jaxpr(trace)(values, *specs).jaxpr
    graph = JaxGraph(jaxpr, jaxpr.invars[: len(values)])
    return [_without_logits(read_head(each, graph)) for each in graph.outputs]


def _without_logits(head):
    return Head(head.kind, None, head.axis, head.mass)
