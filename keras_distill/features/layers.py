"""Find the layers of a model, including nested ones, by path, name or pattern, and the shapes of their outputs."""

import collections
import difflib
import fnmatch
from typing import Any, NamedTuple

import keras

from keras_distill._core.checked import checked
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
"""The layers that only apply an activation."""

_MOST_NAMES = 20
"""The largest number of names in a message."""


class Step(NamedTuple):
    """One call of a layer in a forward pass."""

    path: str
    layer: Any
    given: Any
    """The input of the call."""
    returned: Any
    """The output of the call."""
    part: bool
    """Whether the layer is inside one of Keras's own layers."""


def named_layers(model: keras.Model) -> dict[str, Any]:
    """Return every layer inside a model by its path, with containers before their contents.

    Args:
        model: A `keras.Model`.

    Returns:
        A dict from path, such as `"backbone/block_3"`, to layer. A layer that is held in two places has the shorter
        path. A second layer with the same path is numbered: `"block_1"`. Input layers are left out.
    """
    found: dict[str, Any] = {}
    _collect(model, "", found, {id(model)})
    return found


def _collect(container, prefix, found, seen):
    own = {}
    for layer in container._flatten_layers(include_self=False, recursive=False):
        if not isinstance(layer, keras.layers.InputLayer) and id(layer) not in seen:
            seen.add(id(layer))
            own[_make_unique(prefix + layer.name, collections.ChainMap(own, found))] = layer
    # All layers of a level come before those of the next level.
    for path, layer in own.items():
        found[path] = layer
        _collect(layer, path + "/", found, seen)


def _make_unique(path, taken):
    number, unique = 0, path
    while unique in taken:
        number += 1
        unique = f"{path}_{number}"
    return unique


def call_of(layer: Any) -> str:
    """Return the name of the method that Keras runs when a layer is called, or of the one that creates it."""
    if getattr(layer, "_remat_mode", None):
        return REMATERIALISED
    return "quantized_call" if layer.quantization_mode is not None else "call"


def forward_steps(model: keras.Model, sized: bool = False) -> tuple[Any, list[Step]]:
    """Run a model once on symbolic inputs.

    Args:
        model: A built `keras.Model`.
        sized: Whether to give images of unknown size a fixed one. Defaults to `False`.

    Returns:
        The final output and a list with a `Step` for each call of a layer, in the order in which they return.
    """
    layers = named_layers(model)
    paths = {id(layer): path for path, layer in layers.items()}
    output, events = trace(model, [(layer, call_of(layer)) for layer in layers.values()], sized=sized)
    steps = []
    for event in events:
        path = paths[id(event.layer)]
        steps.append(Step(path, event.layer, event.given, event.returned, _is_part(path, layers)))
    return output, steps


@checked()
def layer_shapes(model: keras.Model) -> dict[str, Any]:
    """Return the output shape of every layer of a model, from one symbolic forward pass.

    Args:
        model: A `keras.Model` whose input shape is known: Functional, Sequential, or subclassed and built or called.

    Returns:
        A dict from path to shape, in the order in which the layers return. A shape is a tuple with `None` for the batch
        and unknown lengths, or a nest of tuples for a layer with several outputs. Layers that never run are left out.

    Raises:
        ValueError: If the model is not built, or cannot be run symbolically.

    Example:

    >>> layers = [keras.Input((8, 8, 3)), keras.layers.Conv2D(4, 3, name="map"), keras.layers.Flatten(name="flat")]
    >>> layer_shapes(keras.Sequential(layers))
    {'map': (None, 6, 6, 4), 'flat': (None, 144)}
    """
    check_built(model, "model", "shapes")
    return {step.path: shapes_of(step.returned) for step in forward_steps(model)[1]}


@checked()
def find_layer(model: keras.Model, path: str, role: str = "model") -> Any:
    """Return one layer of a model.

    Args:
        model: A `keras.Model`.
        path: Path of the layer, such as `"backbone/block_3"`, or its name if no other layer has the same name.
        role: The role of the model, for the messages. Defaults to `"model"`.

    Returns:
        A `keras.layers.Layer`.

    Raises:
        ValueError: If there is no such layer, or if several layers have the name.

    Example:

    >>> inner = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3, name="hidden")], name="inner")
    >>> model = keras.Sequential([keras.Input((4,)), inner, keras.layers.Dense(2)])
    >>> find_layer(model, "hidden") is find_layer(model, "inner/hidden") is inner.get_layer("hidden")
    True
    """
    layers = named_layers(model)
    return layers[_find_path(layers, path, role)]


