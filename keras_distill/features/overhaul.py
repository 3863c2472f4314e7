"""What the overhaul of feature distillation trains along, and the margins it takes from batch normalisation."""

import math

import keras
import numpy as np
from keras import ops

from keras_distill._core.messages import expected
from keras_distill.features.adapters import Connector
from keras_distill.features.layers import find_layer

_RARE = 1e-3
"""Where fewer of the features than this are negative, their mean is not used."""


def batch_norm_margin(gamma, beta):
    """Compute the mean of the negative part of what a batch normalisation gives, channel by channel.

    Of a normal distribution with mean `beta` and deviation `sigma = |gamma|`, given that it is negative:
    `beta - sigma phi(beta / sigma) / Phi(-beta / sigma)`. Where it is negative with a probability of at most 0.001,
    `-3 sigma`. Computed in float64 by NumPy, whatever is given: it is a constant of the teacher.

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
    # A scale of zero leaves the offset alone: that, if negative, is the mean.
    constant = sigma == 0.0
    with np.errstate(over="ignore", under="ignore"):
        ratio = beta / np.where(constant, 1.0, sigma)
        density = np.exp(-0.5 * np.square(ratio)) / math.sqrt(2.0 * math.pi)
    negative = 0.5 * np.vectorize(math.erfc, otypes=["float64"])(ratio / math.sqrt(2.0))
    rare = negative <= _RARE
    margin = beta - sigma * density / np.where(rare, 1.0, negative)
    return np.where(constant, np.minimum(beta, 0.0), np.where(rare, -3.0 * sigma, margin))


def margin_before_relu(model, layer_name, preactivation=False, fix=None):
    """Return the margins of the features that a layer gives, from the batch normalisation that they come from.

    Args:
        model: The teacher, a built `keras.Model`.
        layer_name: Path of a batch normalisation; or, in models that Keras knows the graph of, of the sum of one with
            a shortcut, or of the activation layer that follows either if `preactivation` is set.
        preactivation: Whether the features are taken before the activation of the layer. Defaults to `False`.
        fix: What the message advises where there is none. Defaults to `None`.

    Returns:
        List of one float for each channel.

    Raises:
        ValueError: If the features do not come from one batch normalisation.

    Example:

    >>> layers = [keras.layers.BatchNormalization(), keras.layers.ReLU(name="relu")]
    >>> model = keras.Sequential([keras.Input((8, 8, 2)), *layers])
    >>> [round(margin, 4) for margin in margin_before_relu(model, "relu", preactivation=True)]
    [-0.7979, -0.7979]
    """
    layer = find_layer(model, layer_name, role="teacher") if layer_name is not None else None
    is_activation = isinstance(layer, (keras.layers.Activation, keras.layers.ReLU, keras.layers.LeakyReLU))
    source = _producers(layer)[:1] if preactivation and is_activation else [layer]
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
    """Return the layers whose outputs a layer of a Functional or Sequential model is given."""
    tensors = keras.tree.flatten(layer.input) if hasattr(layer, "input") else []
    return [tensor._keras_history.operation for tensor in tensors if hasattr(tensor, "_keras_history")]


@keras.saving.register_keras_serializable(package="keras_distill")
class MarginConnector(Connector):
    """A `Connector` that carries the teacher's margins with it, so that they are saved with what it learns.

    Args:
        margin: List of one number for each channel of the teacher.
        dtype: Keras dtype of the layer. Defaults to `"float32"`, whatever the models compute in.
        **kwargs: Passed to `keras.layers.Layer`.

    Example:

    >>> import numpy as np
    >>> connector = MarginConnector([-0.5, -0.25, 0.0])
    >>> tuple(connector(np.ones((2, 4, 4, 5), "float32")).shape), connector.margin.numpy().tolist()
    ((2, 4, 4, 3), [-0.5, -0.25, 0.0])

    Reference:
        Heo, Kim, Yun, Park, Kwak, Choi, "A Comprehensive Overhaul of Feature Distillation", 2019, arXiv:1904.01866.
    """

    def __init__(self, margin, dtype="float32", **kwargs):
        self._start = [float(each) for each in margin]
        super().__init__(len(self._start), dtype=dtype, **kwargs)

    def build(self, input_shape):
        self.margin = self.add_weight(
            shape=(self.width,),
            initializer=lambda shape, dtype=None: ops.convert_to_tensor(np.array(self._start), dtype),
            trainable=False,
            name="margin",
        )
        super().build(input_shape)

    def get_config(self):
        config = super().get_config()
        del config["width"]
        return {**config, "margin": self._start}
