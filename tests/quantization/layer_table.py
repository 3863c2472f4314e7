"""One small model for each row of the tables of layers, operations and activations."""

import keras
import numpy as np
from keras import layers, ops

from keras_distill.quantization import gelu_tanh
from keras_distill.quantization.rules import AUGMENTATION

IMAGE, SEQUENCE, VECTOR, TOKENS = (8, 8, 3), (12, 3), (8,), (10,)


def normalization():
    """Make a batch normalization that has something to fold."""
    uniform = keras.initializers.RandomUniform
    return layers.BatchNormalization(
        moving_mean_initializer=uniform(-0.3, 0.3, seed=1),
        moving_variance_initializer=uniform(0.5, 2.0, seed=2),
        gamma_initializer=uniform(0.5, 1.5, seed=3),
        beta_initializer=uniform(-0.3, 0.3, seed=4),
    )


def conv(x, filters=4, size=1):
    return layers.Conv2D(filters, size, padding="same")(x)


def _augment(x):
    """Apply every layer that changes images in training only."""
    arguments = {"RandomContrast": (0.1,), "RandomBrightness": (0.1,), "RandomRotation": (0.1,), "RandomZoom": (0.1,)}
    arguments |= {"RandomTranslation": (0.1, 0.1), "AlphaDropout": (0.1,), "GaussianDropout": (0.1,)}
    arguments |= {"GaussianNoise": (0.1,), "RandomPosterization": (4,)} | dict.fromkeys(_WITH_FACTOR, (0.1,))
    for kind in AUGMENTATION:
        x = kind(*arguments.get(kind.__name__, ()))(x)
    return conv(x)


_WITH_FACTOR = ("RandomColorDegeneration", "RandomGrayscale", "RandomHue", "RandomSaturation")
_WITH_FACTOR += ("RandomSharpness",)