@checked()
def find_layers(model: keras.Model, name_or_pattern: str, role: str = "teacher") -> list[str]:
    """Return the full paths of the layers that a name or a pattern selects.

    Args:
        model: A `keras.Model`.
        name_or_pattern: Path of a layer; its name, if no other layer has the same name; or a pattern with `*`, `?` or
            `[...]`. A pattern matches names anywhere in the model (`"block_*_add"`), or the parts of paths
            (`"backbone/block_*_add"`).
        role: The role of the model, for the messages. Defaults to `"teacher"`.

    Returns:
        A list of paths: one for a name, or all matches of a pattern, also inside nested models, in the order of the
        forward pass. Layers inside Keras's own layers match only patterns of paths.

    Raises:
        ValueError: If no layer matches, or if several layers have the name.

    Example:

    >>> layers = [keras.layers.Dense(3, name=f"stage_{index}") for index in range(3)]
    >>> model = keras.Sequential([keras.Input((4,)), *layers, keras.layers.Dense(2)])
    >>> find_layers(model, "stage_[12]")
    ['stage_1', 'stage_2']
    """
    layers = named_layers(model)
    if not is_pattern(name_or_pattern) or name_or_pattern in layers:
        return [_find_path(layers, name_or_pattern, role)]
    visible = layers if "/" in name_or_pattern else _drop_parts(layers)
    paths = [path for path in _sort_paths(model, layers) if path in visible and _matches(path, name_or_pattern)]
    if not paths:
        raise _unknown_layer(layers, name_or_pattern, role)
    return paths


def is_pattern(name: str) -> bool:
    """Return whether a name has wildcards."""
    return any(character in name for character in "*?[")


def is_in_loop(model: keras.Model, layer: Any) -> bool:
    """Return whether a layer runs once for each time step, in a recurrent layer or `TimeDistributed`."""
    loops = (keras.layers.RNN, keras.layers.TimeDistributed)
    return any(isinstance(each, loops) for each in _containers(model, layer))


def is_in_rematerialized(model: keras.Model, layer: Any) -> bool:
    """Return whether a layer is in a layer or model that recomputes its activations in the backward pass."""
    return any(map(is_rematerialized, [model, *_containers(model, layer)]))


def is_rematerialized(layer: Any) -> bool:
    """Return whether a layer was created in a `keras.RematScope` that makes it recompute its activations."""
    scope = getattr(layer, "_remat_mode", None)
    if scope is None or scope.mode == "activations":
        return False
    return scope.mode != "list_of_layers" or layer.name in scope.layer_names


def _containers(model, layer):
    """Return the layers that contain a layer of a model."""
    layers = named_layers(model)
    (path,) = [path for path, each in layers.items() if each is layer]
    return _parents(path, layers)


def _parents(path, layers):
    names = path.split("/")
    return [layers["/".join(names[:length])] for length in range(1, len(names))]


def is_from(layer: Any, module: str) -> bool:
    """Return whether the class of a layer, or one of its base classes, is from a module of `keras.layers`."""
    kinds = [kind for kind in type(layer).__mro__ if kind is not keras.layers.Layer]
    return any(kind.__module__.startswith(f"keras.src.layers.{module}") for kind in kinds)


def _is_part(path, layers):
    """Return whether a path leads into one of Keras's own layers, whose inner layers are implementation details."""
    return any(is_from(layer, "") for layer in _parents(path, layers))


def _drop_parts(layers):
    return {path: layer for path, layer in layers.items() if not _is_part(path, layers)}


def _sort_paths(model, layers):
    try:
        order = list(layer_shapes(model))
    except ValueError:
        order = []  # A model that cannot run symbolically: the order in which it holds its layers.
    return order or list(layers)


def _matches(path, pattern):
    if "/" not in pattern:
        return fnmatch.fnmatchcase(path.rsplit("/", 1)[-1], pattern)
    parts, patterns = path.split("/"), pattern.split("/")
    return len(parts) == len(patterns) and all(map(fnmatch.fnmatchcase, parts, patterns))


def _find_path(layers: dict[str, Any], name: str, role: str) -> str:
    """Return the path of the layer with a path or name."""
    candidates = [name] if name in layers else [path for path, layer in layers.items() if layer.name == name]
    if not candidates:
        raise _unknown_layer(layers, name, role)
    if len(candidates) > 1:
        received = f"{name!r}, the name of {len(candidates)} layers"
        fix = f"Name one by its path: {', '.join(candidates[:_MOST_NAMES])}."
        raise ValueError(expected(f"{_describe(role)} to be the name of one layer", received, fix))
    return candidates[0]


def _unknown_layer(layers, name, role):
    layers = _drop_parts(layers)
    count = collections.Counter(layer.name for layer in layers.values())
    known = [layer.name if count[layer.name] == 1 else path for path, layer in layers.items()]
    if len(known) > _MOST_NAMES:
        known = difflib.get_close_matches(str(name), known, n=_MOST_NAMES, cutoff=0.0)
    return ValueError(unknown_name(_describe(role), name, known))


def _describe(role):
    return f"{role}_layer_name" if role in ("teacher", "student") else f"the name of a layer of the {role}"
