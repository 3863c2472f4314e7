"""Layer normalization as the operations of its file, each result rounded."""

import keras
import numpy as np
from keras import ops

from keras_distill.quantization.affine import QuantizedAffine
from keras_distill.quantization.builder import Value, refuse
from keras_distill.quantization.fake import fake_quantize_kernel
from keras_distill.quantization.graph import copy
from keras_distill.quantization.parts import Part


@keras.saving.register_keras_serializable(package="keras_distill")
class Mean(Part, keras.layers.Layer):
    """Compute the mean over the last axis, which stays, with size 1.

    A matrix product with equal weights does it. The reference kernel of the file format's own MEAN rounds twice and
    is up to 0.73 of a step away from the mean; in a row of small variance the normalization multiplies that.
    """

    def call(self, inputs):
        """Compute a batch."""
        return ops.matmul(inputs, _equal_weights(inputs.shape[-1]))

    def compute_output_shape(self, input_shape):
        """Return the shape with one number for each row."""
        return (*input_shape[:-1], 1)


@keras.saving.register_keras_serializable(package="keras_distill")
class Variance(Part, keras.layers.Layer):
    """Compute the mean of squares over the last axis, plus a small number.

    A matrix product with equal weights does it: one operation of the file, whose bias, in 32 bits, keeps a small
    number that an addition in 8 bits would lose.

    Args:
        epsilon: Float, what is added.
        **kwargs: Passed to `keras.layers.Layer`.
    """

    def __init__(self, epsilon, **kwargs):
        super().__init__(**kwargs)
        self.epsilon = float(epsilon)

    def call(self, inputs):
        """Compute a batch of squares."""
        return ops.matmul(inputs, _equal_weights(inputs.shape[-1])) + self.epsilon

    def compute_output_shape(self, input_shape):
        """Return the shape with one number for each row."""
        return (*input_shape[:-1], 1)

    def get_config(self):
        """Return the arguments of the constructor."""
        return {**super().get_config(), "epsilon": self.epsilon}


@keras.saving.register_keras_serializable(package="keras_distill")
class ReciprocalRoot(Part, keras.layers.Layer):
    """Compute one over the square root; what was rounded to zero counts as the smallest that was not."""

    def call(self, inputs, training=False):
        """Compute a batch."""
        if training:
            # Zero has no gradient. In the file, and where ranges stand, it gives the largest of the range anyway.
            positive = inputs > 0.0
            least = ops.min(ops.where(positive, inputs, ops.maximum(ops.max(inputs), keras.config.epsilon())))
            inputs = ops.where(positive, inputs, ops.stop_gradient(least))
        return ops.rsqrt(inputs)


@keras.saving.register_keras_serializable(package="keras_distill")
class QuantizedNormalization(Part, QuantizedAffine):
    """The scale and offset of a `keras.layers.LayerNormalization`, which it holds, as a depthwise convolution."""

    ends = True

    def folded(self):
        """Return what each channel is multiplied with, as a depthwise kernel, and what is added."""
        width = self._input_shape[-1]
        scale = ops.ones((width,)) if self.layer.gamma is None else ops.convert_to_tensor(self.layer.gamma)
        shift = ops.zeros((width,)) if self.layer.beta is None else ops.convert_to_tensor(self.layer.beta)
        return ops.reshape(scale, (1, 1, -1, 1)), self.told_apart(shift)

    def whole(self, name, parts, tensors):
        """Return the float layer."""
        return copy(self.layer, name)


def layer_normalization(builder, step, values):
    """Build a layer normalization: mean, difference, square, variance, its inverse root, product, scale and offset."""
    _check(step)
    layer, name = step.operation, step.name
    name_of_last, range_name = builder.names(step)

    def computed(kind, part, *inputs, **settings):
        operation = kind(name=builder.unique(f"{name}_{part}"), dtype="float32", **settings)
        tensors = [builder.rounded(each) for each in inputs]
        return Value(operation(tensors if len(tensors) > 1 else tensors[0]), f"{name}_{part}_range")

    (whole,) = values
    mean = computed(Mean, "mean", whole)
    centred = computed(keras.layers.Subtract, "centred", whole, mean)
    squares = computed(keras.layers.Multiply, "squares", centred, centred)
    variance = computed(Variance, "variance", squares, epsilon=layer.epsilon)
    root = computed(ReciprocalRoot, "root", variance)
    normal = computed(keras.layers.Multiply, "normal", centred, root)
    affine = builder.kernel(QuantizedNormalization, step, layer, name_of_last, is_last=False)
    return Value(affine(builder.rounded(normal)), range_name, fusable=len(step.following) == 1)


def _equal_weights(width):
    """Return the rounded kernel of a matrix product that computes the mean of a row."""
    return fake_quantize_kernel(ops.full((width, 1), 1.0 / width), per_channel=False)


def _check(step):
    layer, shape = step.operation, step.node.input_tensors[0].shape
    axes = tuple(np.atleast_1d(layer.axis))
    if axes not in ((-1,), (len(shape) - 1,)):
        refuse(step, "a normalization over the last axis", f"axis={layer.axis}")
    if layer.rms_scaling:
        refuse(step, "a normalization that subtracts the mean", "rms_scaling=True")
    if None in shape[1:]:
        refuse(step, "a known size", f"inputs of shape {shape}")
