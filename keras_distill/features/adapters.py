"""Adapters: layers that map the student's features to the teacher's, trained with the student but not part of it."""

from collections.abc import Callable, Sequence
from typing import Any

import keras
from keras import ops

from keras_distill._core.messages import expected
from keras_distill._core.models import run

TORCH_NORM: dict[str, Any] = {"epsilon": 1e-5, "momentum": 0.9}
"""Arguments of the batch normalization in the published adapters."""

Make = Callable[[tuple, tuple, str], keras.layers.Layer | None]
"""A function `(teacher_shape, student_shape, name)` that creates the adapter of a pair of layers."""


def match_width(teacher_shape: tuple, student_shape: tuple, name: str) -> keras.layers.Layer | None:
    """Create a linear layer from the student's width to the teacher's.

    Args:
        teacher_shape: Shape of the teacher's features, channels last.
        student_shape: Shape of the student's features.
        name: Name of the layer.

    Returns:
        An unbuilt float32 `keras.layers.Layer`: a 1x1 convolution for feature maps, or a dense layer otherwise. `None`
        if the widths are equal, or if the ranks differ, which such a layer cannot change.

    Example:

    >>> match_width((None, 8, 8, 64), (None, 4, 4, 16), "adapter").filters
    64
    """
    if len(teacher_shape) != len(student_shape) or teacher_shape[-1] == student_shape[-1]:
        return None
    if len(teacher_shape) == 4:
        layer = keras.layers.Conv2D(teacher_shape[-1], 1, dtype="float32", name=name)
        layer.supports_masking = True  # It treats each position separately, so the mask stays valid.
        return layer
    return keras.layers.Dense(teacher_shape[-1], dtype="float32", name=name)


def match_each_width(teacher_shape: Any, student_shape: Any, name: str) -> keras.layers.Layer | None:
    """Create linear layers from the student's widths to the teacher's, for one or several pairs of layers.

    Args:
        teacher_shape: Shape of the teacher's features, or a list of shapes for several layers.
        student_shape: Shape of the student's features, in the same form.
        name: Name of the adapter.

    Returns:
        A layer, or `None` if all widths are equal. See `match_width`.
    """
    return make_for_each_layer(match_width, teacher_shape, student_shape, name)


def make_for_each_layer(make: Make, teacher_shape: Any, student_shape: Any, name: str) -> keras.layers.Layer | None:
    """Create one adapter for each pair of layers.

    Args:
        make: Function `(teacher_shape, student_shape, name) -> layer or None`, such as `match_width`.
        teacher_shape: Shape of the teacher's features, or a list of shapes for several layers.
        student_shape: Shape of the student's features, in the same form.
        name: Name of the adapter. Those of several layers are numbered.

    Returns:
        The result of `make`. For several layers, a `Parallel` of the results, or `None` if all of them are `None`.
    """
    if not is_list_of_shapes(student_shape):
        return make(teacher_shape, student_shape, name)
    pairs = zip(teacher_shape, student_shape, strict=True)
    adapters = [make(teacher, student, f"{name}_{index}") for index, (teacher, student) in enumerate(pairs)]
    return Parallel(adapters, name=name) if any(adapter is not None for adapter in adapters) else None


def is_list_of_shapes(shape: Any) -> bool:
    """Return whether this is a list of shapes rather than one shape."""
    return bool(shape) and isinstance(shape[0], (list, tuple))


def regressor(teacher_shape: tuple, student_shape: tuple, name: str, use_relu: bool = True) -> "ConvRegressor":
    """Create the published regressor from the student's feature map to the width and size of the teacher's.

    Args:
        teacher_shape: Shape `[batch, height, width, channels]` of the teacher's feature map.
        student_shape: Shape of the student's feature map, which is of the same size, half that size, or larger.
        name: Name of the layer.
        use_relu: Whether the layer ends in a ReLU. Defaults to `True`.

    Returns:
        An unbuilt `ConvRegressor`.

    Raises:
        ValueError: If the student's map is smaller but not half the size, or if these are not feature maps.
    """
    kernel_size, stride = _choose_kernel(tuple(teacher_shape), tuple(student_shape))
    return ConvRegressor(teacher_shape[-1], kernel_size, stride, use_relu=use_relu, name=name)


class Float32Layer(keras.layers.Layer):
    """A layer that computes in float32 by default, whatever the precision of the models, as the losses do."""

    def __init__(self, dtype: Any = "float32", **kwargs: Any):
        super().__init__(dtype=dtype, **kwargs)
        self.supports_masking = True


@keras.saving.register_keras_serializable(package="keras_distill")
class Parallel(Float32Layer):
    """Apply one layer to each element of a list.

    Args:
        layers: List of Keras layers, where `None` returns its element unchanged.
        dtype: Keras dtype of the layer itself. Defaults to `"float32"`.
        **kwargs: Passed to `keras.layers.Layer`.

    Example:

    >>> import numpy as np
    >>> layer = Parallel([None, keras.layers.Dense(5)])
    >>> [tuple(each.shape) for each in layer([np.ones((2, 3)), np.ones((2, 4))])]
    [(2, 3), (2, 5)]
    """

    def __init__(self, layers: Sequence[keras.layers.Layer | None], **kwargs: Any):
        super().__init__(**kwargs)
        self.layers = list(layers)

    def build(self, input_shape: Any) -> None:
        self._check_count(input_shape)
        for layer, shape in zip(self.layers, input_shape, strict=True):
            if layer is not None and not layer.built:
                layer.build(shape)
        self.built = True

    def call(self, inputs: Any, training: bool = False) -> Any:
        self._check_count(inputs)
        pairs = zip(self.layers, inputs, strict=True)
        return [each if layer is None else run(layer, each, training) for layer, each in pairs]

    def compute_output_shape(self, input_shape: Any) -> Any:
        pairs = zip(self.layers, input_shape, strict=True)
        return [shape if layer is None else layer.compute_output_shape(shape) for layer, shape in pairs]

    def _check_count(self, elements):
        if len(elements) != len(self.layers):
            what = f"a list of {len(self.layers)} elements, one for each layer of {self.name!r}"
            raise ValueError(expected(what, f"{len(elements)} elements"))

    def get_config(self) -> dict[str, Any]:
        layers = [keras.saving.serialize_keras_object(layer) for layer in self.layers]
        return {**super().get_config(), "layers": layers}

    @classmethod
    def from_config(cls, config: Any) -> Any:
        layers = [keras.saving.deserialize_keras_object(layer) for layer in config["layers"]]
        return cls(**{**config, "layers": layers})


