"""The layer that holds the range of one activation, learns it in training and rounds to it."""

import keras
from keras import ops

from keras_distill._core.checks import check_number
from keras_distill._core.messages import expected
from keras_distill.quantization.fake import fake_quantize

RANGES = ("moving_average", "learned")
# An activation that was always zero still needs a scale.
_LEAST_WIDTH = 1e-5


@keras.saving.register_keras_serializable(package="keras_distill")
class FakeQuantization(keras.layers.Layer):
    """Round activations to the values of 8-bit integers, over a range that training finds.

    The first batch of training, or `keras_distill.quantization.calibrate`, gives the range; after that it follows the
    batches, or is learned. The range always contains zero, as integers need. Inference rounds to the range as it
    stands, or, before anything gave one, to that of its own batch. With `trainable` set to `False` the range stays.

    Args:
        ranges: `"moving_average"`, of the minima and maxima of the batches of training, or `"learned"`, trained
            with the weights. Defaults to `"moving_average"`.
        momentum: Share, from 0 to below 1, of the old range in each moving average. Defaults to 0.99.
        limits: Pair of floats, a range that never changes. Defaults to `None`.
        bits: Bits of the integers. Defaults to 8.
        **kwargs: Passed to `keras.layers.Layer`.

    Raises:
        ValueError: If an argument is none of these.

    Example:

    >>> layer = FakeQuantization(bits=2)
    >>> layer(ops.convert_to_tensor([-1.0, 0.9, 2.0]), training=True).numpy().tolist()
    [-1.0, 1.0, 2.0]
    >>> layer(ops.convert_to_tensor([-7.0, 0.4, 7.0])).numpy().tolist()
    [-1.0, 0.0, 2.0]

    Reference:
        Esser, McKinstry, Bablani, Appuswamy, Modha, "Learned Step Size Quantization", 2020, arXiv:1902.08153.
    """

    def __init__(self, ranges="moving_average", momentum=0.99, limits=None, bits=8, **kwargs):
        super().__init__(**kwargs)
        self.ranges, self.bits = check_ranges(ranges), bits
        self.momentum = check_number("momentum", momentum, 0.0, 1.0)
        if self.momentum == 1.0:
            raise ValueError(expected("momentum below 1, or the range never moves", f"momentum={momentum!r}"))
        self.limits = None if limits is None else tuple(map(float, limits))
        self.supports_masking = True

    def build(self, input_shape):
        """Make the range's variables."""
        if self.limits is not None:
            return
        learned = self.ranges == "learned"
        settings = {"shape": (), "dtype": "float32", "initializer": "zeros", "aggregation": "mean"}
        self.minimum = self.add_weight(name="minimum", trainable=learned, **settings)
        self.maximum = self.add_weight(name="maximum", trainable=learned, **settings)
        self.observed = self.add_weight(name="observed", trainable=False, **settings)

    def call(self, inputs, training=False, observe=True):
        """Round a batch; with `observe=False`, to the range of another batch that the layer was called on."""
        if self.limits is not None:
            # The bytes of a camera are integers on their way in.
            return fake_quantize(ops.cast(inputs, "float32"), *self.limits, self.bits)
        if training and observe and self.trainable:
            return fake_quantize(inputs, *_valid(*self._follow(inputs)), self.bits)
        return fake_quantize(inputs, *_valid(*self._range_for(inputs)), self.bits)

    def observe(self, inputs):
        """Take the range of a batch, whatever it was before."""
        if self.limits is None:
            lowest, highest = _extent(inputs)
            self._assign(lowest, highest)

    @property
    def has_range(self):
        """Whether a batch, or a file of weights, has given the range."""
        # `any`: a variable that a graph is just making has no value yet.
        return self.limits is not None or bool((ops.convert_to_numpy(self.observed) > 0).any())

    def _follow(self, inputs):
        """Move the range towards that of a batch of training, and return it."""
        lowest, highest = _extent(inputs)
        if self.ranges == "learned":
            first = self.observed < 0.5
            lowest, highest = ops.where(first, lowest, self.minimum), ops.where(first, highest, self.maximum)
        else:
            keep = self.observed * self.momentum
            lowest = keep * self.minimum + (1.0 - keep) * lowest
            highest = keep * self.maximum + (1.0 - keep) * highest
        self._assign(lowest, highest)
        return lowest, highest

    def _range_for(self, inputs):
        if self._seen_while_tracing():
            return self.minimum, self.maximum
        lowest, highest = _extent(inputs)
        seen = self.observed > 0.5
        return ops.where(seen, self.minimum, lowest), ops.where(seen, self.maximum, highest)

    def _seen_while_tracing(self):
        """Tell whether there is a range already: then no graph, an exported one least of all, needs the question."""
        import tensorflow as tf

        with tf.init_scope():
            return tf.executing_eagerly() and self.has_range

    def _assign(self, lowest, highest):
        self.minimum.assign(ops.stop_gradient(lowest))
        self.maximum.assign(ops.stop_gradient(highest))
        self.observed.assign(ops.ones(()))

    def get_config(self):
        """Return the arguments of the constructor."""
        own = {"ranges": self.ranges, "momentum": self.momentum, "limits": self.limits, "bits": self.bits}
        return {**super().get_config(), **own}


def check_ranges(ranges):
    """Return the kind of ranges; raise a `ValueError` unless it is one."""
    if ranges not in RANGES:
        raise ValueError(expected(f"ranges to be one of {', '.join(map(repr, RANGES))}", f"ranges={ranges!r}"))
    return ranges


def _extent(inputs):
    """Return minimum and maximum of a batch, zero counted in, infinity not."""
    inputs = ops.stop_gradient(inputs)
    # The inverse root of a variance that was rounded to zero; a file gives the largest number of the range.
    inputs = ops.where(ops.isinf(inputs), ops.zeros_like(inputs), inputs)
    return ops.minimum(ops.min(inputs), 0.0), ops.maximum(ops.max(inputs), 0.0)


def _valid(lowest, highest):
    """Return the range with zero in it and some width, which a learned one may lose."""
    lowest = ops.minimum(lowest, 0.0)
    return lowest, ops.maximum(ops.maximum(highest, 0.0), lowest + _LEAST_WIDTH)
