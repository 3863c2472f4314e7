"""The layers of a model by path, name or pattern, nested ones included, and the shapes of what they return."""

import collections
import difflib
import fnmatch
from typing import Any, NamedTuple

import keras

from keras_distill._core.messages import expected, unknown_name
from keras_distill._core.watching import REMATERIALISED
from keras_distill.features.tracing import check_built, shapes_of, trace

ACTIVATIONS = (
    keras.layers.Activation,
    keras.layers.ELU,
    keras.layers.LeakyReLU,
    keras.layers.PReLU,
    keras.layers.ReLU,
    keras.layers.Softmax,
)
"""The layers that are nothing but an activation."""

_LISTED = 20
"""How many names a message lists at most."""


class Step(NamedTuple):
    """One layer's part in a forward pass."""

    path: str
    layer: Any
    given: Any
    returned: Any
    part: bool
    """Whether the layer is a part of one of Keras's own."""


def named_layers(model):
    """Return every layer inside a model by its path, containers before what they contain.

    Args:
        model: A `keras.Model`.

    Returns:
        A dict of `"backbone/block_3"` to layer. A layer that is held in two places has the path nearest to the model;
        a second layer of the same path is numbered, `"block_1"`. Input layers are left out.
    """
    found = {}
    _collect(model, "", found, {id(model)})
    return found


def _collect(container, prefix, found, seen):
    own = {}
    for layer in container._flatten_layers(include_self=False, recursive=False):
        if not isinstance(layer, keras.layers.InputLayer) and id(layer) not in seen:
            seen.add(id(layer))
            own[_free(prefix + layer.name, collections.ChainMap(own, found))] = layer
    # All of one level are claimed before any of the next.
    for path, layer in own.items():
        found[path] = layer
        _collect(layer, path + "/", found, seen)


def _free(path, taken):
    number, free = 0, path
    while free in taken:
        number += 1
        free = f"{path}_{number}"
    return free


def call_of(layer):
    """Return the name of the method that Keras runs when a layer is called, or of the one that makes it."""
    if getattr(layer, "_remat_mode", None):
        return REMATERIALISED
    return "quantized_call" if layer.quantization_mode is not None else "call"


def forward_steps(model, sized=False):
    """Run a model once on symbolic inputs.

    Args:
        model: A built `keras.Model`.
        sized: Whether images of unknown size are given one. Defaults to `False`.

    Returns:
        The final output and a list of `Step`, one for each call of a layer, in the order in which they return.
    """
    layers = named_layers(model)
    paths = {id(layer): path for path, layer in layers.items()}
    output, events = trace(model, [(layer, call_of(layer)) for layer in layers.values()], sized=sized)
    steps = []
    for event in events:
        path = paths[id(event.layer)]
        steps.append(Step(path, event.layer, event.given, event.returned, _is_part(path, layers)))
    return output, steps


def layer_shapes(model):
    """Return the output shape of every layer of a model, found in one symbolic forward pass.

    Args:
        model: A `keras.Model` whose input shape is known: Functional, Sequential, or subclassed and built or called.

    Returns:
        A dict of path to shape (a tuple, with `None` for the batch and unknown lengths; a nest of them for layers of
        several outputs), in the order in which the layers return. A layer that never runs is left out.

    Raises:
        ValueError: If the model is not built, or cannot be run symbolically.

    Example:

    >>> layers = [keras.Input((8, 8, 3)), keras.layers.Conv2D(4, 3, name="map"), keras.layers.Flatten(name="flat")]
    >>> layer_shapes(keras.Sequential(layers))
    {'map': (None, 6, 6, 4), 'flat': (None, 144)}
    """
    check_built(model, "model", "shapes")
    return {step.path: shapes_of(step.returned) for step in forward_steps(model)[1]}


def find_layer(model, path, role="model"):
    """Return one layer of a model.

    Args:
        model: A `keras.Model`.
        path: Path `"backbone/block_3"` of the layer, or its name alone where no other layer has it.
        role: What the messages call the model. Defaults to `"model"`.

    Returns:
        A `keras.layers.Layer`.

    Raises:
        ValueError: If there is no such layer, or several of that name.

    Example:

    >>> inner = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3, name="hidden")], name="inner")
    >>> model = keras.Sequential([keras.Input((4,)), inner, keras.layers.Dense(2)])
    >>> find_layer(model, "hidden") is find_layer(model, "inner/hidden") is inner.get_layer("hidden")
    True
    """
    layers = named_layers(model)
    return layers[_exact(layers, path, role)]


