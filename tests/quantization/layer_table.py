"""One small model for each row of the table of layers, and for each activation."""

import keras
from keras import layers

from keras_distill.quantization import gelu_tanh

IMAGE, SEQUENCE, VECTOR = (8, 8, 3), (12, 3), (8,)


def normalization():
    """Make a batch normalization that has something to fold."""
    uniform = keras.initializers.RandomUniform
    return layers.BatchNormalization(
        moving_mean_initializer=uniform(-0.3, 0.3, seed=1),
        moving_variance_initializer=uniform(0.5, 2.0, seed=2),
        gamma_initializer=uniform(0.5, 1.5, seed=3),
        beta_initializer=uniform(-0.3, 0.3, seed=4),
    )


def _block():
    return keras.Sequential([keras.Input(VECTOR), layers.Dense(8, activation="relu"), normalization()], name="block")


# Name: shape of the input, function of the symbolic input.
CASES = {
    "dense": (VECTOR, lambda x: layers.Dense(5, activation="relu6")(x)),
    "dense of a sequence": (SEQUENCE, lambda x: normalization()(layers.Dense(5)(x))),
    "conv2d": (IMAGE, lambda x: layers.ReLU()(normalization()(layers.Conv2D(4, 3, 2, "same")(x)))),
    "conv2d dilated": (IMAGE, lambda x: layers.Conv2D(4, 3, dilation_rate=2, activation="relu")(x)),
    "conv1d": (SEQUENCE, lambda x: layers.ReLU()(normalization()(layers.Conv1D(4, 3, 2, "same")(x)))),
    "conv1d causal": (SEQUENCE, lambda x: layers.Conv1D(4, 3, padding="causal", dilation_rate=2)(x)),
    "depthwise": (IMAGE, lambda x: normalization()(layers.DepthwiseConv2D(3, depth_multiplier=2)(x))),
    "separable": (IMAGE, lambda x: normalization()(layers.SeparableConv2D(4, 3, depth_multiplier=2)(x))),
    "separable relu": (IMAGE, lambda x: layers.SeparableConv2D(4, 3, 2, "same", activation="relu")(x)),
    "normalization alone": (IMAGE, lambda x: layers.ReLU()(normalization()(x))),
    "normalization of a vector": (VECTOR, lambda x: normalization()(x)),
    "rescaling": (IMAGE, lambda x: layers.Rescaling([0.5, 1.0, 2.0], -0.5)(x)),
    "max pooling": (IMAGE, lambda x: layers.GlobalMaxPooling2D()(layers.MaxPooling2D()(x))),
    "max pooling 1d": (SEQUENCE, lambda x: layers.GlobalMaxPooling1D()(layers.MaxPooling1D()(x))),
    "global mean": (IMAGE, lambda x: layers.GlobalAveragePooling2D()(x)),
    "global mean 1d": (SEQUENCE, lambda x: layers.GlobalAveragePooling1D()(x)),
    "mean pooling": (IMAGE, lambda x: layers.AveragePooling2D(2)(x)),
    "mean pooling 1d": (SEQUENCE, lambda x: layers.AveragePooling1D(2)(x)),
    "add": (VECTOR, lambda x: layers.ReLU()(layers.Add()([x, layers.Dense(8)(x), layers.Dense(8)(x)]))),
    "subtract": (VECTOR, lambda x: layers.Subtract()([x, layers.Dense(8)(x)])),
    "multiply": (VECTOR, lambda x: layers.Multiply()([x, layers.Dense(8, activation="sigmoid")(x)])),
    "maximum": (VECTOR, lambda x: layers.Minimum()([x, layers.Maximum()([x, layers.Dense(8)(x)])])),
    "concatenate": (IMAGE, lambda x: layers.Concatenate()([x, layers.Conv2D(4, 3, 1, "same")(x)])),
    "shapes": (IMAGE, lambda x: layers.Reshape((-1, 4))(layers.Flatten()(layers.ZeroPadding2D()(x)))),
    "crops": (IMAGE, lambda x: layers.Permute((2, 1, 3))(layers.Cropping2D()(layers.SpatialDropout2D(0.5)(x)))),
    "crops 1d": (SEQUENCE, lambda x: layers.Cropping1D()(layers.ZeroPadding1D(2)(layers.SpatialDropout1D(0.5)(x)))),
    "leaky": (VECTOR, lambda x: layers.LeakyReLU()(layers.ReLU(negative_slope=0.1)(layers.Identity()(x)))),
    "softmax": (VECTOR, lambda x: layers.Softmax()(layers.Dropout(0.5)(x))),
    "relu of what others take": (VECTOR, lambda x: layers.Add()([d := layers.Dense(8)(x), layers.ReLU()(d)])),
    "relu of a normalization that others take": (
        VECTOR,
        lambda x: layers.Add()([d := normalization()(layers.Dense(8)(x)), layers.ReLU()(d)]),
    ),
    "nested": (VECTOR, lambda x: layers.Dense(3)(_block()(x))),
    "relu": (VECTOR, lambda x: layers.Activation("relu")(layers.Dense(4)(x))),
    "hard_swish": (VECTOR, lambda x: layers.Activation("hard_swish")(layers.Dense(4)(x))),
    "hard_silu": (IMAGE, lambda x: layers.Conv2D(4, 3, activation="hard_silu")(x)),
    "silu": (VECTOR, lambda x: layers.Dense(4, activation="silu")(x)),
    "tanh": (VECTOR, lambda x: layers.Dense(3)(layers.Dense(4, activation="tanh")(x))),
    "sigmoid": (VECTOR, lambda x: layers.Dense(4, activation="sigmoid")(x)),
    "leaky_relu": (VECTOR, lambda x: layers.Dense(4, activation="leaky_relu")(x)),
    "gelu_tanh": (VECTOR, lambda x: layers.Dense(4, activation=gelu_tanh)(x)),
    "layer normalization": (SEQUENCE, lambda x: layers.LayerNormalization()(layers.Dense(8)(x))),
    "attention": (SEQUENCE, lambda x: layers.MultiHeadAttention(2, 4)(x, x)),
    "softmax head": (VECTOR, lambda x: layers.Dense(4, activation="softmax", name="probabilities")(x)),
}


def model_of(case):
    """Build the model of a case."""
    shape, function = CASES[case]
    inputs = keras.Input(shape, name="x")
    return keras.Model(inputs, function(inputs), name="student")
