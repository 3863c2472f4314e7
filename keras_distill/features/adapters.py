"""Layers between the student's features and what a loss compares them with: trained along, no part of the student."""

import keras
from keras import ops

from keras_distill._core.messages import expected
from keras_distill._core.models import run

_TORCH_NORM = {"epsilon": 1e-5, "momentum": 0.9}
"""Of the batch normalisation in the published adapters."""


def match_width(teacher_shape, student_shape, name):
    """Make a linear layer from the student's width to the teacher's.

    Args:
        teacher_shape: Shape of the teacher's features, channels last.
        student_shape: Shape of the student's features.
        name: Name of the layer.

    Returns:
        An unbuilt float32 `keras.layers.Layer`: a 1x1 convolution for feature maps, a dense layer otherwise; `None`
        where the widths agree, or the ranks differ and no such layer can help.

    Example:

    >>> match_width((None, 8, 8, 64), (None, 4, 4, 16), "adapter").filters
    64
    """
    if len(teacher_shape) != len(student_shape) or teacher_shape[-1] == student_shape[-1]:
        return None
    if len(teacher_shape) == 4:
        layer = keras.layers.Conv2D(teacher_shape[-1], 1, dtype="float32", name=name)
        layer.supports_masking = True  # Position by position: the mask still fits.
        return layer
    return keras.layers.Dense(teacher_shape[-1], dtype="float32", name=name)


def for_each_layer(make, teacher_shape, student_shape, name):
    """Make one adapter for each pair of layers.

    Args:
        make: Function `(teacher_shape, student_shape, name) -> layer or None`, such as `match_width`.
        teacher_shape: Shape of the teacher's features, or a list of them for several layers.
        student_shape: The student's, likewise.
        name: Name of the adapter; those of several layers are numbered.

    Returns:
        What `make` returns; for several layers a `Parallel` of it, or `None` where no layer needs any.
    """
    if not _several(student_shape):
        return make(teacher_shape, student_shape, name)
    pairs = zip(teacher_shape, student_shape, strict=True)
    adapters = [make(teacher, student, f"{name}_{index}") for index, (teacher, student) in enumerate(pairs)]
    return Parallel(adapters, name=name) if any(adapter is not None for adapter in adapters) else None


def regressor(teacher_shape, student_shape, name, use_relu=True):
    """Make the published regressor from the student's feature map to the width and size of the teacher's.

    Args:
        teacher_shape: Shape `[batch, height, width, channels]` of the teacher's feature map.
        student_shape: The student's: of the same size, twice or half that, or larger.
        name: Name of the layer.
        use_relu: Whether it ends in a ReLU. Defaults to `True`.

    Returns:
        An unbuilt `ConvRegressor`.

    Raises:
        ValueError: If the student's map is smaller and not half the size, or these are no feature maps.
    """
    kernel_size, stride = _kernel(tuple(teacher_shape), tuple(student_shape))
    return ConvRegressor(teacher_shape[-1], kernel_size, stride, use_relu=use_relu, name=name)


class _Float32Layer(keras.layers.Layer):
    """A layer that computes in float32 whatever the models compute in, like the losses it serves."""

    def __init__(self, dtype="float32", **kwargs):
        super().__init__(dtype=dtype, **kwargs)
        self.supports_masking = True


@keras.saving.register_keras_serializable(package="keras_distill")
class Parallel(_Float32Layer):
    """Apply one layer to each element of a list.

    Args:
        layers: List of Keras layers; `None` passes its element through.
        dtype: Keras dtype of the layer itself. Defaults to `"float32"`.
        **kwargs: Passed to `keras.layers.Layer`.

    Example:

    >>> import numpy as np
    >>> layer = Parallel([None, keras.layers.Dense(5)])
    >>> [tuple(each.shape) for each in layer([np.ones((2, 3)), np.ones((2, 4))])]
    [(2, 3), (2, 5)]
    """

    def __init__(self, layers, **kwargs):
        super().__init__(**kwargs)
        self.layers = list(layers)

    def build(self, input_shape):
        self._check_count(input_shape)
        for layer, shape in zip(self.layers, input_shape, strict=True):
            if layer is not None and not layer.built:
                layer.build(shape)
        self.built = True

    def call(self, inputs, training=False):
        self._check_count(inputs)
        pairs = zip(self.layers, inputs, strict=True)
        return [each if layer is None else run(layer, each, training) for layer, each in pairs]

    def compute_output_shape(self, input_shape):
        pairs = zip(self.layers, input_shape, strict=True)
        return [shape if layer is None else layer.compute_output_shape(shape) for layer, shape in pairs]

    def _check_count(self, elements):
        if len(elements) != len(self.layers):
            what = f"a list of {len(self.layers)}, one for each layer of {self.name!r}"
            raise ValueError(expected(what, f"{len(elements)} elements"))

    def get_config(self):
        layers = [keras.saving.serialize_keras_object(layer) for layer in self.layers]
        return {**super().get_config(), "layers": layers}

    @classmethod
    def from_config(cls, config):
        layers = [keras.saving.deserialize_keras_object(layer) for layer in config["layers"]]
        return cls(**{**config, "layers": layers})


