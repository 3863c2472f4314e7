"""A head taken apart, so that each of its units has a scale of its own in a file of integers."""

from collections.abc import Sequence
from typing import Any

import keras

from keras_distill._core.checked import checked
from keras_distill._core.checks import check_model
from keras_distill._core.messages import expected

_EACH_BY_ITSELF = ("linear", "sigmoid", "tanh", "relu", "relu6", "softplus", "softsign", "exponential", "elu", "selu")


@checked()
def split_head(student: keras.Model, names: Sequence[str] | None = None) -> keras.Model:
    """Return the student with one output for each unit of its last layer.

    The integers of an int8 tensor share one scale. If one unit of a head is a pressure of 300 to 1100 and another a
    humidity of 0 to 1, the steps are so wide that the humidity is always 0. Outputs of their own have scales of their
    own; the numbers stay the same.

    Args:
        student: Functional or Sequential `keras.Model` with one output, that of a `keras.layers.Dense` whose activation
            works on each unit by itself.
        names: Names of the outputs, one for each unit. Defaults to `None`, the name of the layer and a number.

    Returns:
        `keras.Model` with outputs `(batch, 1)`. The last layer's weights are copied; all others are shared.

    Raises:
        ValueError: If the student has several outputs, does not end in such a layer, or a name is missing or repeated.

    Example:
        >>> student = keras.Sequential([keras.Input((8,)), keras.layers.Dense(2, name="weather")])
        >>> split_head(student, names=["pressure", "humidity"]).output_names
        ['pressure', 'humidity']
    """
    check_model("student", student)
    outputs = list(getattr(student, "outputs", None) or ())
    if len(outputs) != 1:
        raise ValueError(expected("a Functional or Sequential student with one output", f"{len(outputs)} outputs"))
    layer, source = _find_last(outputs[0])
    if not isinstance(layer, keras.layers.Dense) or layer.activation.__name__ not in _EACH_BY_ITSELF:
        wanted = f"a student that ends in a Dense layer with an activation of {', '.join(_EACH_BY_ITSELF)}"
        raise ValueError(expected(wanted, f"layer {getattr(layer, 'name', layer)!r}"))
    names = [f"{layer.name}_{unit}" for unit in range(layer.units)] if names is None else list(names)
    if len(names) != layer.units or len(set(names)) != len(names):
        raise ValueError(expected(f"{layer.units} different names, one for each unit", names))
    parts = [_take_unit(layer, unit, name)(source) for unit, name in enumerate(names)]
    inputs = student.inputs[0] if isinstance(student, keras.Sequential) else student.input
    return keras.Model(inputs, parts, name=f"{student.name}_split")


def _find_last(output: Any) -> tuple[Any, Any]:
    """Return the layer that computes an output, and what it computes it from."""
    layer, node, _ = output._keras_history
    return layer, layer._inbound_nodes[node].input_tensors[0]


def _take_unit(layer: keras.layers.Dense, unit: int, name: str) -> keras.layers.Dense:
    part = keras.layers.Dense(1, layer.activation, layer.use_bias, name=name, dtype=layer.dtype_policy)
    part.build((None, layer.kernel.shape[0]))
    part.set_weights([weights[..., unit : unit + 1] for weights in layer.get_weights()])
    return part
