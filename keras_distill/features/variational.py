"""The adapter of variational information distillation: a prediction of the teacher's features, and its variance."""

import math
from typing import Any

import keras
from keras import ops


@keras.saving.register_keras_serializable(package="keras_distill")
class VariationalAdapter(keras.layers.Layer):
    """Predict the mean of each channel of the teacher from the student's features, and learn its variance.

    The mean comes from three 1x1 convolutions without bias, with ReLUs between them. The variance of a channel is the
    same for all samples and positions: `softplus(log_scale) + 1e-5`. Features are maps
    `[batch, height, width, channels]`, sequences `[batch, time, channels]` or vectors `[batch, channels]`.

    Args:
        width: Number of channels of the teacher.
        initial_variance: Initial variance of each channel, above 1e-5. Defaults to 5.0.
        dtype: Keras dtype of the layer. Defaults to `"float32"`, whatever the precision of the models.
        **kwargs: Passed to `keras.layers.Layer`.

    Example:

    >>> import numpy as np
    >>> adapter = VariationalAdapter(24)
    >>> tuple(adapter(np.zeros((2, 8, 8, 16), "float32")).shape), tuple(adapter.variance.shape)
    ((2, 8, 8, 24), (24,))
    >>> round(float(adapter.variance[0]), 5)
    5.0

    Reference:
        Ahn, Hu, Damianou, Lawrence, Dai, "Variational Information Distillation for Knowledge Transfer", 2019,
        arXiv:1904.05835.
    """

    FLOOR = 1e-5
    """Lower bound of the learned variance."""

    def __init__(self, width: int, initial_variance: float = 5.0, dtype: Any = "float32", **kwargs: Any):
        super().__init__(dtype=dtype, **kwargs)
        self.width, self.initial_variance = width, initial_variance
        self.convolutions = [
            keras.layers.Conv2D(
                width, 1, use_bias=False, activation=activation, dtype=self.dtype_policy, name=f"conv_{index}"
            )
            for index, activation in enumerate(("relu", "relu", None))
        ]

    def build(self, input_shape: Any) -> None:
        shape = _map_shape(tuple(input_shape))
        for convolution in self.convolutions:
            convolution.build(shape)
            shape = convolution.compute_output_shape(shape)
        excess = self.initial_variance - self.FLOOR
        start = excess + math.log(-math.expm1(-excess))

        def initializer(shape: Any, dtype: Any = None) -> Any:
            # Not `Constant`, which converts the number to float32 even if the weight is float64.
            return ops.full(shape, start, dtype=dtype)

        self.log_scale = self.add_weight(shape=(self.width,), initializer=initializer, name="log_scale")
        self.built = True

    def call(self, inputs: Any) -> Any:
        shape = ops.shape(inputs)
        inputs = ops.reshape(inputs, _map_shape(shape))
        for convolution in self.convolutions:
            inputs = convolution(inputs)
        return ops.reshape(inputs, (*shape[:-1], self.width))

    @property
    def variance(self) -> Any:
        """Variance of each channel, a float tensor `[width]`."""
        return ops.softplus(ops.convert_to_tensor(self.log_scale)) + self.FLOOR

    def compute_output_shape(self, input_shape: Any) -> Any:
        return (*input_shape[:-1], self.width)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "width": self.width, "initial_variance": self.initial_variance}


def _map_shape(shape):
    """Return the shape of features as maps, to which a sequence is a map of width 1."""
    return (*shape[:-1], *[1] * (4 - len(shape)), shape[-1])
