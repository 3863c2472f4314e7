"""A member of an ensemble: a model that sees its inputs, or orders its classes, in its own way."""

import inspect
from typing import Any

import keras

from keras_distill._core.checked import checked
from keras_distill._core.messages import expected
from keras_distill.teachers.class_map import map_classes
from keras_distill.teachers.combined import CombinedTeacher, check_member, infer


@keras.saving.register_keras_serializable(package="keras_distill")
class Member(CombinedTeacher):
    """Wrap a model that needs its own preprocessing, or has its own order of classes.

    Use it as a member of an `Ensemble`, or as a teacher.

    Args:
        model: A `keras.Model` that returns logits or ends in a softmax.
        preprocessing: A Keras layer or model (run in inference mode), or a function registered with
            `keras.saving.register_keras_serializable`, that turns the inputs of the ensemble into those of the model.
            Defaults to `None`, no preprocessing.
        classes: The class of the ensemble that each class of the model is, as in `map_classes`. Defaults to `None`:
            they are the same.
        name: Name of the model. Defaults to `"member"`.
        **kwargs: Passed to `keras.Model`.

    Raises:
        ValueError: If `model` is not a Keras model, the preprocessing cannot be saved, or the classes do not fit.

    Example:

    >>> import numpy as np
    >>> model = keras.Sequential([keras.Input((2, 2, 1)), keras.layers.Flatten(), keras.layers.Dense(3)])
    >>> member = Member(model, preprocessing=keras.layers.Resizing(2, 2), classes=[2, 0, 1])
    >>> member(np.ones((5, 8, 8, 1), "float32")).shape
    TensorShape([5, 3])
    """

    _nested = ("model", "preprocessing")

    @checked()
    def __init__(
        self, model: keras.Model, preprocessing: Any = None, classes: Any = None, name: str = "member", **kwargs: Any
    ):
        check_member("model", model)
        check_preprocessing(preprocessing)
        model = model if classes is None else map_classes(model, classes)
        super().__init__([model], seen_by=[model if preprocessing is None else preprocessing], name=name, **kwargs)
        self.model = model
        self.preprocessing = preprocessing

    def soft_targets(self, inputs: Any) -> Any:
        return infer(self.model, self._preprocessed(inputs))

    def _preprocessed(self, inputs):
        if self.preprocessing is None:
            return inputs
        layer = isinstance(self.preprocessing, keras.layers.Layer)
        return self.preprocessing(inputs, training=False) if layer else self.preprocessing(inputs)

    def get_config(self) -> dict[str, Any]:
        parts = {name: keras.saving.serialize_keras_object(getattr(self, name)) for name in self._nested}
        return {**super().get_config(), **parts}


def check_preprocessing(preprocessing: Any) -> None:
    """Raise a `ValueError` unless it can be saved with the model: a layer, or a registered function or object."""
    if preprocessing is None or isinstance(preprocessing, keras.layers.Layer):
        return
    kind = preprocessing if inspect.isfunction(preprocessing) else type(preprocessing)
    registered = keras.saving.get_registered_object(keras.saving.get_registered_name(kind)) is kind
    if not callable(preprocessing) or not registered:
        fix = "Decorate your function with `@keras.saving.register_keras_serializable()`, or use a Keras layer."
        raise ValueError(
            expected("preprocessing to be a Keras layer or a registered function", repr(preprocessing), fix)
        )