def find_layers(model, name_or_pattern, role="teacher"):
    """Return the full paths of the layers that a name or a pattern stands for.

    Args:
        model: A `keras.Model`.
        name_or_pattern: Path of a layer; its name alone, where no other layer has it; or a pattern with `*`, `?` or
            `[...]`, of names (`"block_*_add"`, wherever the layers lie) or of paths, part by part
            (`"backbone/block_*_add"`).
        role: What the messages call the model. Defaults to `"teacher"`.

    Returns:
        A list of paths: one for a name; for a pattern all that match, models inside the model included, in the order
        in which the forward pass runs them. What Keras's own layers are made of matches by path alone.

    Raises:
        ValueError: If nothing has that name or matches, or several layers have the name.

    Example:

    >>> layers = [keras.layers.Dense(3, name=f"stage_{index}") for index in range(3)]
    >>> model = keras.Sequential([keras.Input((4,)), *layers, keras.layers.Dense(2)])
    >>> find_layers(model, "stage_[12]")
    ['stage_1', 'stage_2']
    """
    layers = named_layers(model)
    if not is_pattern(name_or_pattern) or name_or_pattern in layers:
        return [_exact(layers, name_or_pattern, role)]
    visible = layers if "/" in name_or_pattern else _visible(layers)
    paths = [path for path in _in_order(model, layers) if path in visible and _matches(path, name_or_pattern)]
    if not paths:
        raise _unknown(layers, name_or_pattern, role)
    return paths


def is_pattern(name):
    """Tell whether a name has wildcards."""
    return any(character in name for character in "*?[")


def in_loop(model, layer):
    """Tell whether a layer is run step by step, by a recurrent layer or `TimeDistributed`."""
    layers = named_layers(model)
    (path,) = [path for path, each in layers.items() if each is layer]
    return any(isinstance(each, (keras.layers.RNN, keras.layers.TimeDistributed)) for each in _above(path, layers))


def in_rematerialised(model, layer):
    """Tell whether a layer is inside one, or a model, that computes its activations again in the backward pass."""
    layers = named_layers(model)
    (path,) = [path for path, each in layers.items() if each is layer]
    return any(map(is_rematerialised, [model, *_above(path, layers)]))


def is_rematerialised(layer):
    """Tell whether a layer was made in a `keras.RematScope` that lets it compute its activations again."""
    scope = getattr(layer, "_remat_mode", None)
    if scope is None or scope.mode == "activations":
        return False
    return scope.mode != "list_of_layers" or layer.name in scope.layer_names


def _above(path, layers):
    names = path.split("/")
    return [layers["/".join(names[:length])] for length in range(1, len(names))]


def is_of(layer, module):
    """Tell whether a layer is of a kind that a module of Keras has."""
    kinds = [kind for kind in type(layer).__mro__ if kind is not keras.layers.Layer]
    return any(kind.__module__.startswith(f"keras.src.layers.{module}") for kind in kinds)


def _is_part(path, layers):
    """Tell whether a path leads into one of Keras's own layers: what that is made of is its own business."""
    return any(is_of(layer, "") for layer in _above(path, layers))


def _visible(layers):
    return {path: layer for path, layer in layers.items() if not _is_part(path, layers)}


def _in_order(model, layers):
    try:
        order = list(layer_shapes(model))
    except ValueError:
        order = []  # Of a model that cannot be run: the order in which it holds its layers.
    return order or list(layers)


def _matches(path, pattern):
    if "/" not in pattern:
        return fnmatch.fnmatchcase(path.rsplit("/", 1)[-1], pattern)
    parts, patterns = path.split("/"), pattern.split("/")
    return len(parts) == len(patterns) and all(map(fnmatch.fnmatchcase, parts, patterns))


def _exact(layers, name, role):
    """Return the path of the layer that a path or name stands for."""
    candidates = [name] if name in layers else [path for path, layer in layers.items() if layer.name == name]
    if not candidates:
        raise _unknown(layers, name, role)
    if len(candidates) > 1:
        received = f"{name!r}, the name of {len(candidates)} layers"
        fix = f"Name one by its path: {', '.join(candidates[:_LISTED])}."
        raise ValueError(expected(f"{_kind(role)} to be the name of one layer", received, fix))
    return candidates[0]


def _unknown(layers, name, role):
    layers = _visible(layers)
    count = collections.Counter(layer.name for layer in layers.values())
    known = [layer.name if count[layer.name] == 1 else path for path, layer in layers.items()]
    if len(known) > _LISTED:
        known = difflib.get_close_matches(str(name), known, n=_LISTED, cutoff=0.0)
    return ValueError(unknown_name(_kind(role), name, known))


def _kind(role):
    return f"{role}_layer_name" if role in ("teacher", "student") else f"the name of a layer of the {role}"