def _attend(x, **masks):
    embedded = layers.Embedding(
        20, 8, keras.initializers.RandomUniform(-1, 1), mask_zero="attention_mask" not in masks
    )(x)
    return layers.MultiHeadAttention(2, 4)(embedded, embedded, **masks)


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
    "transposed": (IMAGE, lambda x: layers.ReLU()(normalization()(layers.Conv2DTranspose(4, 3, 2, "same")(x)))),
    "transposed without a bias": (
        IMAGE,
        lambda x: layers.Conv2DTranspose(4, 3, 2, use_bias=False, activation="relu")(x),
    ),
    "transposed 1d": (SEQUENCE, lambda x: layers.Conv1DTranspose(4, 3, 2, "same", activation="relu")(x)),
    "groups": (IMAGE, lambda x: layers.ReLU()(normalization()(layers.Conv2D(6, 3, groups=3)(x)))),
    "groups 1d": (SEQUENCE, lambda x: layers.Conv1D(6, 3, groups=3, activation="relu")(x)),
    "separable 1d": (SEQUENCE, lambda x: normalization()(layers.SeparableConv1D(4, 3, depth_multiplier=2)(x))),
    "depthwise 1d": (SEQUENCE, lambda x: layers.ReLU()(normalization()(layers.DepthwiseConv1D(3, 2)(x)))),
    "depthwise 1d dilated": (SEQUENCE, lambda x: layers.DepthwiseConv1D(3, dilation_rate=2)(x)),
    "upsampling": (IMAGE, lambda x: layers.UpSampling2D((2, 3))(conv(x))),
    "upsampling bilinear": (IMAGE, lambda x: layers.UpSampling2D(2, interpolation="bilinear")(conv(x))),
    "upsampling 1d": (SEQUENCE, lambda x: layers.UpSampling1D(3)(x)),
    "repetition": (VECTOR, lambda x: layers.RepeatVector(3)(layers.Dense(4)(x))),
    "resizing": (IMAGE, lambda x: layers.Resizing(9, 9, "nearest")(layers.Resizing(8, 5)(x))),
    "crop": (IMAGE, lambda x: layers.RandomCrop(5, 5)(layers.CenterCrop(6, 6)(x))),
    "adapted": (IMAGE, lambda x: conv(layers.Normalization(mean=[0.1, 0.2, 0.3], variance=[1.0, 2.0, 0.5])(x))),
    "augmentation": (IMAGE, _augment),
    "prelu": (IMAGE, lambda x: layers.PReLU("uniform", shared_axes=(1, 2))(conv(x))),
    "embedding": (TOKENS, lambda x: layers.GlobalAveragePooling1D()(layers.Embedding(20, 8, "uniform")(x))),
    "padding": (TOKENS, lambda x: layers.Dense(3)(_attend(x))),
    "padding of a causal net": (TOKENS, lambda x: layers.Dense(3)(_attend(x, use_causal_mask=True))),
    "a mask given": (TOKENS, lambda x: _attend(x, attention_mask=ops.expand_dims(ops.not_equal(x, 0), 1))),
    "sum and product of tensors": (IMAGE, lambda x: (conv(x, 3) + x) * x),
    "arithmetic of constants": (IMAGE, lambda x: 1.0 - ops.relu(conv(x) * 0.5 + 1.0) / 4.0),
    "a constant for each channel": (IMAGE, lambda x: -(x - np.array([1.0, 2.0, 3.0], "float32"))),
    "squares": (IMAGE, lambda x: ops.square(x) + conv(x, 3) ** 2),
    "maxima": (IMAGE, lambda x: ops.minimum(ops.maximum(ops.abs(x), 0.5), conv(x, 3))),
    "slices": (IMAGE, lambda x: ops.concatenate([x[:, 1:3], conv(x, 2)[:, :2]], axis=-1)),
    "split": (IMAGE, lambda x: ops.subtract(*ops.split(conv(x), 2, axis=-1))),
    "moves": (
        IMAGE,
        lambda x: ops.squeeze(ops.expand_dims(ops.transpose(ops.reshape(x, (-1, 8, 24)), (0, 2, 1)), 1), 1),
    ),
    "more moves": (
        IMAGE,
        lambda x: ops.swapaxes(ops.moveaxis(ops.stop_gradient(ops.cast(ops.copy(x), "float32")), 1, 2), 1, 3),
    ),
    "flat": (IMAGE, lambda x: ops.max(conv(x), axis=(1, 2))),
    "sums": (SEQUENCE, lambda x: ops.mean(ops.sum(layers.Dense(4)(x), axis=1, keepdims=True), axis=-1)),
    "pools": (IMAGE, lambda x: ops.max_pool(x, 2) + ops.average_pool(conv(x, 3), 2)),
    "products": (SEQUENCE, lambda x: ops.matmul(ops.softmax(ops.matmul(x, ops.swapaxes(x, 1, 2))), x)),
    "functions": (
        VECTOR,
        lambda x: ops.sigmoid(x) + ops.tanh(x) + ops.silu(x) + ops.relu6(x) + keras.activations.relu(x),
    ),
    "leaky and other functions": (VECTOR, lambda x: ops.hard_silu(x) + ops.leaky_relu(x) + ops.gelu(x)),
    "softmax head": (VECTOR, lambda x: layers.Dense(4, activation="softmax", name="probabilities")(x)),
}


def model_of(case):
    """Build the model of a case."""
    shape, function = CASES[case]
    inputs = keras.Input(shape, name="x", dtype="int32" if shape == TOKENS else "float32")
    return keras.Model(inputs, function(inputs), name="student")


def samples_of(shape, count, seed=5):
    """Return samples of a shape: normal numbers, or tokens of sentences that end in zeros."""
    generator = np.random.default_rng(seed)
    if shape != TOKENS:
        return generator.normal(size=(count, *shape)).astype("float32")
    tokens = generator.integers(1, 20, (count, *shape)).astype("int32")
    return np.where(np.arange(shape[0]) < generator.integers(3, 1 + shape[0], (count, 1)), tokens, 0)
