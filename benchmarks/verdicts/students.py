"""The students of the matrix: kinds of layers, of heads and of data that people export."""

import keras
import numpy as np
from keras import layers, ops

from benchmarks.verdicts.dense import DENSE
from benchmarks.verdicts.making import Case, classify, digits, fit, image_data, image_input, normalized, words


def small_cnn():
    image = image_input()
    x = layers.MaxPooling2D()(normalized(layers.Conv2D(24, 3, padding="same", use_bias=False)(image)))
    return classify(image, layers.Flatten()(x), image_data())


def ds_cnn():
    """Depthwise separable convolutions over a spectrogram, as for keywords."""
    sound = keras.Input((16, 8, 1), name="sound")
    x = normalized(layers.Conv2D(24, (4, 3), padding="same")(sound))
    for _ in range(2):
        x = normalized(layers.DepthwiseConv2D(3, padding="same")(x))
        x = normalized(layers.Conv2D(24, 1)(x))
    x = layers.Flatten()(layers.AveragePooling2D((4, 2))(x))
    return classify(sound, x, image_data().repeat(2, 1), softmax=True)


def mobilenet():
    """Inverted residuals with ReLU6."""
    image = image_input()
    x = normalized(layers.Conv2D(16, 3, padding="same", use_bias=False)(image), "relu6")
    for stride in (1, 2):
        y = normalized(layers.Conv2D(48, 1, use_bias=False)(x), "relu6")
        y = normalized(layers.DepthwiseConv2D(3, stride, padding="same", use_bias=False)(y), "relu6")
        y = normalized(layers.Conv2D(16, 1, use_bias=False)(y), "linear")
        x = layers.Add()([x, y]) if x.shape == y.shape else y
    return classify(image, layers.Flatten()(normalized(layers.Conv2D(48, 1)(x), "relu6")), image_data())


def hard_swish_with_squeeze():
    """A block of MobileNetV3: hard-swish, and channels weighted by their means."""
    image = image_input()
    x = normalized(layers.Conv2D(24, 3, padding="same")(image), "hard_swish")
    gate = layers.Dense(24, "hard_sigmoid")(layers.Dense(8, "relu")(layers.GlobalAveragePooling2D(keepdims=True)(x)))
    return classify(image, layers.Flatten()(layers.MaxPooling2D()(layers.Multiply()([x, gate]))), image_data())


def grouped_convolution():
    image = image_input()
    x = normalized(layers.Conv2D(16, 3, padding="same")(image))
    x = normalized(layers.Conv2D(32, 3, 2, padding="same", groups=4)(x))
    return classify(image, layers.Flatten()(x), image_data())


def dilated_convolution():
    """A temporal convolutional network: causal, with growing gaps."""
    sound = keras.Input((16, 4), name="sound")
    x = sound
    for gap in (1, 2, 4):
        x = normalized(layers.Conv1D(24, 3, padding="causal", dilation_rate=gap)(x))
    return classify(sound, layers.Flatten()(x), image_data().reshape(-1, 16, 4))


def vision_transformer():
    """Patches, attention, layer normalization, GELU."""
    image = image_input()
    x = layers.Reshape((16, 24))(layers.Conv2D(24, 2, 2)(image))
    x = layers.Add()([x, layers.MultiHeadAttention(2, 12)(x, x)])
    x = layers.Dense(48, "gelu")(layers.LayerNormalization()(x))
    return classify(image, layers.Flatten()(x), image_data())


def causal_attention():
    sound = keras.Input((8, 8), name="sound")
    x = layers.Dense(24)(sound)
    x = layers.Add()([x, layers.MultiHeadAttention(2, 12)(x, x, use_causal_mask=True)])
    return classify(sound, layers.Flatten()(layers.Dense(32, "relu")(x)), image_data()[..., 0])


def padded_bert():
    """Attention over words of which some are padding, which the embedding masks."""
    tokens = keras.Input((8,), dtype="int32", name="words")
    x = layers.Embedding(18, 24, keras.initializers.RandomNormal(stddev=0.5), mask_zero=True)(tokens)
    x = layers.Add()([x, layers.MultiHeadAttention(2, 12)(x, x)])
    x = layers.LayerNormalization()(x)
    data = words()[0].copy()
    data[::4, 6:] = 0
    return classify(tokens, layers.Flatten()(layers.Dense(32, "relu")(x)), data)


