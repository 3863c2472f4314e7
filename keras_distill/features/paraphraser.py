"""Factors of feature maps: an autoencoder of the teacher's maps, trained beforehand, and the student's translator."""

import math
from typing import Any

import keras
from keras import ops

from keras_distill._core.checked import POSITIVE, checked
from keras_distill._core.checks import check_number
from keras_distill._core.messages import expected
from keras_distill._core.models import Untracked
from keras_distill.features.taps import FeatureExtractor, tap

_SLOPE = 0.1


@keras.saving.register_keras_serializable(package="keras_distill")
class Paraphraser(keras.layers.Layer):
    """Encode the teacher's feature maps as factors: maps with other channels, from which they can be restored.

    It is an autoencoder of three 3x3 convolutions to the factor and three transposed ones back, with a leaky ReLU after
    each. `train_paraphraser` trains one without labels.

    Args:
        ratio: Number of channels of the factor relative to that of the teacher's maps, > 0. Defaults to 0.5.
        dtype: Keras dtype of the layer. Defaults to `"float32"`, whatever the precision of the models.
        **kwargs: Passed to `keras.layers.Layer`.

    Raises:
        ValueError: If the ratio is not positive, or the inputs are not feature maps.

    Example:

    >>> import numpy as np
    >>> paraphraser, maps = Paraphraser(ratio=0.5), np.zeros((2, 4, 4, 6), "float32")
    >>> tuple(paraphraser(maps).shape), tuple(paraphraser.encode(maps).shape)
    ((2, 4, 4, 6), (2, 4, 4, 3))

    Reference:
        Kim, Park, Kwak, "Paraphrasing Complex Network: Network Compression via Factor Transfer", 2018,
        arXiv:1802.04977.
    """

    @checked(ratio=Any)
    def __init__(self, ratio: float = 0.5, dtype: Any = "float32", **kwargs: Any):
        super().__init__(dtype=dtype, **kwargs)
        self.ratio = check_number("ratio", ratio, 0.0, math.inf, open_low=True)

    def build(self, input_shape: Any) -> None:
        if len(input_shape) != 4:
            raise ValueError(expected("feature maps [batch, height, width, channels]", f"shape {tuple(input_shape)}"))
        width, factor = input_shape[-1], self.factor_shape(input_shape)[-1]
        self.encoder = _chain(self, keras.layers.Conv2D, (width, factor, factor), input_shape, "encoder")
        back = self.factor_shape(input_shape)
        self.decoder = _chain(self, keras.layers.Conv2DTranspose, (factor, width, width), back, "decoder")
        self.built = True

    def encode(self, inputs: Any) -> Any:
        """Return the factors `[batch, height, width, factor channels]` of feature maps."""
        return _run_chain(self.encoder, ops.cast(inputs, self.compute_dtype))

    def call(self, inputs: Any) -> Any:
        return _run_chain(self.decoder, self.encode(inputs))

    def factor_shape(self, input_shape: tuple) -> tuple:
        """Return the shape of the factors of feature maps of the given shape."""
        return (*input_shape[:-1], max(1, round(self.ratio * input_shape[-1])))

    def compute_output_shape(self, input_shape: Any) -> Any:
        return tuple(input_shape)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "ratio": self.ratio}


@keras.saving.register_keras_serializable(package="keras_distill")
class Translator(keras.layers.Layer):
    """Translate the student's feature maps to factors by three 3x3 convolutions, with a leaky ReLU after each.

    Args:
        width: Number of channels of the factors.
        paraphraser: The trained `Paraphraser` of the teacher, which is frozen and saved with this layer. Defaults to
            `None`.
        dtype: Keras dtype of the layer. Defaults to `"float32"`, whatever the precision of the models.
        **kwargs: Passed to `keras.layers.Layer`.

    Example:

    >>> Translator(24).compute_output_shape((None, 8, 8, 16))
    (None, 8, 8, 24)

    Reference:
        Kim, Park, Kwak, "Paraphrasing Complex Network: Network Compression via Factor Transfer", 2018,
        arXiv:1802.04977.
    """

    @checked(width=(1, math.inf))
    def __init__(self, width: int, paraphraser: Paraphraser | None = None, dtype: Any = "float32", **kwargs: Any):
        super().__init__(dtype=dtype, **kwargs)
        self.width, self.paraphraser = width, paraphraser
        if paraphraser is not None:
            paraphraser.trainable = False

    def build(self, input_shape: Any) -> None:
        widths = (input_shape[-1], self.width, self.width)
        self.encoder = _chain(self, keras.layers.Conv2D, widths, input_shape, "encoder")
        self.built = True

    def call(self, inputs: Any) -> Any:
        return _run_chain(self.encoder, inputs)

    def compute_output_shape(self, input_shape: Any) -> Any:
        return (*input_shape[:-1], self.width)

    def get_config(self) -> dict[str, Any]:
        paraphraser = keras.saving.serialize_keras_object(self.paraphraser)
        return {**super().get_config(), "width": self.width, "paraphraser": paraphraser}

    @classmethod
    def from_config(cls, config: Any) -> Any:
        return cls(**{**config, "paraphraser": keras.saving.deserialize_keras_object(config["paraphraser"])})


