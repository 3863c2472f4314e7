"""The connector of the overhaul of feature distillation, and its margins, computed from batch normalization."""

import math
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_distill._core.checked import checked
from keras_distill._core.messages import expected
from keras_distill.features.adapters import Connector
from keras_distill.features.layers import find_layer

_RARE = 1e-3
"""Fraction of negative features up to which their mean is not used."""


@checked(gamma="[*]", beta="[*]")
def batch_norm_margin(gamma: Any, beta: Any) -> np.ndarray:
    """Compute the mean of the negative outputs of a batch normalization for each channel.

    For a normal distribution with mean `beta` and standard deviation `sigma = |gamma|`, given that it is negative, this
    is `beta - sigma phi(beta / sigma) / Phi(-beta / sigma)`. If it is negative with a probability of at most 0.001, the
    margin is `-3 sigma`. As a constant of the teacher, it is always computed by NumPy in float64.

    Args:
        gamma: Float array `[channels]`, the scale.
        beta: Float array `[channels]`, the offset.

    Returns:
        NumPy float64 array `[channels]`, never positive.

    Example:

    >>> batch_norm_margin([1.0, 1.0], [0.0, 4.0]).round(4).tolist()
    [-0.7979, -3.0]

    Reference:
        Heo, Kim, Yun, Park, Kwak, Choi, "A Comprehensive Overhaul of Feature Distillation", 2019, arXiv:1904.01866.
    """
    sigma, beta = np.abs(np.asarray(gamma, "float64")), np.asarray(beta, "float64")
    # With a scale of zero, all outputs equal the offset, which is the mean if it is negative.
    constant = sigma == 0.0
    with np.errstate(over="ignore", under="ignore"):
        ratio = beta / np.where(constant, 1.0, sigma)
        density = np.exp(-0.5 * np.square(ratio)) / math.sqrt(2.0 * math.pi)
    negative = 0.5 * np.vectorize(math.erfc, otypes=["float64"])(ratio / math.sqrt(2.0))
    rare = negative <= _RARE
    margin = beta - sigma * density / np.where(rare, 1.0, negative)
    return np.where(constant, np.minimum(beta, 0.0), np.where(rare, -3.0 * sigma, margin))


def margin_before_relu(
    model: keras.Model, layer_name: str | None, preactivation: bool = False, fix: str | None = None
) -> list[float]:
    """Return the margins of the features of a layer, from the batch normalization that computes them.

    Args:
        model: The teacher, a built `keras.Model`.
        layer_name: Path of a batch normalization. In Functional and Sequential models also the path of its sum with a
            shortcut or, with `preactivation`, of the activation layer that follows either.
        preactivation: Whether the features are taken before the activation of the layer. Defaults to `False`.
        fix: Advice for the error message. Defaults to `None`.

    Returns:
        List of one float for each channel.

    Raises:
        ValueError: If the features do not come from exactly one batch normalization.

    Example:

    >>> layers = [keras.layers.BatchNormalization(), keras.layers.ReLU(name="relu")]
    >>> model = keras.Sequential([keras.Input((8, 8, 2)), *layers])
    >>> [round(margin, 4) for margin in margin_before_relu(model, "relu", preactivation=True)]
    [-0.7979, -0.7979]
    """
    layer = find_layer(model, layer_name, role="teacher") if layer_name is not None else None
    is_activation = isinstance(layer, (keras.layers.Activation, keras.layers.ReLU, keras.layers.LeakyReLU))
    source: list[Any] = _producers(layer)[:1] if preactivation and is_activation else [layer]
    if source and isinstance(source[0], keras.layers.Add):
        source = [each for each in _producers(source[0]) if isinstance(each, keras.layers.BatchNormalization)]
    if len(source) != 1 or not isinstance(source[0], keras.layers.BatchNormalization):
        what = "a teacher_layer_name whose features before the ReLU come from one BatchNormalization"
        raise ValueError(expected(what, f"{layer_name!r} of type {type(layer).__name__}", fix))
    gamma, beta = (getattr(source[0], name) for name in ("gamma", "beta"))
    width = source[0].moving_mean.shape[0]
    gamma = np.ones(width) if gamma is None else ops.convert_to_numpy(ops.convert_to_tensor(gamma))
    beta = np.zeros(width) if beta is None else ops.convert_to_numpy(ops.convert_to_tensor(beta))
    return batch_norm_margin(gamma, beta).tolist()


def _producers(layer):
    """Return the layers whose outputs are the inputs of a layer of a Functional or Sequential model."""
    tensors = keras.tree.flatten(layer.input) if hasattr(layer, "input") else []
    return [tensor._keras_history.operation for tensor in tensors if hasattr(tensor, "_keras_history")]


@keras.saving.register_keras_serializable(package="keras_distill")
class MarginConnector(Connector):
    """A `Connector` that holds the teacher's margins, so that they are saved with its trained weights.

    Args:
        margin: List of one number for each channel of the teacher.
        dtype: Keras dtype of the layer. Defaults to `"float32"`, whatever the precision of the models.
        **kwargs: Passed to `keras.layers.Layer`.

    Example:

    >>> import numpy as np
    >>> connector = MarginConnector([-0.5, -0.25, 0.0])
    >>> tuple(connector(np.ones((2, 4, 4, 5), "float32")).shape), connector.margin.numpy().tolist()
    ((2, 4, 4, 3), [-0.5, -0.25, 0.0])

    Reference:
        Heo, Kim, Yun, Park, Kwak, Choi, "A Comprehensive Overhaul of Feature Distillation", 2019, arXiv:1904.01866.
    """

    def __init__(self, margin: Sequence[float], dtype: Any = "float32", **kwargs: Any):
        self._start = [float(each) for each in margin]
        super().__init__(len(self._start), dtype=dtype, **kwargs)

    def build(self, input_shape: Any) -> None:
        self.margin = self.add_weight(
            shape=(self.width,),
            initializer=lambda shape, dtype=None: ops.convert_to_tensor(np.array(self._start), dtype),
            trainable=False,
            name="margin",
        )
        super().build(input_shape)

    def get_config(self) -> dict[str, Any]:
        config = super().get_config()
        del config["width"]
        return {**config, "margin": self._start}
