"""Taking features from a model in its one forward pass, by the paths of its layers."""

import keras

from keras_distill._core.messages import expected
from keras_distill._core.models import run
from keras_distill._core.tensors import mask_of, set_mask
from keras_distill._core.watching import watching
from keras_distill.features.layers import (
    ACTIVATIONS,
    call_of,
    find_layer,
    in_loop,
    in_rematerialised,
    is_rematerialised,
)
from keras_distill.features.tracing import check_built, leaks, shapes_of, trace

FINAL_OUTPUT = "final_output"
"""The key of what the model returns."""

_BEFORE = ":preactivation"


def tap(path, preactivation=False):
    """Return the key of the features of a layer.

    Args:
        path: Path or name of the layer.
        preactivation: Whether to take what its activation is given. Defaults to `False`.

    Returns:
        A string.

    Example:

    >>> tap("stage_2"), tap("stage_2", preactivation=True)
    ('stage_2', 'stage_2:preactivation')
    """
    return path + _BEFORE if preactivation else path


class FeatureExtractor:
    """Run a model once, and return the features of some of its layers beside its final output.

    The model runs as it is, be it Functional, Sequential or subclassed: nothing is rebuilt, copied or cut out of it.
    Its layers are watched while it runs, and left as they were. It is no Keras layer and holds no weights.

    Args:
        model: A built `keras.Model`.
        taps: List of keys, see `tap`: the path of a layer, or its name where no other layer has it, with the suffix
            `":preactivation"` for what its activation is given. That is what an activation layer is given, and the
            output of a layer without activation.
        role: What the messages call the model. Defaults to `"model"`.

    Attributes:
        shapes: Dict of key to static shape, `None` for the batch and unknown lengths; all `None` where the model does
            not tell the shape of its inputs, or cannot be run symbolically.
        outputs: The keys, one for each output.

    Raises:
        ValueError: If the model is not built, has no such layer, or runs one not at all or several times.

    Example:

    >>> layers = [keras.Input((4,)), keras.layers.Dense(3, activation="relu", name="hidden"), keras.layers.Dense(2)]
    >>> extractor = FeatureExtractor(keras.Sequential(layers), ["hidden", "hidden:preactivation"])
    >>> extractor.shapes
    {'final_output': (None, 2), 'hidden': (None, 3), 'hidden:preactivation': (None, 3)}
    >>> features = extractor(keras.ops.ones((5, 4)))
    >>> bool(keras.ops.all(features["hidden"] == keras.ops.relu(features["hidden:preactivation"])))
    True
    """

    def __init__(self, model, taps, role="model"):
        keys = list(dict.fromkeys(taps))
        if FINAL_OUTPUT in keys:
            raise ValueError(expected("a layer of another name: it is what the final output is called", FINAL_OUTPUT))
        check_built(model, role, keys)
        self.model = model
        self._taps = {key: _Tap(model, key, role) for key in keys}
        self.outputs = [FINAL_OUTPUT, *keys]
        self.shapes = self._find_shapes()

    def __call__(self, x, training=None, forward=None):
        """Run the model once.

        Args:
            x: A batch of inputs, as the model takes it, or symbolic inputs.
            training: Whether it is for training. Defaults to `None`: as Keras sees fit.
            forward: Function of the inputs that runs the model in another way than calling it. Defaults to `None`.

        Returns:
            A dict of `"final_output"` and, by key, the features.
        """
        if any(isinstance(each, keras.KerasTensor) for each in keras.tree.flatten(x)):
            return Extraction(self)(x, training=training)
        with watching(self._methods()) as events:
            output = run(self.model, x, training) if forward is None else forward(x)
        return self._gather(output, events)

    def _methods(self):
        return [method for each in self._taps.values() for method in each.methods()]

    def _find_shapes(self):
        for training in (False, True):  # Some layers run in training alone.
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
                raise _hidden(key)
        return {FINAL_OUTPUT: output, **features}


class Extraction(keras.layers.Layer):
    """An extraction on symbolic inputs: a layer of the graph that they are part of, which owns the model's weights."""

    def __init__(self, extractor):
        super().__init__()
        self.model = extractor.model
        self._extractor = extractor
        self.built = True

    def call(self, inputs, training=None):
        return self._extractor(inputs, training)


class _Tap:
    """What to watch for one key, and which of the events it stands for."""

    def __init__(self, model, key, role):
        self._path = key.removesuffix(_BEFORE)
        self._layer = find_layer(model, self._path, role)
        if in_loop(model, self._layer):
            raise _hidden(self._path)
        self._before = None
        if key != self._path and isinstance(self._layer, ACTIVATIONS):
            self._before = call_of(self._layer)
        elif key != self._path and _has_activation(self._layer):
            self._before = "activation"
        inside = self._before == "activation" and is_rematerialised(self._layer)
        if role != "teacher" and (inside or in_rematerialised(model, self._layer)):
            raise _computed_again(key)

    def methods(self):
        names = {call_of(self._layer), self._before} - {None}
        return [(self._layer, name) for name in names]

    def feature(self, events):
        output = self._only(events, call_of(self._layer)).returned
        if self._before is None:
            return output
        given = self._only(events, self._before).given
        mask = mask_of(output)
        if mask is not None and mask_of(given) is None:
            set_mask(given, mask)  # Keras marks what layers return, not what is inside them.
        return given

    def _only(self, events, method):
        found = [event for event in events if event.layer is self._layer and event.method == method]
        if len(found) != 1:
            received = f"the activation of {self._path!r}" if method == "activation" else repr(self._path)
            received += f", which ran {len(found)} times"
            raise ValueError(expected("a layer that runs once in a forward pass", received))
        return found[0]


def _has_activation(layer):
    activation = getattr(layer, "activation", None)
    return callable(activation) and activation is not keras.activations.linear


def _computed_again(name):
    received = f"{name!r}, inside what `keras.RematScope` lets be computed again: no gradient would reach it"
    fix = "Make the layers in the scope, and the model, or the layer that holds them, outside it."
    return ValueError(expected("features that are there in the backward pass", received, fix))


def _hidden(name):
    received = f"{name!r}, which runs in a loop or function inside the model"
    return ValueError(expected("a layer whose output is there after the forward pass", received))
