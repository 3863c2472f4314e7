"""Arithmetic with a constant, which the file stores in integers too."""

from typing import Any

import keras
import numpy as np

from keras_distill.quantization.fake import fake_quantize

ops: Any = keras.ops  # Keras infers `None` among the types of its operations.

FUNCTIONS = ("add", "subtract", "multiply", "maximum", "minimum")


@keras.saving.register_keras_serializable(package="keras_distill")
class WithConstant(keras.layers.Layer):
    """Apply a Keras operation to a tensor and a constant that is rounded to a range of its own.

    Args:
        function: Name in `FUNCTIONS`.
        constant: Number, or nested list of numbers, that broadcasts with the inputs.
        first: Whether the constant is the first argument. Defaults to `False`.
        **kwargs: Passed to `keras.layers.Layer`.
    """

    def __init__(self, function: str, constant: Any, first: bool = False, **kwargs: Any):
        super().__init__(**kwargs)
        self.function, self.constant, self.first = function, np.asarray(constant, "float32"), first

    def call(self, inputs: Any) -> Any:
        """Compute a batch."""
        # The file holds numbers, so a range that no number needs would only cost precision.
        low, high = min(float(self.constant.min()), 0.0), max(float(self.constant.max()), 0.0)
        constant = self.constant if low == high else fake_quantize(self.constant, low, high)
        return self.apply(inputs, constant)

    def apply(self, inputs: Any, constant: Any) -> Any:
        """Return the result for a constant, rounded or not."""
        function = getattr(ops, self.function)
        return function(constant, inputs) if self.first else function(inputs, constant)

    def get_config(self) -> dict[str, Any]:
        """Return the arguments of the constructor."""
        own = {"function": self.function, "constant": self.constant.tolist(), "first": self.first}
        return {**super().get_config(), **own}
