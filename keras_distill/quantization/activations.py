"""The table of activation functions: how the file computes each, and therefore where training rounds."""

import dataclasses
from collections.abc import Callable
from typing import Any

import keras
from keras import ops

from keras_distill._core.checked import checked
from keras_distill._core.messages import expected
from keras_distill.quantization.fake import fake_quantize
from keras_distill.quantization.graph import Step

UNIT, SYMMETRIC = (0.0, 255.0 / 256.0), (-1.0, 127.0 / 128.0)


@keras.saving.register_keras_serializable(package="keras_distill")
class QuantizedSiLU(keras.layers.Layer):
    """Compute `x * sigmoid(x)` with a rounded sigmoid, since the file has one operation for each."""

    def call(self, inputs: Any) -> Any:
        """Compute a batch."""
        return inputs * fake_quantize(ops.sigmoid(inputs), *UNIT)


@keras.saving.register_keras_serializable(package="keras_distill")
@checked(x="[...]")
def gelu_tanh(x: Any) -> Any:
    """Compute GELU by its approximation with tanh, an activation for students that will be quantized.

    Files compute it in integers by one operation, which is not possible for exact GELU. The two differ by less than
    0.0005.

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
        fused: Whether it can be part of the operation before it. Defaults to `False`.
        limits: Range that the kernels fix for its outputs. Defaults to `None`: training finds the range.
        layer: Layer class to use instead of `keras.layers.Activation`. Defaults to `None`.
    """

    fused: bool = False
    limits: tuple[float, float] | None = None
    layer: type[keras.layers.Layer] | None = None


ACTIVATIONS: dict[Callable, Activation] = {
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


def find_activation(function: Callable, step: Step) -> Activation:
    """Return the row of an activation function in the table; raise a `ValueError` if it is missing."""
    if function not in ACTIVATIONS:
        known = ", ".join(sorted(each.__name__ for each in ACTIVATIONS))
        received = f"{getattr(function, '__name__', function)!r} in layer {step.operation.name!r}"
        fix = "Use kd.quantization.gelu_tanh." if function is keras.activations.gelu else None
        raise ValueError(expected(f"an activation that a file can compute in integers: {known}", received, fix))
    return ACTIVATIONS[function]
