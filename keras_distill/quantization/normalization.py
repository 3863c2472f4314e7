"""Layer normalization as the operations of its file, with each result rounded."""

from typing import Any

import keras
import numpy as np

from keras_distill.quantization.affine import QuantizedAffine
from keras_distill.quantization.builder import Builder, Value, raise_unsupported
from keras_distill.quantization.fake import fake_quantize_kernel
from keras_distill.quantization.graph import Step, copy_layer
from keras_distill.quantization.parts import Part

ops: Any = keras.ops  # Keras infers `None` among the types of its operations.


@keras.saving.register_keras_serializable(package="keras_distill")
class Mean(Part, keras.layers.Layer):
    """Compute the mean over the last axis, which stays, with size 1.

    It is a matrix product with equal weights. The reference kernel of the file format's own MEAN rounds twice and is up
    to 0.73 of a step away from the mean, which the normalization multiplies in a row of small variance.
    """

    def call(self, inputs: Any) -> Any:
        """Compute a batch."""
        return ops.matmul(inputs, _make_equal_weights(inputs.shape[-1]))

    def compute_output_shape(self, input_shape: Any) -> Any:
        """Return the shape with one number for each row."""
        return (*input_shape[:-1], 1)


@keras.saving.register_keras_serializable(package="keras_distill")
class Variance(Part, keras.layers.Layer):
    """Compute the mean of squares over the last axis, plus a small number.

    It is a matrix product with equal weights: one operation of the file, whose bias of 32 bits keeps a small number
    that an addition in 8 bits would lose.

    Args:
        epsilon: Number to add.
        **kwargs: Passed to `keras.layers.Layer`.
    """

    def __init__(self, epsilon: float, **kwargs: Any):
        super().__init__(**kwargs)
        self.epsilon = float(epsilon)

    def call(self, inputs: Any) -> Any:
        """Compute a batch of squares."""
        return ops.matmul(inputs, _make_equal_weights(inputs.shape[-1])) + self.epsilon

    def compute_output_shape(self, input_shape: Any) -> Any:
        """Return the shape with one number for each row."""
        return (*input_shape[:-1], 1)

    def get_config(self) -> dict[str, Any]:
        """Return the arguments of the constructor."""
        return {**super().get_config(), "epsilon": self.epsilon}


@keras.saving.register_keras_serializable(package="keras_distill")
class ReciprocalRoot(Part, keras.layers.Layer):
    """Compute the inverse square root; values rounded to zero count as the smallest positive one of the batch."""

    def call(self, inputs: Any, training: bool = False) -> Any:
        """Compute a batch."""
        if training:
            # Zero has no gradient. In inference, and in the file, it gives the end of the range anyway.
            positive = inputs > 0.0
            least = ops.min(ops.where(positive, inputs, ops.maximum(ops.max(inputs), keras.config.epsilon())))
            inputs = ops.where(positive, inputs, ops.stop_gradient(least))
        return ops.rsqrt(inputs)


@keras.saving.register_keras_serializable(package="keras_distill")
class QuantizedNormalization(Part, QuantizedAffine):
    """The scale and offset of the wrapped `keras.layers.LayerNormalization`, as a depthwise convolution."""

    ends = True

    def folded(self) -> tuple[Any, Any]:
        """Return the factor of each channel, as a depthwise kernel, and the summand."""
        width = self._input_shape[-1]
        scale = ops.ones((width,)) if self.layer.gamma is None else ops.convert_to_tensor(self.layer.gamma)
        shift = ops.zeros((width,)) if self.layer.beta is None else ops.convert_to_tensor(self.layer.beta)
        return ops.reshape(scale, (1, 1, -1, 1)), self.make_distinct(shift)

    def whole(self, name: str, parts: list[Part], tensors: list[Any]) -> keras.layers.Layer:
        """Return the float layer."""
        return copy_layer(self.layer, name)


def build_layer_normalization(builder: Builder, step: Step, values: list[Value]) -> Value:
    """Build a layer normalization: mean, difference, square, variance, its inverse root, product, scale and offset."""
    _check(step)
    layer, name = step.operation, step.name
    last_name, range_name = builder.names(step)

    def compute(kind: Any, part: str, *parts: Value, **settings: Any) -> Value:
        operation = kind(name=builder.unique(f"{name}_{part}"), dtype="float32", **settings)
        tensors = [builder.rounded(each) for each in parts]
        return Value(operation(tensors if len(tensors) > 1 else tensors[0]), f"{name}_{part}_range")

    (inputs,) = values
    mean = compute(Mean, "mean", inputs)
    centred = compute(keras.layers.Subtract, "centred", inputs, mean)
    squares = compute(keras.layers.Multiply, "squares", centred, centred)
    variance = compute(Variance, "variance", squares, epsilon=layer.epsilon)
    root = compute(ReciprocalRoot, "root", variance)
    normal = compute(keras.layers.Multiply, "normal", centred, root)
    affine = builder.kernel(QuantizedNormalization, step, layer, last_name, is_last=False)
    return Value(affine(builder.rounded(normal)), range_name, fusable=len(step.following) == 1)


def _make_equal_weights(width: int) -> Any:
    """Return the rounded kernel of a matrix product that computes the mean of a row."""
    return fake_quantize_kernel(ops.full((width, 1), 1.0 / width), per_channel=False)


def _check(step: Step) -> None:
    layer, shape = step.operation, step.node.input_tensors[0].shape
    axes = tuple(np.atleast_1d(layer.axis))
    if axes not in ((-1,), (len(shape) - 1,)):
        raise_unsupported(step, "a normalization over the last axis", f"axis={layer.axis}")
    if layer.rms_scaling:
        raise_unsupported(step, "a normalization that subtracts the mean", "rms_scaling=True")
    if None in shape[1:]:
        raise_unsupported(step, "a known size", f"inputs of shape {shape}")
