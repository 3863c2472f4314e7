"""Which layers are compared: as named, paired by size, or those before the heads."""

import keras
import pytest
from keras import layers, ops

from keras_distill.features import choose_layers, embedding_layer, pair_layers


def residual(widths, side=32, name="net", channels=3):
    """A small residual network that halves its maps with each width."""
    inputs = keras.Input((side, side, channels))
    x = layers.Rescaling(2.0, name="rescale")(inputs)
    x = layers.Normalization(mean=0.0, variance=1.0, name="normalize")(x)
    x = layers.ZeroPadding2D(1, name="pad")(x)
    x = layers.Conv2D(widths[0], 3, name="stem")(x)
    for index, width in enumerate(widths):
        x = layers.Conv2D(width, 3, 2, "same", name=f"down_{index}")(x)
        branch = layers.Conv2D(width, 3, padding="same", name=f"conv_{index}")(x)
        x = layers.Add(name=f"add_{index}")([x, branch])
        x = layers.ReLU(name=f"out_{index}")(x)
        x = layers.SpatialDropout2D(0.1, name=f"drop_{index}")(x)
    x = layers.GlobalAveragePooling2D(name="pool")(x)
    x = layers.Dropout(0.5, name="dropout")(x)
    return keras.Model(inputs, layers.Dense(10, name="head")(x), name=name)


def stack(*inner, shape=(4,)):
    return keras.Sequential([keras.Input(shape), *inner])


class Block(layers.Layer):
    """A block whose sum is no layer's output but its own."""

    def __init__(self, width, strides, **kwargs):
        super().__init__(**kwargs)
        self.down = layers.Conv2D(width, 3, strides, "same", name="down")
        self.conv = layers.Conv2D(width, 3, padding="same", name="conv")

    def call(self, x):
        x = self.down(x)
        return ops.relu(x + self.conv(x))


class Subclassed(keras.Model):
    def __init__(self, widths, softmax=False):
        super().__init__()
        self.blocks = [Block(width, 2, name=f"block_{index}") for index, width in enumerate(widths)]
        self.pool = layers.GlobalAveragePooling2D(name="pool")
        self.head = layers.Dense(10, name="head")
        self.softmax = softmax

    def call(self, x):
        for block in self.blocks:
            x = block(x)
        x = self.head(self.pool(x))
        return ops.softmax(x) if self.softmax else x


def subclassed(widths=(8, 12), **kwargs):
    model = Subclassed(widths, **kwargs)
    model(ops.ones((2, 32, 32, 3)))
    return model


# Pairs ---------------------------------------------------------------------------------------------------------------


def test_the_last_layers_of_each_size():
    pairs = pair_layers(residual([16, 32, 64]), residual([4, 8], name="student"))
    assert pairs == [("stem", "stem"), ("out_0", "out_0"), ("out_1", "out_1")]


@pytest.mark.parametrize("count, first", [(1, 2), (2, 1), (3, 0), (9, 0), (None, 0)])
def test_the_deepest_pairs(count, first):
    pairs = [("stem", "stem"), ("out_0", "out_0"), ("out_1", "out_1")]
    assert pair_layers(residual([16, 32, 64]), residual([4, 8]), count) == pairs[first:]


def test_layers_inside_a_backbone():
    inputs = keras.Input((32, 32, 3))
    teacher = keras.Model(inputs, layers.Dense(10)(residual([16, 32], name="backbone")(inputs)))
    pairs = pair_layers(teacher, residual([4, 8]))
    assert pairs == [("backbone/stem", "stem"), ("backbone/out_0", "out_0"), ("backbone/out_1", "out_1")]


def test_a_block_of_ones_own_by_what_it_returns():
    assert pair_layers(subclassed(), residual([4, 8])) == [("block_0", "out_0"), ("block_1", "out_1")]


def test_images_of_any_size():
    assert pair_layers(residual([16, 32], side=None), residual([4, 8], side=None))[1:] == [
        ("out_0", "out_0"),
        ("out_1", "out_1"),
    ]


def test_a_shared_layer_is_left_out():
    inputs, shared = keras.Input((8, 8, 3)), layers.Conv2D(3, 3, padding="same", name="shared")
    x = layers.Conv2D(3, 1, name="first")(inputs)
    model = keras.Model(inputs, layers.GlobalMaxPooling2D()(shared(shared(x))))
    assert pair_layers(model, model) == [("first", "first")]


