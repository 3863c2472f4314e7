"""Find the last layer of a language model, and the layer that feeds it."""

import keras

from keras_distill._core.messages import expected
from keras_distill.features.layers import find_layer, forward_steps
from keras_distill.features.tracing import check_built, shapes_of

_FIX = "Its hidden states must be the output of a layer: put `keras.layers.Identity()` before it."


def find_head(model: keras.Model, name: str | None = None, role: str = "model") -> tuple[str, keras.layers.Dense]:
    """Find the layer that computes a model's logits, and the layer that feeds it.

    Args:
        model: A built `keras.Model`.
        name: Name or path of the layer that computes the logits. Defaults to `None`, the one that returns the output.
        role: The role of the model, for the messages. Defaults to `"model"`.

    Returns:
        The path of the layer that feeds it, and the layer itself.

    Raises:
        ValueError: If it is not a `keras.layers.Dense` with a linear or softmax activation that runs once, or if no
            layer feeds it.

    Example:

    >>> layers = [keras.layers.Embedding(9, 4), keras.layers.LayerNormalization(name="norm"), keras.layers.Dense(9)]
    >>> model = keras.Sequential([keras.Input((6,), dtype="int32"), *layers])
    >>> path, head = find_head(model)
    >>> path, head is model.layers[-1]
    ('norm', True)
    """
    check_built(model, role, "its last layer")
    output, steps = forward_steps(model)
    layer = None if name is None else find_layer(model, name, role)
    runs = [
        index
        for index, step in enumerate(steps)
        if (step.layer is layer if layer is not None else step.returned is output and _is_head(step.layer))
    ]
    if len(runs) != 1 or not _is_head(steps[runs[0]].layer):
        received = f"{name!r} of {model.name!r}" if name is not None else f"{model.name!r}, which ends in another way"
        what = f"the last layer of the {role} to be a keras.layers.Dense, linear or softmax, that runs once"
        raise ValueError(expected(what, received, "Name it by `head`, or `teacher_head` for the teacher."))
    head, before = steps[runs[0]], steps[: runs[0]]
    # The last of the layers that return it: dropout in inference returns its input.
    feeding = [step.path for step in before if step.returned is head.given]
    if not feeding and before and shapes_of(before[-1].returned) == shapes_of(head.given):
        feeding = [before[-1].path]  # Keras casts between layers of different precision.
    if not feeding:
        raise ValueError(expected(f"a layer that feeds the last layer of the {role}", "none", _FIX))
    return feeding[-1], head.layer


def _is_head(layer):
    activations = (keras.activations.linear, keras.activations.softmax)
    return isinstance(layer, keras.layers.Dense) and layer.activation in activations