@keras.saving.register_keras_serializable(package="keras_distill")
class ConvRegressor(_Float32Layer):
    """Map the student's feature map to the teacher's: convolution, batch normalisation, ReLU.

    Args:
        width: Number of channels of the teacher's map.
        kernel_size: Height and width of the kernel, a number or two. With stride 1 it is applied without padding, so
            that 1 keeps the size and n takes n - 1 off it. Defaults to 1.
        stride: 1; 2 to halve the size (zero padding so that an even size becomes exactly half); 0.5 to double it, by a
            transposed convolution. Defaults to 1.
        use_relu: Whether it ends in a ReLU. Defaults to `True`.
        dtype: Keras dtype. Defaults to `"float32"`.
        **kwargs: Passed to `keras.layers.Layer`.

    Raises:
        ValueError: If the stride is none of these.

    Example:

    >>> ConvRegressor(24, kernel_size=3, stride=2).compute_output_shape((None, 8, 8, 16))
    (None, 4, 4, 24)

    Reference:
        Romero, Ballas, Kahou, Chassang, Gatta, Bengio, "FitNets: Hints for Thin Deep Nets", 2014, arXiv:1412.6550.
    """

    def __init__(self, width, kernel_size=1, stride=1, use_relu=True, **kwargs):
        super().__init__(**kwargs)
        if stride not in (0.5, 1, 2):
            raise ValueError(expected("stride to be 1, 2 or 0.5", f"stride={stride!r}"))
        size = kernel_size if isinstance(kernel_size, (list, tuple)) else (kernel_size, kernel_size)
        self.width, self.kernel_size, self.stride, self.use_relu = width, tuple(size), stride, bool(use_relu)
        if stride == 0.5:
            self.conv = keras.layers.Conv2DTranspose(
                width, self.kernel_size, strides=2, padding="same", dtype=self.dtype_policy, name="conv"
            )
        else:
            self.conv = keras.layers.Conv2D(
                width, self.kernel_size, strides=stride, padding="valid", dtype=self.dtype_policy, name="conv"
            )
        self.norm = keras.layers.BatchNormalization(**_TORCH_NORM, dtype=self.dtype_policy, name="norm")

    def build(self, input_shape):
        self.conv.build(self._padded_shape(input_shape))
        self.norm.build(self.compute_output_shape(input_shape))
        self.built = True

    def call(self, inputs, training=False):
        padding = self._padding()
        x = ops.pad(inputs, ((0, 0), *((each, each) for each in padding), (0, 0))) if any(padding) else inputs
        x = self.norm(self.conv(x), training=training)
        return ops.relu(x) if self.use_relu else x

    def compute_output_shape(self, input_shape):
        return tuple(self.conv.compute_output_shape(self._padded_shape(input_shape)))

    def _padding(self):
        # On every side alike: what Keras calls "same" pads an even size at the bottom and right only.
        return tuple((size - 1) // 2 for size in self.kernel_size) if self.stride == 2 else (0, 0)

    def _padded_shape(self, shape):
        sides = zip(shape[1:3], self._padding(), strict=True)
        return (shape[0], *(None if size is None else size + 2 * pad for size, pad in sides), shape[3])

    def get_config(self):
        config = {"width": self.width, "kernel_size": self.kernel_size, "stride": self.stride}
        return {**super().get_config(), **config, "use_relu": self.use_relu}


@keras.saving.register_keras_serializable(package="keras_distill")
class Connector(_Float32Layer):
    """Map the student's channels to the teacher's: a 1x1 convolution without bias, and batch normalisation.

    Args:
        width: Number of channels of the teacher's map.
        dtype: Keras dtype. Defaults to `"float32"`.
        **kwargs: Passed to `keras.layers.Layer`.

    Example:

    >>> Connector(24).compute_output_shape((None, 8, 8, 16))
    (None, 8, 8, 24)

    Reference:
        Heo, Kim, Yun, Park, Kwak, Choi, "A Comprehensive Overhaul of Feature Distillation", 2019, arXiv:1904.01866.
    """

    def __init__(self, width, **kwargs):
        super().__init__(**kwargs)
        self.width = width
        self.conv = keras.layers.Conv2D(width, 1, use_bias=False, dtype=self.dtype_policy, name="conv")
        self.norm = keras.layers.BatchNormalization(**_TORCH_NORM, dtype=self.dtype_policy, name="norm")

    def build(self, input_shape):
        self.conv.build(input_shape)
        self.norm.build(self.compute_output_shape(input_shape))
        self.built = True

    def call(self, inputs, training=False):
        return self.norm(self.conv(inputs), training=training)

    def compute_output_shape(self, input_shape):
        return (*input_shape[:-1], self.width)

    def get_config(self):
        return {**super().get_config(), "width": self.width}


def _several(shape):
    """Tell whether this is a list of shapes, and not one shape."""
    return bool(shape) and isinstance(shape[0], (list, tuple))


def _kernel(teacher_shape, student_shape):
    """Return the kernel size and the stride that bring the student's map to the teacher's size."""
    received = f"teacher features {teacher_shape}, student features {student_shape}"
    if not len(teacher_shape) == len(student_shape) == 4:
        raise ValueError(expected("feature maps [batch, height, width, channels] to regress", received))
    sizes = list(zip(teacher_shape[1:3], student_shape[1:3], strict=True))
    if all(teacher == student for teacher, student in sizes):
        return 1, 1
    if any(None in pair for pair in sizes):
        raise ValueError(expected("feature maps of known height and width", received))
    if all(student == 2 * teacher for teacher, student in sizes):
        return 3, 2
    if all(2 * student == teacher for teacher, student in sizes):
        return 4, 0.5
    if all(student >= teacher for teacher, student in sizes):
        return tuple(1 + student - teacher for teacher, student in sizes), 1
    what = "a student map at least as large as the teacher's, or exactly half as large"
    raise ValueError(expected(what, received, "Pair other layers, or pass an `adapter` that maps one to the other."))