def test_the_final_output_is_left_out():
    maps = [layers.Conv2D(4, 3, padding="same", name="features"), layers.Conv2D(2, 1, name="classes")]
    assert pair_layers(stack(*maps, shape=(8, 8, 3)), residual([4, 8], side=8)) == [("features", "stem")]


@pytest.mark.parametrize("length", [7, None])
def test_sequences_by_length(length):
    def model(depth):
        inputs = keras.Input((length,), dtype="int32")
        x = layers.Embedding(11, 6, name="embed")(inputs)
        for index in range(depth):
            attended = layers.MultiHeadAttention(2, 3, name=f"attend_{index}")(x, x)
            x = layers.LayerNormalization(name=f"norm_{index}")(layers.Add()([x, attended]))
        return keras.Model(inputs, layers.Dense(2)(layers.GlobalAveragePooling1D(name="pool")(x)))

    # Of four axes inside the attention: its heads are no maps.
    assert pair_layers(model(3), model(1)) == [("norm_2", "norm_0")]


def test_maps_go_before_sequences():
    def model():
        inner = [layers.Conv2D(4, 4, 4, name="patches"), layers.Reshape((4, 4)), layers.Dense(3, name="tokens")]
        return stack(*inner, layers.Flatten(), layers.Dense(2), shape=(8, 8, 3))

    assert pair_layers(model(), model()) == [("patches", "patches")]


@pytest.mark.parametrize(
    "student, sizes",
    [
        (lambda: stack(layers.Dense(3), layers.Dense(2)), "none"),
        (lambda: residual([4, 8], side=24), "24x24, 12x12, 6x6"),
    ],
)
def test_no_size_in_common(student, sizes):
    message = (
        rf"^Expected feature maps .* models\. Received: 32x32, 16x16 in the teacher, {sizes} in the student\. Name"
    )
    with pytest.raises(ValueError, match=message):
        pair_layers(residual([8]), student())


def test_models_that_are_not_built():
    with pytest.raises(ValueError, match=r"^Expected a built student to take feature maps from\. Received: Subclassed"):
        pair_layers(residual([4]), Subclassed([4]))
    with pytest.raises(ValueError, match=r"^Expected a built teacher to take an embedding from\. Received: Subclassed"):
        embedding_layer(Subclassed([4]), "teacher")


# Embeddings ----------------------------------------------------------------------------------------------------------


def hidden(*head):
    return stack(layers.Dense(8, name="first"), layers.Dense(6, activation="relu", name="second"), *head)


EMBEDDINGS = {
    "pooling": (lambda: residual([4, 8]), "pool"),
    "hidden dense": (lambda: hidden(layers.Dense(3)), "second"),
    "dropout": (lambda: hidden(layers.Dropout(0.5), layers.GaussianNoise(0.5), layers.Dense(3)), "second"),
    "activation layer": (lambda: hidden(layers.ReLU(name="relu"), layers.Dense(3)), "relu"),
    "softmax layer": (lambda: hidden(layers.Dense(3), layers.Softmax()), "second"),
    "activation and reshape": (
        lambda: hidden(layers.Dense(4), layers.Activation("softmax"), layers.Reshape((2, 2))),
        None,
    ),
    "float32 on top": (lambda: hidden(layers.Dense(3), layers.Activation("linear", dtype="float32")), "second"),
    "nested head": (
        lambda: hidden(keras.Sequential([layers.Dense(5, name="neck"), layers.Dense(3)], name="head")),
        None,
    ),
    "flattened maps": (
        lambda: stack(layers.Conv2D(2, 3), layers.Flatten(name="flat"), layers.Dense(3), shape=(8, 8, 3)),
        "flat",
    ),
    "subclassed": (subclassed, "pool"),
    "softmax outside of layers": (lambda: subclassed(softmax=True), "pool"),
    "recurrent": (lambda: stack(layers.LSTM(4, name="lstm"), layers.Dense(3), shape=(5, 2)), "lstm"),
}


@pytest.mark.parametrize("case", EMBEDDINGS)
def test_the_layer_before_the_head(case):
    model, path = EMBEDDINGS[case]
    path = path or {"nested head": "head/neck", "activation and reshape": "second"}[case]
    assert embedding_layer(model()) == path


