"""A residual teacher, a residual student and a depthwise separable student, for images of 32 x 32 pixels."""

import keras
from keras import layers

SHAPE, CLASSES = (32, 32, 3), 10


def resnet(widths, blocks, name):
    """Build a residual net: a stage of so many blocks for each width, the first at 16 x 16 pixels.

    It is the net of He et al. 2015 for CIFAR-10, but for the first convolution, which halves the picture already: a
    quarter of the arithmetic.

    Args:
        widths: Channels of each stage; every stage but the first halves height and width.
        blocks: Blocks of two convolutions in each stage.
        name: Name of the model.

    Returns:
        A `keras.Model` of logits.
    """
    return _model(widths, blocks, name, _residual)


def mobilenet(widths, blocks, name):
    """Build a net of depthwise separable convolutions after Howard et al. 2017; arguments as those of `resnet`."""
    return _model(widths, blocks, name, _separable)


def teacher():
    """Build the teacher, 176 thousand parameters."""
    return resnet((16, 32, 64), 2, "teacher")


STUDENTS = {
    "resnet": lambda: resnet((8, 16, 32), 1, "resnet"),
    "mobilenet": lambda: mobilenet((16, 32, 64), 1, "mobilenet"),
}


def _model(widths, blocks, name, block):
    inputs = keras.Input(SHAPE)
    x = layers.ReLU()(_normalised(layers.Conv2D(widths[0], 3, 2, "same", use_bias=False)(inputs)))
    for stage, width in enumerate(widths):
        for number in range(blocks):
            x = block(x, width, strides=2 if stage and not number else 1)
    return keras.Model(inputs, layers.Dense(CLASSES)(layers.GlobalAveragePooling2D()(x)), name=name)


def _residual(x, width, strides):
    y = layers.ReLU()(_normalised(layers.Conv2D(width, 3, strides, "same", use_bias=False)(x)))
    y = _normalised(layers.Conv2D(width, 3, padding="same", use_bias=False)(y))
    if strides > 1 or x.shape[-1] != width:
        x = _normalised(layers.Conv2D(width, 1, strides, use_bias=False)(x))
    return layers.ReLU()(layers.Add()([x, y]))


def _separable(x, width, strides):
    x = layers.ReLU()(_normalised(layers.DepthwiseConv2D(3, strides, "same", use_bias=False)(x)))
    return layers.ReLU()(_normalised(layers.Conv2D(width, 1, use_bias=False)(x)))


def _normalised(x):
    # The default momentum of 0.99 would still remember the first weights after so few steps.
    return layers.BatchNormalization(momentum=0.9)(x)
