"""What a tensor is beyond its values: eager or not, its Keras mask, the logits behind a softmax."""

import contextlib
from typing import Any

import keras

# Keras keeps masks here, since tensors that JAX traces take no attributes.
from keras.src.backend.common.tensor_attributes import get_tensor_attr, set_tensor_attr

from keras_distill._core.watching import watching

_MASK = "_keras_mask"
_LOGITS = "_keras_logits"
_HEAD = "_keras_distill_head"


def mask_of(tensor: Any) -> Any:
    """Return the Keras mask of a tensor, or `None`."""
    return get_tensor_attr(tensor, _MASK)


def set_mask(tensor: Any, mask: Any) -> None:
    """Set the Keras mask of a tensor; `None` removes it."""
    set_tensor_attr(tensor, _MASK, mask)


def activation_of(output: Any) -> Any:
    """Return the input of the activation that returned `output`, and `"softmax"` or `"sigmoid"`; `None` if unknown."""
    return get_tensor_attr(output, _LOGITS), get_tensor_attr(output, _HEAD)


def whole_numbers(tensor: Any) -> Any:
    """Return integers in the widest integer dtype of the backend."""
    return keras.ops.cast(tensor, "int32" if keras.backend.backend() == "jax" else "int64")


def same_shape(one: Any, other: Any) -> bool:
    """Return whether two shapes agree wherever both are known."""
    return len(one) == len(other) and all(a == b or None in (a, b) for a, b in zip(one, other, strict=True))


def is_eager(tensor: Any) -> bool:
    """Return whether a tensor has values, rather than being a placeholder in a graph."""
    if keras.backend.backend() != "jax":
        return hasattr(tensor, "numpy")
    import jax

    return isinstance(tensor, jax.Array) and not isinstance(tensor, jax.core.Tracer)


@contextlib.contextmanager
def remembering_logits(model: keras.Model) -> Any:
    """Let the outputs of a model's softmax and sigmoid activations remember their inputs while the model runs.

    Keras's activations do that themselves where tensors take attributes.

    Args:
        model: A `keras.Model`.
    """
    if keras.backend.backend() != "jax":
        yield
        return

    heads = {(id(layer), name): head for layer, name, head in _heads(model)}
    with watching([(layer, name) for layer, name, _ in _heads(model)]) as events:
        yield
    for event in events:
        set_tensor_attr(event.returned, _LOGITS, event.given)
        set_tensor_attr(event.returned, _HEAD, heads[id(event.layer), event.method])


def _heads(model):
    """Return the layers of a model with such an activation, the method to watch, and the name of the activation."""
    names = {keras.activations.softmax: "softmax", keras.activations.sigmoid: "sigmoid"}
    layers = getattr(model, "_flatten_layers", list)()
    found = [(layer, "call", "softmax") for layer in layers if isinstance(layer, keras.layers.Softmax)]
    for layer in layers:
        activation = getattr(layer, "activation", None)
        if callable(activation) and activation in names:
            found.append((layer, "activation", names[activation]))
    return found
