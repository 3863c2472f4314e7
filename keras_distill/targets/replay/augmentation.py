"""Augmentation that depends on a seed alone: Keras's random layers and functions as one kind, `(x, seed) -> x`."""

import contextlib
import functools
import hashlib
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import keras

from keras_distill._core.messages import expected
from keras_distill.answers.answer import Tensor
from keras_distill.targets.store import fingerprints

_HARMLESS = ("Assert", "Case", "If", "PartitionedCall", "Print", "PyFunc", "ReadVariableOp", "VarHandleOp", "While")
_FIX = "Use Keras's random layers, or `tf.image.stateless_random_*` and `tf.random.stateless_*` with the given seed."
_TRACING = threading.RLock()


class _StatelessGenerator(keras.random.SeedGenerator):
    """Generate seeds that follow from one seed, in place of a generator with a state."""

    def __init__(self, seed: Any):
        # Keras's own constructor creates a variable, which is impossible inside a pipeline.
        self._seed, self._drawn = seed, 0

    def next(self, ordered: bool = True) -> Any:
        self._drawn += 1
        return self._seed + keras.ops.convert_to_tensor([0, self._drawn - 1], dtype=self._seed.dtype)


def make_stateless(augment: Any) -> Callable[[Any, Tensor], Any]:
    """Return the augmentation as a function `(x, seed) -> x` of one example.

    Args:
        augment: `None`, a function `(x, seed)`, a Keras layer, or a `keras.Sequential` or list of layers.

    Raises:
        ValueError: If `augment` is anything else.
    """
    if augment is None:
        return lambda x, seed: x
    if isinstance(augment, (list, tuple, keras.Sequential)):
        layers = list(getattr(augment, "layers", augment))
        return functools.partial(
            _apply_layers, [each for each in layers if not isinstance(each, keras.layers.InputLayer)]
        )
    if isinstance(augment, keras.layers.Layer):
        return functools.partial(_apply_layers, [augment])
    if not callable(augment):
        received = f"augment_fn={augment!r}"
        raise ValueError(expected("augment_fn to be a function `(x, seed)`, a Keras layer or a list of them", received))
    return augment


def _apply_layers(layers: Sequence[keras.layers.Layer], x: Any, seed: Tensor) -> Any:
    x = keras.tree.map_structure(lambda leaf: keras.ops.expand_dims(leaf, 0), x)
    with _replace_generators(layers, seed):
        for layer in layers:
            x = layer(x, training=True)
    return keras.tree.map_structure(lambda leaf: keras.ops.squeeze(leaf, 0), x)


@contextlib.contextmanager
def _replace_generators(layers: Sequence[keras.layers.Layer], seed: Tensor) -> Iterator[None]:
    """Replace the seed generators of layers, and of the layers inside them, by generators that follow from a seed."""
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
                attributes[name] = _StatelessGenerator(
                    seed + keras.ops.convert_to_tensor([number, 0], dtype=seed.dtype)
                )
            yield
        finally:
            for attributes, name, value in held:
                attributes[name] = value


def check_seeded(function: Callable[[Any, Tensor], Any], spec: Any) -> None:
    """Raise a `ValueError` if a function `(x, seed)` uses random numbers that do not follow from its seed.

    Args:
        function: The return value of `make_stateless`.
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
        if (op := op_def_registry.get(name)) is not None and op.is_stateful and not _is_harmless(name)
    ]
    if drawn:
        raise ValueError(expected("augmentation that depends on its seed alone", ", ".join(drawn), _FIX))


def _is_harmless(name: str) -> bool:
    return any(name.startswith(each) or name.endswith(each) for each in _HARMLESS)


def to_record(augment: Any) -> dict[str, Any]:
    """Return the record of an augmentation for the manifest: its name and a hash of its configuration.

    A function is recorded by its name alone; if it changes, the hashes of the views change.
    """
    if augment is None:
        return {"name": None, "fingerprint": None}
    if isinstance(augment, (list, tuple, keras.Sequential)):
        parts = [to_record(each) for each in getattr(augment, "layers", augment)]
        names = ", ".join(each["name"] for each in parts)
        return {"name": names, "fingerprint": fingerprints.hash_json([each["fingerprint"] for each in parts])}
    if isinstance(augment, keras.layers.Layer):
        return {"name": type(augment).__name__, "fingerprint": _hash_layer(augment)}
    if isinstance(augment, functools.partial):
        inner = to_record(augment.func)
        given = [repr(augment.args), sorted((name, repr(each)) for name, each in augment.keywords.items())]
        return {"name": inner["name"], "fingerprint": fingerprints.hash_json([inner["fingerprint"], given])}
    named = augment if hasattr(augment, "__qualname__") else type(augment)
    return {"name": named.__qualname__, "fingerprint": None}


def _hash_layer(layer: keras.layers.Layer) -> str:
    config = _drop_seeds(keras.saving.serialize_keras_object(layer))
    digest = hashlib.sha256(fingerprints.hash_config(config).encode())
    for weight in layer.weights:
        digest.update(keras.ops.convert_to_numpy(weight).tobytes())
    return digest.hexdigest()


def _drop_seeds(config: Any) -> Any:
    """Return a configuration without the seeds, which a replay replaces."""
    if isinstance(config, dict):
        return {name: _drop_seeds(each) for name, each in config.items() if name != "seed"}
    return [_drop_seeds(each) for each in config] if isinstance(config, (list, tuple)) else config
