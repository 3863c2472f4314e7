"""Take features from a model during its forward pass, by the paths of its layers."""

from collections.abc import Callable, Iterable
from typing import Any

import keras

from keras_distill._core.checked import checked
from keras_distill._core.messages import expected
from keras_distill._core.models import run
from keras_distill._core.tensors import mask_of, set_mask
from keras_distill._core.watching import watching
from keras_distill.features.layers import (
    ACTIVATIONS,
    call_of,
    find_layer,
    is_in_loop,
    is_in_rematerialized,
    is_rematerialized,
)
from keras_distill.features.tracing import check_built, leaks, shapes_of, trace

FINAL_OUTPUT = "final_output"
"""The key of the model's output."""

_PREACTIVATION = ":preactivation"


@checked()
def tap(path: str, preactivation: bool = False) -> str:
    """Return the key of the features of a layer.

    Args:
        path: Path or name of the layer.
        preactivation: Whether to take the input of its activation. Defaults to `False`.

    Returns:
        A string.

    Example:

    >>> tap("stage_2"), tap("stage_2", preactivation=True)
    ('stage_2', 'stage_2:preactivation')
    """
    return path + _PREACTIVATION if preactivation else path


class FeatureExtractor:
    """Run a model once, and return the features of some of its layers together with its final output.

    The model itself runs, whether Functional, Sequential or subclassed: no part of it is rebuilt or copied. Its layers
    are watched during the forward pass and are not changed. A `FeatureExtractor` is not a Keras layer and has no
    weights.

    Args:
        model: A built `keras.Model`.
        taps: List of keys, see `tap`: the path of a layer, or its name if no other layer has the same name, with the
            suffix `":preactivation"` for the input of its activation. For an activation layer this is its input, and
            for a layer without activation its output.
        role: The role of the model, for the messages. Defaults to `"model"`.

    Attributes:
        shapes: Dict from key to static shape, with `None` for the batch and unknown lengths. All shapes are `None` if
            the input shape of the model is unknown, or if the model cannot run symbolically.
        outputs: The keys, one for each output.

    Raises:
        ValueError: If the model is not built or has no such layer, or if a layer does not run exactly once.

    Example:

    >>> layers = [keras.Input((4,)), keras.layers.Dense(3, activation="relu", name="hidden"), keras.layers.Dense(2)]
    >>> extractor = FeatureExtractor(keras.Sequential(layers), ["hidden", "hidden:preactivation"])
    >>> extractor.shapes
    {'final_output': (None, 2), 'hidden': (None, 3), 'hidden:preactivation': (None, 3)}
    >>> features = extractor(keras.ops.ones((5, 4)))
    >>> bool(keras.ops.all(features["hidden"] == keras.ops.relu(features["hidden:preactivation"])))
    True
    """

    @checked()
    def __init__(self, model: keras.Model, taps: Iterable[str], role: str = "model"):
        keys = list(dict.fromkeys(taps))
        if FINAL_OUTPUT in keys:
            what = "a layer of another name, since this is the key of the final output"
            raise ValueError(expected(what, repr(FINAL_OUTPUT)))
        check_built(model, role, keys)
        self.model = model
        self._taps = {key: _Tap(model, key, role) for key in keys}
        self.outputs = [FINAL_OUTPUT, *keys]
        self.shapes = self._find_shapes()

    def __call__(self, x: Any, training: bool | None = None, forward: Callable | None = None) -> dict[str, Any]:
        """Run the model once.

        Args:
            x: A batch of inputs of the model, or symbolic inputs.
            training: Whether the model runs in training mode. Defaults to `None`: Keras decides.
            forward: Function of the inputs that runs the model in another way than calling it. Defaults to `None`.

        Returns:
            A dict of the final output, by the key `"final_output"`, and the features by their keys.
        """
        if any(isinstance(each, keras.KerasTensor) for each in keras.tree.flatten(x)):
            return Extraction(self)(x, training=training)
        with watching(self._methods()) as events:
            output = run(self.model, x, training) if forward is None else forward(x)
        return self._gather(output, events)

    def _methods(self):
        return [method for each in self._taps.values() for method in each.methods()]

    def _find_shapes(self):
        for training in (False, True):  # Some layers run in training only.
            try:
                output, events = trace(self.model, self._methods(), training)
            except ValueError:
                return dict.fromkeys(self.outputs)
            try:
                return {key: shapes_of(feature) for key, feature in self._gather(output, events).items()}
            except ValueError:
                if training:
                    raise

    def _gather(self, output, events):
        features = {key: each.feature(events) for key, each in self._taps.items()}
        for key, feature in features.items():
            if leaks(feature, output):
                raise _hidden_error(key)
        return {FINAL_OUTPUT: output, **features}


class Extraction(keras.layers.Layer):
    """An extraction on symbolic inputs: a layer of their graph that owns the model's weights."""

    def __init__(self, extractor: FeatureExtractor):
        super().__init__()
        self.model = extractor.model
        self._extractor = extractor
        self.built = True

    def call(self, inputs: Any, training: Any = None) -> Any:
        return self._extractor(inputs, training)


class _Tap:
    """The methods to watch for one key, and the selection of its features from the events."""

    def __init__(self, model: keras.Model, key: str, role: str):
        self._path = key.removesuffix(_PREACTIVATION)
        self._layer = find_layer(model, self._path, role)
        if is_in_loop(model, self._layer):
            raise _hidden_error(self._path)
        self._before: str | None = None
        if key != self._path and isinstance(self._layer, ACTIVATIONS):
            self._before = call_of(self._layer)
        elif key != self._path and _has_activation(self._layer):
            self._before = "activation"
        inside = self._before == "activation" and is_rematerialized(self._layer)
        if role != "teacher" and (inside or is_in_rematerialized(model, self._layer)):
            raise _rematerialized_error(key)

    def methods(self) -> Any:
        names = {call_of(self._layer), self._before} - {None}
        return [(self._layer, name) for name in names]

    def feature(self, events: Any) -> Any:
        output = self._find_event(events, call_of(self._layer)).returned
        if self._before is None:
            return output
        given = self._find_event(events, self._before).given
        mask = mask_of(output)
        if mask is not None and mask_of(given) is None:
            set_mask(given, mask)  # Keras sets masks on the outputs of layers, not inside them.
        return given

    def _find_event(self, events, method):
        found = [event for event in events if event.layer is self._layer and event.method == method]
        if len(found) != 1:
            received = f"the activation of {self._path!r}" if method == "activation" else repr(self._path)
            received += f", which ran {len(found)} times"
            raise ValueError(expected("a layer that runs once in a forward pass", received))
        return found[0]


def _has_activation(layer):
    activation = getattr(layer, "activation", None)
    return callable(activation) and activation is not keras.activations.linear


def _rematerialized_error(name):
    received = f"{name!r}, inside a layer that `keras.RematScope` recomputes: no gradient would reach it"
    fix = "Create the layers inside the scope, and the model or layer that contains them outside of it."
    return ValueError(expected("features that exist in the backward pass", received, fix))


def _hidden_error(name):
    received = f"{name!r}, which runs in a loop or function inside the model"
    return ValueError(expected("a layer whose output is accessible after the forward pass", received))
