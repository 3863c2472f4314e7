"""Fusion of the student's stages, from the deepest to the shallowest: the adapter of knowledge review."""

import math
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_distill._core.checked import checked
from keras_distill._core.messages import expected
from keras_distill.features.adapters import TORCH_NORM, is_list_of_shapes

_LARGEST_WIDTH = 512


@keras.saving.register_keras_serializable(package="keras_distill")
class AttentionBasedFusion(keras.layers.Layer):
    """Fuse a feature map of the student with the residual from the deeper stages.

    A 1x1 convolution maps the feature map to a common width. The map and the residual are weighted by two attention
    maps, which are computed from both, and their sum is resized to the teacher's size. A 3x3 convolution turns the sum
    into the map to compare, and the sum itself is passed to the next shallower stage. Both convolutions are followed by
    batch normalization.

    Args:
        mid_width: Number of channels of the maps that are passed from stage to stage.
        width: Number of channels of the teacher's map.
        size: Height and width of the teacher's map.
        fuse: Whether there is a residual. The deepest stage has none. Defaults to `True`.
        dtype: Keras dtype of the layer. Defaults to `"float32"`, whatever the precision of the models.
        **kwargs: Passed to `keras.layers.Layer`.

    Example:

    >>> import numpy as np
    >>> fusion = AttentionBasedFusion(mid_width=8, width=24, size=(4, 4))
    >>> output, residual = fusion([np.ones((2, 4, 4, 16), "float32"), np.ones((2, 2, 2, 8), "float32")])
    >>> tuple(output.shape), tuple(residual.shape)
    ((2, 4, 4, 24), (2, 4, 4, 8))

    Reference:
        Chen, Liu, Zhao, Jia, "Distilling Knowledge via Knowledge Review", 2021, arXiv:2104.09044.
    """

    @checked(mid_width=(1, math.inf), width=(1, math.inf))
    def __init__(
        self,
        mid_width: int,
        width: int,
        size: Sequence[int],
        fuse: bool = True,
        dtype: Any = "float32",
        **kwargs: Any,
    ):
        super().__init__(dtype=dtype, **kwargs)
        self.mid_width, self.width, self.size, self.fuse = mid_width, width, tuple(size), bool(fuse)
        self.narrow, self.narrow_norm = self._convolution(mid_width, 1, "narrow")
        self.widen, self.widen_norm = self._convolution(width, 3, "widen")
        self.attention: Any = None
        if fuse:
            self.attention = keras.layers.Conv2D(2, 1, activation="sigmoid", dtype=self.dtype_policy, name="attention")

    def _convolution(self, width, kernel_size, name):
        convolution = keras.layers.Conv2D(
            width,
            kernel_size,
            padding="same",
            use_bias=False,
            kernel_initializer=keras.initializers.VarianceScaling(1.0, "fan_in", "uniform"),
            dtype=self.dtype_policy,
            name=name,
        )
        norm = keras.layers.BatchNormalization(**TORCH_NORM, dtype=self.dtype_policy, name=f"{name}_norm")
        return convolution, norm

    def build(self, input_shape: Any) -> None:
        features = tuple(input_shape[0]) if self.fuse else tuple(input_shape)
        middle = (*features[:-1], self.mid_width)
        output = (features[0], *self.size)
        self.narrow.build(features)
        self.narrow_norm.build(middle)
        self.widen.build((*output, self.mid_width))
        self.widen_norm.build((*output, self.width))
        if self.fuse:
            self.attention.build((*features[:-1], 2 * self.mid_width))
        self.built = True

    def call(self, inputs: Any, training: bool = False) -> Any:
        """Return the map to compare and the residual for the next shallower stage, both of the teacher's size."""
        features, residual = inputs if self.fuse else (inputs, None)
        x = self.narrow_norm(self.narrow(features), training=training)
        if self.fuse:
            residual = resize_nearest(residual, x.shape[1:3])
            attention = self.attention(ops.concatenate([x, residual], axis=-1))
            x = x * attention[..., :1] + residual * attention[..., 1:]
        x = resize_nearest(x, self.size)
        return self.widen_norm(self.widen(x), training=training), x

    def compute_output_shape(self, input_shape: Any) -> Any:
        batch = (input_shape[0] if self.fuse else input_shape)[0]
        return (batch, *self.size, self.width), (batch, *self.size, self.mid_width)

    def get_config(self) -> dict[str, Any]:
        config = {"mid_width": self.mid_width, "width": self.width, "size": self.size, "fuse": self.fuse}
        return {**super().get_config(), **config}