@checked(epochs=(1, math.inf), ratio=POSITIVE)
def train_paraphraser(
    teacher: keras.Model,
    layer_name: str,
    x: Any,
    epochs: int = 10,
    ratio: float = 0.5,
    preactivation: bool = False,
    optimizer: Any = "adam",
    **fit_arguments: Any,
) -> Paraphraser:
    """Train a `Paraphraser` to restore the features of a layer of the teacher.

    The loss is the squared error of the features, averaged over elements. The teacher runs in inference mode and is
    not changed. Labels in the data are ignored.

    Args:
        teacher: A trained `keras.Model`.
        layer_name: The layer whose feature maps are compared by factor transfer.
        x: Inputs of the teacher: arrays or a dataset of batches, as accepted by `keras.Model.fit`.
        epochs: Number of passes over the data, >= 1. Defaults to 10.
        ratio: Number of channels of the factor relative to that of the features, > 0. Defaults to 0.5.
        preactivation: Whether to take the features before the activation of the layer. Defaults to `False`.
        optimizer: A Keras optimizer, or its name. Defaults to `"adam"`.
        **fit_arguments: Passed to `keras.Model.fit`, such as `batch_size`, `verbose`, or `shuffle=False` for a dataset.

    Returns:
        A built `Paraphraser`, which is no longer trainable.

    Raises:
        ValueError: If the teacher has no such layer, or the layer does not return feature maps.

    Example:

    >>> import numpy as np
    >>> teacher = keras.Sequential([keras.Input((4, 4, 3)), keras.layers.Conv2D(8, 3, name="last_map")])
    >>> paraphraser = train_paraphraser(teacher, "last_map", np.ones((2, 4, 4, 3)), epochs=1, verbose=0)
    >>> paraphraser.factor_shape((None, 2, 2, 8))
    (None, 2, 2, 4)

    Reference:
        Kim, Park, Kwak, "Paraphrasing Complex Network: Network Compression via Factor Transfer", 2018,
        arXiv:1802.04977.
    """
    key = tap(layer_name, preactivation)
    extractor = FeatureExtractor(teacher, [key], role="teacher")
    paraphraser = Paraphraser(ratio, name=f"{teacher.name}_paraphraser")
    restoring = _Restoring(lambda inputs: extractor(inputs, training=False)[key], paraphraser)
    restoring.compile(optimizer=optimizer)
    restoring.fit(x, epochs=epochs, **fit_arguments)
    paraphraser.trainable = False
    return paraphraser


class _Restoring(keras.Model):
    """The squared error of a paraphraser that restores the features of a model."""

    def __init__(self, take: Any, paraphraser: Any):
        super().__init__(name="restoring")
        self._take = Untracked(take)
        self.paraphraser = paraphraser

    def call(self, inputs: Any) -> Any:
        maps = ops.cast(ops.stop_gradient(self._take.content(inputs)), "float32")
        return ops.mean(ops.square(self.paraphraser(maps) - maps), axis=(1, 2, 3))

    def compute_loss(
        self, x: Any = None, y: Any = None, y_pred: Any = None, sample_weight: Any = None, training: bool = True
    ) -> Any:
        return ops.mean(y_pred)


def _chain(owner, kind, widths, input_shape, name):
    """Build a chain of 3x3 convolutions of the given widths."""
    layers, shape = [], tuple(input_shape)
    for index, width in enumerate(widths):
        layer = kind(width, 3, padding="same", dtype=owner.dtype_policy, name=f"{name}_{index}")
        layer.build(shape)
        # Setting `trainable` freezes existing layers only, and these are created later.
        layer.trainable = owner.trainable
        layers.append(layer)
        shape = (*shape[:-1], width)
    return layers


def _run_chain(layers, inputs):
    for layer in layers:
        inputs = ops.leaky_relu(layer(inputs), negative_slope=_SLOPE)
    return inputs