@keras.saving.register_keras_serializable(package="keras_distill")
class ConvRegressor(Float32Layer):
    """Map the student's feature map to the teacher's: convolution, batch normalization, ReLU.

    Args:
        width: Number of channels of the teacher's map.
        kernel_size: Height and width of the kernel, one number or two. With stride 1 there is no padding: a kernel of
            size 1 keeps the size, and one of size n reduces it by n - 1. Defaults to 1.
        stride: 1; 2 to halve the size, with zero padding so that an even size becomes exactly half; 0.5 to double it by
            a transposed convolution. Defaults to 1.
        use_relu: Whether the layer ends in a ReLU. Defaults to `True`.
        dtype: Keras dtype. Defaults to `"float32"`.
        **kwargs: Passed to `keras.layers.Layer`.

    Raises:
        ValueError: If the stride is not 1, 2 or 0.5.

    Example:

    >>> ConvRegressor(24, kernel_size=3, stride=2).compute_output_shape((None, 8, 8, 16))
    (None, 4, 4, 24)

    Reference:
        Romero, Ballas, Kahou, Chassang, Gatta, Bengio, "FitNets: Hints for Thin Deep Nets", 2014, arXiv:1412.6550.
    """

    def __init__(
        self,
        width: int,
        kernel_size: int | Sequence[int] = 1,
        stride: float = 1,
        use_relu: bool = True,
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        if stride not in (0.5, 1, 2):
            raise ValueError(expected("stride to be 1, 2 or 0.5", f"stride={stride!r}"))
        size: Any = kernel_size if isinstance(kernel_size, (list, tuple)) else (kernel_size, kernel_size)
        self.width, self.kernel_size, self.stride, self.use_relu = width, tuple(size), stride, bool(use_relu)
        if stride == 0.5:
            self.conv = keras.layers.Conv2DTranspose(
                width, self.kernel_size, strides=2, padding="same", dtype=self.dtype_policy, name="conv"
            )
        else:
            self.conv = keras.layers.Conv2D(
                width, self.kernel_size, strides=stride, padding="valid", dtype=self.dtype_policy, name="conv"
            )
        self.norm = keras.layers.BatchNormalization(**TORCH_NORM, dtype=self.dtype_policy, name="norm")

    def build(self, input_shape: Any) -> None:
        self.conv.build(self._padded_shape(input_shape))
        self.norm.build(self.compute_output_shape(input_shape))
        self.built = True

    def call(self, inputs: Any, training: bool = False) -> Any:
        padding = self._padding()
        x = ops.pad(inputs, ((0, 0), *((each, each) for each in padding), (0, 0))) if any(padding) else inputs
        x = self.norm(self.conv(x), training=training)
        return ops.relu(x) if self.use_relu else x

    def compute_output_shape(self, input_shape: Any) -> Any:
        return tuple(self.conv.compute_output_shape(self._padded_shape(input_shape)))

    def _padding(self):
        # The same on every side: Keras's "same" pads an even size at the bottom and right only.
        return tuple((size - 1) // 2 for size in self.kernel_size) if self.stride == 2 else (0, 0)

    def _padded_shape(self, shape):
        sides = zip(shape[1:3], self._padding(), strict=True)
        return (shape[0], *(None if size is None else size + 2 * pad for size, pad in sides), shape[3])

    def get_config(self) -> dict[str, Any]:
        config = {"width": self.width, "kernel_size": self.kernel_size, "stride": self.stride}
        return {**super().get_config(), **config, "use_relu": self.use_relu}


@keras.saving.register_keras_serializable(package="keras_distill")
class Connector(Float32Layer):
    """Map the student's channels to the teacher's: a 1x1 convolution without bias, and batch normalization.

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

    def __init__(self, width: int, **kwargs: Any):
        super().__init__(**kwargs)
        self.width = width
        self.conv = keras.layers.Conv2D(width, 1, use_bias=False, dtype=self.dtype_policy, name="conv")
        self.norm = keras.layers.BatchNormalization(**TORCH_NORM, dtype=self.dtype_policy, name="norm")

    def build(self, input_shape: Any) -> None:
        self.conv.build(input_shape)
        self.norm.build(self.compute_output_shape(input_shape))
        self.built = True

    def call(self, inputs: Any, training: bool = False) -> Any:
        return self.norm(self.conv(inputs), training=training)

    def compute_output_shape(self, input_shape: Any) -> Any:
        return (*input_shape[:-1], self.width)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "width": self.width}


def _choose_kernel(teacher_shape, student_shape):
    """Return the kernel size and the stride that map the student's map to the teacher's size."""
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
