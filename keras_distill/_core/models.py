"""Small questions about Keras models, and a box that hides one from Keras."""

import inspect
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import keras

from keras_distill._core.tensors import remember_origin, remembering_logits

if TYPE_CHECKING:
    ModelMixin = keras.Model
else:
    ModelMixin = object
"""The base of a class that is mixed into a `keras.Model`: to the type checker, the model itself."""


class Untracked:
    """A box that Keras does not look into: nothing inside is tracked, trained or saved."""

    def __init__(self, content: Any):
        self.content = content


def accepts(function: Callable, argument: str) -> bool:
    """Return whether a function takes an argument by that name."""
    parameters = inspect.signature(function).parameters
    return argument in parameters or any(each.kind is each.VAR_KEYWORD for each in parameters.values())


def run(model: keras.Model, inputs: Any, training: bool | None) -> Any:
    """Call a model; on every backend, its outputs remember what kind of head they come from."""
    with remembering_logits(model):
        outputs = model(inputs, training=training)
    remember_origin(outputs, model, inputs)
    return outputs


def uses_float16(layer: keras.layers.Layer) -> bool:
    """Return whether a layer, or one inside it, computes in mixed float16 and so needs its loss scaled."""
    return layer.dtype_policy.name == "mixed_float16" or any(map(uses_float16, getattr(layer, "layers", ())))
