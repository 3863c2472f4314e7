"""What a tensor is beyond its values: eager or not, its Keras mask, the logits behind a softmax, its model."""

import contextlib
import weakref
from typing import Any, NamedTuple

import keras

# Keras keeps masks here, since tensors that JAX traces take no attributes.
from keras.src.backend.common.tensor_attributes import get_tensor_attr, set_tensor_attr

from keras_distill._core.watching import watching

_MASK = "_keras_mask"
_LOGITS = "_keras_logits"
_HEAD = "_keras_distill_head"
_ORIGIN = "_keras_distill_origin"


def mask_of(tensor: Any) -> Any:
    """Return the Keras mask of a tensor, or `None`."""
    return get_tensor_attr(tensor, _MASK)


def set_mask(tensor: Any, mask: Any) -> None:
    """Set the Keras mask of a tensor; `None` removes it."""
    set_tensor_attr(tensor, _MASK, mask)


def expand_like(weight: Any, values: Any) -> Any:
    """Append axes of length one to `weight` until it has the rank of `values`."""
    weight = keras.ops.convert_to_tensor(weight)
    missing = len(values.shape) - len(weight.shape)
    return keras.ops.reshape(weight, keras.ops.shape(weight) + (1,) * missing) if missing > 0 else weight


def within_mask(tensor: Any) -> Any:
    """Replace padded positions by zeros, see `unmasked`, and keep the mask."""
    if mask_of(tensor) is None:
        return tensor
    masked = unmasked(tensor)
    set_mask(masked, mask_of(tensor))
    return masked


def unmasked(tensor: Any) -> Any:
    """Return a tensor without its mask, and with zeros at the positions that the mask leaves out.

    These may hold anything: a NaN would stay one in a gradient that is multiplied by zero.
    """
    mask = mask_of(tensor)
    if mask is None:
        return tensor
    return keras.ops.where(keras.ops.cast(expand_like(mask, tensor), "bool"), tensor, keras.ops.zeros_like(tensor))


def activation_of(output: Any) -> Any:
    """Return the input of the activation that returned `output`, and `"softmax"` or `"sigmoid"`; `None` if unknown."""
    return get_tensor_attr(output, _LOGITS), get_tensor_attr(output, _HEAD)


class Origin(NamedTuple):
    """Where an output of a model comes from, for tensors that do not know the operation behind them.

    Attributes:
        model: Weak reference to the model.
        place: Which of the outputs it is, in flat order.
        structure: The structure of the inputs.
        inputs: Shape and dtype of each input, in flat order.
    """

    model: Any
    place: int
    structure: Any
    inputs: tuple[tuple[tuple[int | None, ...], str], ...]


def origin_of(output: Any) -> Origin | None:
    """Return the model and the inputs that an output was computed from, or `None` if they are unknown."""
    return get_tensor_attr(output, _ORIGIN)


def remember_origin(outputs: Any, model: keras.Model, inputs: Any) -> None:
    """Let the outputs of a model remember it and its inputs, unless they know the operation behind them.

    Args:
        outputs: What the model returned, a tensor or a nest of tensors.
        model: The model.
        inputs: The inputs that it was called with.
    """
    leaves = [each for each in keras.tree.flatten(outputs) if hasattr(each, "shape")]
    if keras.backend.backend() == "tensorflow" and not all(map(is_eager, leaves)):
        return
    given = keras.tree.flatten(inputs)
    if all(hasattr(each, "shape") and hasattr(each, "dtype") for each in given):
        found = tuple((tuple(each.shape), keras.backend.standardize_dtype(each.dtype)) for each in given)
        structure = keras.tree.map_structure(lambda each: 0, inputs)
        for place, output in enumerate(leaves):
            set_tensor_attr(output, _ORIGIN, Origin(weakref.ref(model), place, structure, found))


def set_activation(output: Any, logits: Any, head: str) -> None:
    """Note on `output` that the activation `head`, `"softmax"` or `"sigmoid"`, has returned it for `logits`."""
    set_tensor_attr(output, _LOGITS, logits)
    set_tensor_attr(output, _HEAD, head)


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