@keras.saving.register_keras_serializable(package="keras_distill")
class ReviewFusion(keras.layers.Layer):
    """Fuse the student's stages to one map for each stage of the teacher, each with information of all deeper stages.

    Args:
        shapes: Shapes `[batch, height, width, channels]` of the teacher's maps, one for each stage, from shallow to
            deep.
        mid_width: Number of channels of the maps that are passed from stage to stage. Defaults to `None`: the channels
            of the student's deepest stage, at most 512.
        dtype: Keras dtype of the layer. Defaults to `"float32"`, whatever the precision of the models.
        **kwargs: Passed to `keras.layers.Layer`.

    Raises:
        ValueError: If a height or width is unknown, or the numbers of maps and stages differ.

    Example:

    >>> import numpy as np
    >>> fusion = ReviewFusion([(None, 8, 8, 24), (None, 4, 4, 48)])
    >>> maps = fusion([np.ones((2, 8, 8, 6), "float32"), np.ones((2, 4, 4, 12), "float32")])
    >>> [tuple(each.shape) for each in maps]
    [(2, 8, 8, 24), (2, 4, 4, 48)]

    Reference:
        Chen, Liu, Zhao, Jia, "Distilling Knowledge via Knowledge Review", 2021, arXiv:2104.09044.
    """

    @checked(mid_width=(1, math.inf))
    def __init__(self, shapes: Sequence[tuple], mid_width: int | None = None, dtype: Any = "float32", **kwargs: Any):
        super().__init__(dtype=dtype, **kwargs)
        self.shapes = [tuple(shape) for shape in shapes]
        self.mid_width = mid_width
        for shape in self.shapes:
            _check_known("the teacher", shape)

    def build(self, input_shape: Any) -> None:
        stages = [tuple(shape) for shape in (input_shape if is_list_of_shapes(input_shape) else [input_shape])]
        self._check_count(stages)
        for shape in stages:
            _check_known("the student", shape)
        mid_width = self.mid_width or min(_LARGEST_WIDTH, stages[-1][-1])
        self.fusions = []
        for index, (teacher, student) in enumerate(zip(self.shapes, stages, strict=True)):
            fuse = index < len(stages) - 1
            fusion = AttentionBasedFusion(
                mid_width, teacher[-1], teacher[1:3], fuse, dtype=self.dtype_policy, name=f"fusion_{index}"
            )
            fusion.build([student, (*student[:-1], mid_width)] if fuse else student)
            self.fusions.append(fusion)
        self.built = True

    def call(self, inputs: Any, training: bool = False) -> Any:
        stages = inputs if isinstance(inputs, (list, tuple)) else [inputs]
        self._check_count(stages)
        outputs, residual = [], None
        for features, fusion in zip(reversed(stages), reversed(self.fusions), strict=True):
            output, residual = fusion([features, residual] if fusion.fuse else features, training=training)
            outputs.append(output)
        return outputs[::-1] if isinstance(inputs, (list, tuple)) else outputs[0]

    def compute_output_shape(self, input_shape: Any) -> Any:
        several = is_list_of_shapes(input_shape)
        batch = input_shape[0][0] if several else input_shape[0]
        shapes = [(batch, *shape[1:]) for shape in self.shapes]
        return shapes if several else shapes[0]

    def _check_count(self, stages):
        if len(stages) != len(self.shapes):
            raise ValueError(expected(f"{len(self.shapes)} maps of the student, one for each stage", f"{len(stages)}"))

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "shapes": self.shapes, "mid_width": self.mid_width}


def resize_nearest(x: Any, size: Sequence[int]) -> Any:
    """Resize feature maps `[batch, height, width, channels]` to `size` by the nearest neighbour to the upper left.

    Row `i` of `h` is row `floor(i H / h)` of `H`, as in the published code. `keras.ops.image.resize` uses the row
    nearest to the center instead, which differs if the ratio of the sizes is not a whole number.

    Args:
        x: Float array `[batch, height, width, channels]` of known height and width.
        size: Height and width of the result.

    Returns:
        Float array `[batch, *size, channels]`.

    Example:

    >>> import numpy as np
    >>> resize_nearest(np.arange(3.0).reshape(1, 3, 1, 1), (5, 1)).numpy().ravel().tolist()
    [0.0, 0.0, 1.0, 1.0, 2.0]
    """
    for axis, length in enumerate(size, start=1):
        if x.shape[axis] != length:
            x = ops.take(x, np.arange(length) * x.shape[axis] // length, axis=axis)
    return x


def _check_known(owner, shape):
    if None in shape[1:]:
        fix = "Give the model's `Input` a fixed size."
        raise ValueError(expected(f"feature maps of {owner} of known height and width", f"{shape}", fix))