def embedded_words():
    tokens = keras.Input((8,), dtype="int32", name="words")
    x = layers.Embedding(18, 16, keras.initializers.RandomNormal(stddev=0.5))(tokens)
    return classify(tokens, layers.Dense(96, "relu")(layers.Flatten()(x)), words()[0])


def recurrent(memory):
    """What a memory holds after every step: the last one alone tells digits apart by less than int8 resolves."""
    sound = keras.Input((8, 8), name="sound")
    return classify(sound, layers.Flatten()(memory(sound)), image_data()[..., 0])


def lstm():
    return recurrent(layers.LSTM(24, return_sequences=True))


def gru():
    return recurrent(layers.GRU(24, return_sequences=True))


def both_directions():
    return recurrent(layers.Bidirectional(layers.GRU(12, return_sequences=True)))


def rescaled_bytes():
    """Rescales pictures of 0 to 255 inside."""
    image = image_input()
    x = normalized(layers.Conv2D(24, 3, padding="same")(layers.Rescaling(1 / 255)(image)))
    return classify(image, layers.Flatten()(layers.MaxPooling2D()(x)), 255 * image_data(), softmax=True)


def camera_bytes():
    """Takes the bytes of a camera."""
    image = keras.Input((8, 8, 1), dtype="uint8", name="image")
    x = normalized(layers.Conv2D(24, 3, padding="same")(layers.Rescaling(1 / 127.5, -1)(image)))
    return classify(image, layers.Flatten()(layers.MaxPooling2D()(x)), (255 * image_data()).astype("uint8"))


def without_gain():
    """A batch normalization whose gamma is 0 in some channels and 1e-7 in others, with a beta of one half."""
    image = image_input()
    normalization = layers.BatchNormalization(momentum=0.0)
    x = normalization(layers.Conv2D(24, 3, padding="same", use_bias=False)(image))
    gamma = np.ones(24, "float32")
    gamma[:4], gamma[4:8] = 0.0, 1e-7
    normalization.set_weights([gamma, np.full(24, 0.5, "float32"), *normalization.get_weights()[2:]])
    return classify(image, layers.Flatten()(layers.MaxPooling2D()(layers.ReLU()(x))), image_data())


def group_normalization():
    image = image_input()
    x = layers.ReLU()(layers.GroupNormalization(4)(layers.Conv2D(24, 3, padding="same")(image)))
    return classify(image, layers.Flatten()(layers.MaxPooling2D()(x)), image_data())


def leaky_activations():
    image = image_input()
    x = layers.LeakyReLU(0.1)(layers.Conv2D(16, 3, padding="same")(image))
    x = layers.PReLU(keras.initializers.Constant(0.2), shared_axes=[1, 2])(layers.Conv2D(16, 3, 2)(x))
    return classify(image, layers.Flatten()(layers.ELU()(layers.Conv2D(24, 1)(x))), image_data())


def tensor_arithmetic():
    """Slices, sums, products and choices of tensors outside layers."""
    image = image_input()
    x = normalized(layers.Conv2D(16, 3, padding="same")(image))
    x = x[:, 1:, 1:] * 2.0 - x[:, :-1, :-1]
    x = ops.where(x > 0.0, x, 0.25 * x)
    return classify(image, layers.Flatten()(layers.MaxPooling2D()(x)), image_data())


# Masks and maps


def mapped(features, image, targets, units, activation, kind, decide=None):
    """Return a case whose 1×1 convolution gives each pixel an answer."""
    head = layers.Conv2D(units, 1, name="head")
    outputs = layers.Activation(activation, dtype="float32")(head(features))
    fit(image, features, head, image_data(), targets)
    student = keras.Model(image, decide(outputs) if decide else outputs)
    return Case(student, {"image": image_data()}, {"y": kind})


def pixels():
    """Return a body with a bottleneck, as of a U-Net, and its input."""
    image = image_input()
    x = normalized(layers.Conv2D(16, 3, padding="same")(image))
    y = layers.UpSampling2D()(normalized(layers.Conv2D(16, 3, padding="same")(layers.MaxPooling2D()(x))))
    return normalized(layers.Conv2D(24, 3, padding="same")(layers.Concatenate()([x, y]))), image