def test_two_heads():
    inputs = keras.Input((4,))
    x = layers.Dense(8, name="shared")(inputs)
    assert embedding_layer(keras.Model(inputs, {"a": layers.Dense(2)(x), "b": layers.Dense(3)(x)})) == "shared"


@pytest.mark.parametrize(
    "make",
    [
        lambda: stack(layers.Dense(3), layers.Softmax()),
        lambda: stack(layers.Flatten(), layers.Dense(3), shape=(8, 8, 1)),  # Of the pixels: nothing was learnt yet.
        lambda: stack(layers.Normalization(mean=0.0, variance=1.0), layers.Dense(3)),
    ],
)
def test_no_layer_before_the_head(make):
    message = (
        r"^Expected a student with a layer before its head .*which has no such layer\. "
        r"Name a layer: student_layer_name\.$"
    )
    with pytest.raises(ValueError, match=message):
        embedding_layer(make(), "student")


# Choices -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "asked, found",
    [
        ((None, None), (None, None)),
        (("out_1", None), ("out_1", None)),
        (("out_1", "out_0"), ("out_1", "out_0")),
        (("out_?", ["out_0", "add_1"]), (["out_0", "out_1"], ["out_0", "add_1"])),
        ((["out_[01]", None], ["stem", "add_*"]), (["out_0", "out_1", None], ["stem", "add_0", "add_1"])),
        (("out_1", "*_1"), None),
        (("out_1", ["out_0"]), (["out_1"], ["out_0"])),
        (([None], None), ([None], [None])),
    ],
)
def test_layers_as_named(asked, found):
    teacher, student = residual([8, 16]), residual([4, 8])
    if found is None:
        message = (
            r"^Expected as many layers of both models\. Received: 1 of the teacher, 'out_1', "
            r"and 5 of the student, 'down_1',"
        )
        with pytest.raises(ValueError, match=message):
            choose_layers(teacher, student, *asked)
    else:
        assert choose_layers(teacher, student, *asked, automatic="maps") == found


def test_nested_layers_by_their_full_path():
    inputs = keras.Input((32, 32, 3))
    teacher = keras.Model(inputs, layers.Dense(10)(residual([8, 16], name="backbone")(inputs)))
    assert choose_layers(teacher, residual([4, 8]), "out_1", "out_1") == ("backbone/out_1", "out_1")
    assert choose_layers(teacher, residual([4, 8]), "auto", "auto", "embedding") == ("backbone/head", "pool")


def test_automatic_pairs():
    teacher, student = residual([8, 16]), residual([4, 8, 12])
    names = ["stem", "out_0", "out_1"]
    assert choose_layers(teacher, student, "auto", "auto", automatic="maps") == (names, names)
    one = stack(layers.Conv2D(4, 3, 4, "same", name="only"), layers.Flatten(), layers.Dense(2), shape=(32, 32, 3))
    assert choose_layers(teacher, one, "auto", "auto", automatic="maps") == ("out_1", "only")


@pytest.mark.parametrize("automatic", [None, "maps", "embedding"])
def test_automatic_for_one_alone(automatic):
    with pytest.raises(ValueError, match=r"^Expected both layers to be 'auto', or neither\. Received: teacher_layer_n"):
        choose_layers(residual([4]), residual([4]), "auto", "out_0", automatic)


def test_nothing_automatic():
    with pytest.raises(
        ValueError, match=r"^Expected layers by name, since this loss does not choose them automatically\. Received: 'a"
    ):
        choose_layers(residual([4]), residual([4]), "auto", "auto")


@pytest.mark.parametrize("role", ["teacher", "student"])
def test_names_of_models_that_are_not_built(role):
    models = {"teacher": residual([4]), "student": residual([4]), role: Subclassed([4])}
    names = {f"{role}_layer_name": "pool", **{f"{other}_layer_name": None for other in models if other != role}}
    message = (
        rf"^Expected a built {role} to take 'pool' from\. Received: Subclassed named .* Call it once on a batch\.$"
    )
    with pytest.raises(ValueError, match=message):
        choose_layers(**models, **names)
    assert choose_layers(**models, teacher_layer_name=None, student_layer_name=None) == (None, None)
