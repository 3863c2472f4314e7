"""The layer that holds the range of one activation, finds it in training and rounds to it."""

import math
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_distill._core.checked import checked
from keras_distill._core.checks import check_choice, check_items, check_number
from keras_distill._core.messages import expected
from keras_distill.quantization.fake import fake_quantize

RANGES = ("moving_average", "learned", "covering")
# An activation that is always zero still needs a scale.
_LEAST_WIDTH = 1e-5
# Batches that widen a learned range to what they hold, before only gradients change it: one batch seldom holds the
# largest values, and an optimizer moves a range by its learning rate whatever the size of the activations.
_WARM_UP = 100


@keras.saving.register_keras_serializable(package="keras_distill")
class FakeQuantization(keras.layers.Layer):
    """Round activations to the values of 8-bit integers, over a range that training finds.

    The first batch of training, or `keras_distill.quantization.calibrate`, initializes the range. Afterwards it follows
    the batches, or is learned. The range always contains zero, as integers require. Inference rounds to the current
    range or, before it is initialized, to the range of its own batch. With `trainable=False` the range is constant.

    A learned range covers the first 100 batches, unless `calibrate` has set it. Its gradient is divided by the root of
    the number of values of one sample times that of the integers, as in the paper, so that a range learns about as fast
    as the weights.

    Args:
        ranges: `"moving_average"` of the minima and maxima of the training batches, `"learned"` by gradients together
            with the weights, or `"covering"` all values of all training batches. Defaults to `"moving_average"`.
        momentum: Share of the old range in each moving average, from 0 to below 1. Defaults to 0.99.
        limits: Constant range, a pair of floats. Defaults to `None`.
        bits: Bits of the integers. Defaults to 8.
        covers: Whether the range covers all training batches, whatever `ranges` says. Defaults to `False`.
        margin: How far the rounded range reaches below the one that was found. Defaults to 0.0.
        **kwargs: Passed to `keras.layers.Layer`.

    Raises:
        ValueError: If an argument is wrong.

    Example:

    >>> layer = FakeQuantization(bits=2)
    >>> layer(ops.convert_to_tensor([-1.0, 0.9, 2.0]), training=True).numpy().tolist()
    [-1.0, 1.0, 2.0]
    >>> layer(ops.convert_to_tensor([-7.0, 0.4, 7.0])).numpy().tolist()
    [-1.0, 0.0, 2.0]

    Reference:
        Esser, McKinstry, Bablani, Appuswamy, Modha, "Learned Step Size Quantization", 2020, arXiv:1902.08153.
    """

    @checked(ranges=Any, momentum=Any, bits=(2, 16))
    def __init__(
        self,
        ranges: str = "moving_average",
        momentum: float = 0.99,
        limits: Any = None,
        bits: int = 8,
        covers: bool = False,
        margin: float = 0.0,
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        self.ranges, self.bits, self.covers = check_ranges(ranges), bits, covers or ranges == "covering"
        self.momentum = check_number("momentum", momentum, 0.0, 1.0)
        if self.momentum == 1.0:
            raise ValueError(expected("momentum below 1, so that the range can change", f"momentum={momentum!r}"))
        self.margin = check_number("margin", margin, 0.0, math.inf)
        self.limits: tuple[float, float] | None = None
        if limits is not None:
            self.limits = _check_limits(limits)
        self.supports_masking = True

    def build(self, input_shape: Any) -> None:
        """Create the variables of the range."""
        if self.limits is not None:
            return
        learned = self.ranges == "learned"
        settings = {"shape": (), "dtype": "float32", "initializer": "zeros", "aggregation": "mean"}
        self.minimum = self.add_weight(name="minimum", trainable=learned, **settings)
        self.maximum = self.add_weight(name="maximum", trainable=learned, **settings)
        self.observed = self.add_weight(name="observed", trainable=False, **settings)

    def call(self, inputs: Any, training: bool = False, observe: bool = True) -> Any:
        """Round a batch; with `observe=False`, without updating the range."""
        if self.limits is not None:
            # Inputs may be integers, such as the bytes of a camera.
            return fake_quantize(ops.cast(inputs, "float32"), *self.limits, self.bits)
        if training and observe and self.trainable:
            lowest, highest = self._update(inputs)
        else:
            lowest, highest = self._choose_range(inputs)
        return fake_quantize(inputs, *_make_valid(lowest - self.margin, highest), self.bits)

    def observe(self, inputs: Any) -> None:
        """Set the range to that of a batch."""
        if self.limits is None:
            lowest, highest = _measure(inputs)
            self._assign(lowest, highest)

    @property
    def has_range(self) -> bool:
        """Whether the range is initialized, by a batch or by a file of weights."""
        # `any`, since a variable that is just being created in a graph has no value yet.
        return self.limits is not None or bool((np.asarray(ops.convert_to_numpy(self.observed)) > 0).any())

    def _update(self, inputs: Any) -> tuple[Any, Any]:
        """Move the range towards that of a training batch, and return it."""
        lowest, highest = _measure(inputs)
        widest = ops.minimum(self.minimum, lowest), ops.maximum(self.maximum, highest)
        if self.covers:
            lowest, highest = widest
        elif self.ranges == "learned":
            early = self.observed < 1.0 - 0.5 / _WARM_UP
            lowest = ops.where(early, widest[0], self.minimum)
            highest = ops.where(early, widest[1], self.maximum)
        else:
            keep = self.observed * self.momentum
            lowest = keep * self.minimum + (1.0 - keep) * lowest
            highest = keep * self.maximum + (1.0 - keep) * highest
        # How much of its first batches a learned range has seen; other ranges, and calibrated ones, are complete.
        self._assign(lowest, highest, self.observed + 1.0 / _WARM_UP if self.ranges == "learned" else 1.0)
        if self.ranges != "learned":
            return lowest, highest
        share = (math.prod(inputs.shape[1:]) * (2**self.bits - 1)) ** -0.5
        return _learn(lowest, self.minimum, share), _learn(highest, self.maximum, share)

    def _choose_range(self, inputs: Any) -> tuple[Any, Any]:
        """Return the range or, before it is initialized, that of a batch."""
        if self._has_range_while_tracing():
            return self.minimum, self.maximum
        lowest, highest = _measure(inputs)
        seen = self.observed > 0.0
        return ops.where(seen, self.minimum, lowest), ops.where(seen, self.maximum, highest)

    def _has_range_while_tracing(self) -> bool:
        """Return whether the range is initialized already, so that traced and exported graphs need not test for it."""
        import tensorflow as tf

        with tf.init_scope():
            return tf.executing_eagerly() and self.has_range

    def _assign(self, lowest: Any, highest: Any, observed: Any = 1.0) -> None:
        self.minimum.assign(ops.stop_gradient(lowest))
        self.maximum.assign(ops.stop_gradient(highest))
        self.observed.assign(ops.minimum(observed, 1.0))

    def get_config(self) -> dict[str, Any]:
        """Return the arguments of the constructor."""
        own = {"ranges": self.ranges, "momentum": self.momentum, "limits": self.limits, "bits": self.bits}
        return {**super().get_config(), **own, "covers": self.covers, "margin": self.margin}


def _check_limits(limits: Any) -> tuple[float, float]:
    pair = check_items("limits", limits, "a pair of numbers, the smallest and the largest value")
    if len(pair) != 2:
        raise ValueError(expected("limits to be a pair of numbers", f"limits={limits!r}"))
    lowest, highest = (check_number("each of the limits", each, -math.inf, math.inf) for each in pair)
    if not lowest <= 0.0 <= highest or lowest == highest:
        fix = "Integers represent zero, so it must lie in the range."
        raise ValueError(expected("limits from a number <= 0 to a larger one >= 0", f"limits={limits!r}", fix))
    return lowest, highest


def check_ranges(ranges: Any) -> str:
    """Return the kind of ranges; raise a `ValueError` unless it is in `RANGES`."""
    return check_choice("ranges", ranges, RANGES)


def _measure(inputs: Any) -> tuple[Any, Any]:
    """Return the minimum and maximum of a batch and zero, without infinities."""
    inputs = ops.stop_gradient(inputs)
    # The inverse root of a variance that was rounded to zero is infinite; the file returns the end of the range.
    inputs = ops.where(ops.isinf(inputs), ops.zeros_like(inputs), inputs)
    return ops.minimum(ops.min(inputs), 0.0), ops.maximum(ops.max(inputs), 0.0)


def _learn(value: Any, variable: Any, share: float) -> Any:
    """Return a value whose gradient reaches the variable, multiplied by a share."""
    return ops.stop_gradient(value) + share * (variable - ops.stop_gradient(variable))


def _make_valid(lowest: Any, highest: Any) -> tuple[Any, Any]:
    """Return the range extended to contain zero and to have some width, which a learned range may lose."""
    lowest = ops.minimum(lowest, 0.0)
    return lowest, ops.maximum(ops.maximum(highest, 0.0), lowest + _LEAST_WIDTH)