def bright():
    """Return maps of three classes: dark, grey and bright pixels."""
    return np.digitize(digits()[0][..., 0], (0.3, 0.7))


def mask_of_one_channel():
    features, image = pixels()
    return mapped(features, image, 8.0 * (bright() == 2) - 4, 1, "sigmoid", "labels")


def mask_of_a_rare_object():
    """An object that covers a few pixels in a hundred."""
    features, image = pixels()
    rare = digits()[0][..., 0] > 0.97
    return mapped(features, image, 40.0 * (rare & np.roll(rare, 1, 1)) - 4, 1, "sigmoid", "labels")


def mask_of_three_channels():
    features, image = pixels()
    return mapped(features, image, 8.0 * np.eye(3)[bright()] - 4, 3, "sigmoid", "labels")


def segmentation():
    features, image = pixels()
    return mapped(features, image, 8.0 * np.eye(3)[bright()] - 4, 3, "softmax", "classes")


def class_map():
    """A map of classes as integers."""
    features, image = pixels()
    return mapped(
        features, image, 8.0 * np.eye(3)[bright()] - 4, 3, "linear", "indices", lambda y: ops.argmax(y, axis=-1)
    )


def transposed_convolution():
    """A picture from a half as wide one, by a transposed convolution."""
    image = image_input()
    x = normalized(layers.Conv2D(24, 3, 2, padding="same")(image))
    x = normalized(layers.Conv2DTranspose(24, 3, 2, padding="same")(x))
    return mapped(x, image, digits()[0], 1, "linear", "picture")


def upsampled_picture():
    """Super-resolution: an 8×8 picture becomes smoother by a resized copy."""
    image = image_input()
    x = normalized(layers.Conv2D(16, 3, padding="same")(layers.AveragePooling2D(2)(image)))
    x = normalized(layers.Conv2D(16, 3, padding="same")(layers.UpSampling2D(interpolation="bilinear")(x)))
    return mapped(x, image, digits()[0], 1, "linear", "picture")


# Several ends


def two_inputs():
    image, tokens = image_input(), keras.Input((8,), dtype="int32", name="words")
    seen = layers.Flatten()(normalized(layers.Conv2D(8, 3, 2)(image)))
    read = layers.Flatten()(layers.Embedding(18, 4, keras.initializers.RandomNormal(stddev=0.5))(tokens))
    joined = layers.Dense(64, "relu")(layers.Concatenate()([seen, read]))
    return classify([image, tokens], joined, [image_data(), words()[0]])


def two_outputs():
    """A class, as probabilities, and how much ink there is."""
    images, classes = digits()
    image = image_input()
    x = layers.Dense(96, "relu")(layers.Flatten()(image))
    heads = {"kind": layers.Dense(10, name="scores"), "ink": layers.Dense(1, name="ink")}
    kind, ink = layers.Softmax(name="kind")(heads["kind"](x)), heads["ink"](x)
    fit(image, x, heads["kind"], images, 10 * (np.eye(10)[classes] - 0.1))
    fit(image, x, heads["ink"], images, images.mean((1, 2, 3)))
    kinds = {"ink": "numbers", "kind": "classes"}
    targets = {"ink": images.mean((1, 2)), "kind": classes}
    return Case(keras.Model(image, {"kind": kind, "ink": ink}), {"image": images}, kinds, targets)


SPATIAL = (
    small_cnn,
    ds_cnn,
    mobilenet,
    hard_swish_with_squeeze,
    grouped_convolution,
    dilated_convolution,
    vision_transformer,
    causal_attention,
    padded_bert,
    embedded_words,
    lstm,
    gru,
    both_directions,
    rescaled_bytes,
    camera_bytes,
    without_gain,
    group_normalization,
    leaky_activations,
    tensor_arithmetic,
    mask_of_one_channel,
    mask_of_a_rare_object,
    mask_of_three_channels,
    segmentation,
    class_map,
    transposed_convolution,
    upsampled_picture,
    two_inputs,
    two_outputs,
)
STUDENTS = {make.__name__: make for make in (*SPATIAL, *DENSE)}


def make(name):
    """Build a student, the same one each time."""
    keras.utils.set_random_seed(7)
    return STUDENTS[name]()
