"""Augmentation that depends on a seed alone: Keras's random layers and functions of `(x, seed)` made alike."""

import contextlib
import functools
import hashlib
import threading

import keras

from keras_distill._core.messages import expected
from keras_distill.targets.store import fingerprints

_HARMLESS = ("Assert", "Case", "If", "PartitionedCall", "Print", "PyFunc", "ReadVariableOp", "VarHandleOp", "While")
_FIX = "Use Keras's random layers, or `tf.image.stateless_random_*` and `tf.random.stateless_*` with the seed given."
_TRACING = threading.RLock()


class _Words(keras.random.SeedGenerator):
    """Hand out seeds that follow from one alone, in the place of a generator with a state."""

    def __init__(self, seed):
        # Without the variable that a generator has: none can be made inside a pipeline, and none is wanted.
        self._seed, self._drawn = seed, 0

    def next(self, ordered=True):
        self._drawn += 1
        return self._seed + keras.ops.convert_to_tensor([0, self._drawn - 1], dtype=self._seed.dtype)


def stateless(augment):
    """Return a function `(x, seed) -> x` of one example.

    Args:
        augment: `None`, a function `(x, seed)`, a Keras layer, or a `keras.Sequential` or list of layers.
    """
    if augment is None:
        return lambda x, seed: x
    if isinstance(augment, (list, tuple, keras.Sequential)):
        layers = list(getattr(augment, "layers", augment))
        return functools.partial(_through, [each for each in layers if not isinstance(each, keras.layers.InputLayer)])
    if isinstance(augment, keras.layers.Layer):
        return functools.partial(_through, [augment])
    if not callable(augment):
        received = f"augment_fn={augment!r}"
        raise ValueError(expected("augment_fn to be a function `(x, seed)`, a Keras layer or a list of them", received))
    return augment


def _through(layers, x, seed):
    x = keras.tree.map_structure(lambda leaf: keras.ops.expand_dims(leaf, 0), x)
    with _seeded(layers, seed):
        for layer in layers:
            x = layer(x, training=True)
    return keras.tree.map_structure(lambda leaf: keras.ops.squeeze(leaf, 0), x)


@contextlib.contextmanager
def _seeded(layers, seed):
    """Let all generators of some layers, those of layers inside them too, follow from a seed for a while."""
    with _TRACING:
        inside = {id(each): each for layer in layers for each in layer._flatten_layers()}.values()
        held = [
            (vars(layer), name, value)
            for layer in inside
            for name, value in list(vars(layer).items())
            if isinstance(value, keras.random.SeedGenerator)
        ]
        try:
            for number, (attributes, name, _) in enumerate(held):
                attributes[name] = _Words(seed + keras.ops.convert_to_tensor([number, 0], dtype=seed.dtype))
            yield
        finally:
            for attributes, name, value in held:
                attributes[name] = value


def check(function, spec):
    """Raise a `ValueError` if a function of `(x, seed)` draws from anything but its seed, or cannot be traced.

    Args:
        function: What `stateless` returned.
        spec: Spec of the inputs of one example.
    """
    import tensorflow as tf
    from tensorflow.python.framework import op_def_registry

    traced = tf.function(tf.autograph.experimental.do_not_convert(function))
    try:
        graph = traced.get_concrete_function(spec, tf.TensorSpec((2,), tf.int32)).graph.as_graph_def()
    except TypeError as error:
        raise ValueError(expected("augment_fn to take an example and a seed, `(x, seed)`", str(error))) from error
    nodes = [*graph.node, *(node for each in graph.library.function for node in each.node_def)]
    found = {node.op for node in nodes}
    drawn = [
        name
        for name in sorted(found)
        if (op := op_def_registry.get(name)) is not None and op.is_stateful and not _harmless(name)
    ]
    if drawn:
        raise ValueError(expected("augmentation that depends on its seed alone", ", ".join(drawn), _FIX))


def _harmless(name):
    return any(name.startswith(each) or name.endswith(each) for each in _HARMLESS)


def record_of(augment):
    """Return what a manifest says of an augmentation: its name and a hash of its configuration.

    Of a function the name alone is known: what else it does is told by the hashes of the views.
    """
    if augment is None:
        return {"name": None, "fingerprint": None}
    if isinstance(augment, (list, tuple, keras.Sequential)):
        parts = [record_of(each) for each in getattr(augment, "layers", augment)]
        names = ", ".join(each["name"] for each in parts)
        return {"name": names, "fingerprint": fingerprints.of_json([each["fingerprint"] for each in parts])}
    if isinstance(augment, keras.layers.Layer):
        return {"name": type(augment).__name__, "fingerprint": _of_layer(augment)}
    if isinstance(augment, functools.partial):
        inner = record_of(augment.func)
        given = [repr(augment.args), sorted((name, repr(each)) for name, each in augment.keywords.items())]
        return {"name": inner["name"], "fingerprint": fingerprints.of_json([inner["fingerprint"], given])}
    named = augment if hasattr(augment, "__qualname__") else type(augment)
    return {"name": named.__qualname__, "fingerprint": None}


def _of_layer(layer):
    config = _without_seeds(keras.saving.serialize_keras_object(layer))
    digest = hashlib.sha256(fingerprints.of_json(fingerprints._plain(config, {})).encode())
    for weight in layer.weights:
        digest.update(keras.ops.convert_to_numpy(weight).tobytes())
    return digest.hexdigest()


def _without_seeds(config):
    """Leave out what a replay puts something else in the place of, or what Keras makes up."""
    if isinstance(config, dict):
        return {name: _without_seeds(each) for name, each in config.items() if name != "seed"}
    return [_without_seeds(each) for each in config] if isinstance(config, (list, tuple)) else config
