"""The table of activation functions: how the deployed file computes each, and so where training rounds."""

import dataclasses

import keras
from keras import ops

from keras_distill._core.messages import expected
from keras_distill.quantization.fake import fake_quantize

UNIT, SYMMETRIC = (0.0, 255.0 / 256.0), (-1.0, 127.0 / 128.0)


@keras.saving.register_keras_serializable(package="keras_distill")
class QuantizedSiLU(keras.layers.Layer):
    """Compute `x * sigmoid(x)` with the sigmoid rounded, since the file has an operation for each."""

    def call(self, inputs):
        """Compute a batch."""
        return inputs * fake_quantize(ops.sigmoid(inputs), *UNIT)


@keras.saving.register_keras_serializable(package="keras_distill")
def gelu_tanh(x):
    """Compute GELU by its approximation with tanh, which files have as one operation of integers; exact GELU has none.

    An activation for students that are to be quantized. It differs from exact GELU by less than 0.0005.

    Args:
        x: Float tensor of any shape.

    Returns:
        Tensor of the shape of `x`.

    Example:

    >>> [round(float(each), 4) for each in gelu_tanh(ops.convert_to_tensor([-1.0, 0.0, 2.0]))]
    [-0.1588, 0.0, 1.9546]

    Reference:
        Hendrycks, Gimpel, "Gaussian Error Linear Units (GELUs)", 2016, arXiv:1606.08415.
    """
    return keras.activations.gelu(x, approximate=True)


@dataclasses.dataclass(frozen=True)
class Activation:
    """How a file computes one activation function.

    Attributes:
        fused: whether it is part of the operation before it, if that can be. Defaults to False.
        limits: pair of floats, the range that the kernels fix for its outputs. Defaults to None, found by training.
        layer: layer class in place of `keras.layers.Activation`. Defaults to None.
    """

    fused: bool = False
    limits: tuple | None = None
    layer: type | None = None


ACTIVATIONS = {
    keras.activations.linear: Activation(fused=True),
    keras.activations.relu: Activation(fused=True),
    keras.activations.relu6: Activation(fused=True),
    gelu_tanh: Activation(),
    keras.activations.hard_silu: Activation(),
    keras.activations.leaky_relu: Activation(),
    keras.activations.silu: Activation(layer=QuantizedSiLU),
    keras.activations.sigmoid: Activation(limits=UNIT),
    keras.activations.softmax: Activation(limits=UNIT),
    keras.activations.tanh: Activation(limits=SYMMETRIC),
}


def row_of(function, step):
    """Return the table's row of a layer's activation function; raise a `ValueError` if there is none."""
    if function not in ACTIVATIONS:
        known = ", ".join(sorted(each.__name__ for each in ACTIVATIONS))
        received = f"{getattr(function, '__name__', function)!r} in layer {step.operation.name!r}"
        fix = "Use kd.quantization.gelu_tanh." if function is keras.activations.gelu else None
        raise ValueError(expected(f"an activation that a file can compute in integers: {known}", received, fix))
    return ACTIVATIONS[function]
