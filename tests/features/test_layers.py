"""Layers by path, name and pattern, in models of every kind, and the shapes of their outputs."""

import keras
import numpy as np
import pytest
from keras import layers

from keras_distill.features import find_layer, find_layers, layer_shapes


def backbone(name="backbone"):
    inputs = keras.Input((8, 8, 3))
    x = layers.Conv2D(4, 3, padding="same", name="stem")(inputs)
    for index in range(3):
        branch = layers.Conv2D(4, 3, padding="same", activation="relu", name=f"block_{index}_conv")(x)
        x = layers.Add(name=f"block_{index}_add")([x, branch])
    return keras.Model(inputs, x, name=name)


def nested():
    inputs = keras.Input((8, 8, 3))
    head = keras.Sequential([layers.Dense(5, name="hidden"), layers.Dense(2, name="logits")], name="head")
    return keras.Model(inputs, head(layers.GlobalAveragePooling2D(name="pool")(backbone()(inputs))))


class Block(layers.Layer):
    def __init__(self, width, **kwargs):
        super().__init__(**kwargs)
        self.inner = layers.Dense(width, name="inner")
        self.attention = layers.MultiHeadAttention(2, 3, name="attention")

    def call(self, x):
        x = self.inner(x)
        return x + self.attention(x, x)


class Subclassed(keras.Model):
    """Blocks in a list, held in another order than they run in, and one of them by a second name."""

    def __init__(self):
        super().__init__(name="model")
        self.head = layers.Dense(2, name="head")
        self.blocks = [Block(4, name="first"), Block(6, name="second")]
        self.last = self.blocks[-1]

    def call(self, x):
        for block in self.blocks:
            x = block(x)
        return self.head(x)


def subclassed():
    model = Subclassed()
    model(np.zeros((2, 7, 3), "float32"))
    return model


def test_shapes_in_the_order_of_the_forward_pass():
    assert layer_shapes(nested()) == {
        "backbone/stem": (None, 8, 8, 4),
        "backbone/block_0_conv": (None, 8, 8, 4),
        "backbone/block_0_add": (None, 8, 8, 4),
        "backbone/block_1_conv": (None, 8, 8, 4),
        "backbone/block_1_add": (None, 8, 8, 4),
        "backbone/block_2_conv": (None, 8, 8, 4),
        "backbone/block_2_add": (None, 8, 8, 4),
        "backbone": (None, 8, 8, 4),
        "pool": (None, 4),
        "head/hidden": (None, 5),
        "head/logits": (None, 2),
        "head": (None, 2),
    }
    assert list(layer_shapes(nested()))[:3] == ["backbone/stem", "backbone/block_0_conv", "backbone/block_0_add"]
    assert list(layer_shapes(nested()))[-3:] == ["head/hidden", "head/logits", "head"]


def test_shapes_of_a_subclassed_model():
    shapes = layer_shapes(subclassed())
    outer = [path for path in shapes if "attention/" not in path]
    wanted = ["first/inner", "first/attention", "first", "second/inner", "second/attention", "second", "head"]
    assert outer == wanted
    assert shapes["first"] == (None, 7, 4) and shapes["second"] == (None, 7, 6) and shapes["head"] == (None, 7, 2)
    assert shapes["first/attention/attention_output"] == (None, 7, 4)


def test_shapes_of_several_outputs_and_of_a_fixed_batch():
    inputs = keras.Input((5, 4), batch_size=3)
    _, state = layers.GRU(3, return_sequences=True, return_state=True, name="gru")(inputs)
    shapes = layer_shapes(keras.Model(inputs, layers.Dense(2, name="head")(state)))
    assert list(shapes["gru"]) == [(None, 5, 3), (None, 3)] and shapes["head"] == (None, 2)


def test_shapes_of_models_that_do_not_tell():
    class Eager(keras.Model):
        def call(self, x):
            return x * float(keras.ops.convert_to_numpy(x).max())

    class TwoInputs(keras.Model):
        def build(self, one_shape, two_shape):
            self.built = True

        def call(self, one, two):
            return one + two

    with pytest.raises(
        ValueError, match=r"^Expected a built model to take shapes from\. Received: Eager named .* not built"
    ):
        layer_shapes(Eager())
    model = Eager()
    model(keras.ops.ones((2, 3)))
    with pytest.raises(
        ValueError, match=r"^Expected a model that runs on symbolic inputs\. Received: 'eager.*It raised"
    ):
        layer_shapes(model)
    model = TwoInputs()
    model(keras.ops.ones((2, 3)), keras.ops.ones((2, 3)))
    with pytest.raises(ValueError, match=r"^Expected a model that runs on symbolic .*Call it once on one batch of inp"):
        layer_shapes(model)


def test_running_symbolically_changes_nothing():
    inner = [layers.BatchNormalization(), layers.Dropout(0.5), layers.Dense(2, activity_regularizer="l2")]
    model = keras.Sequential([keras.Input((4,)), *inner])
    before = model.get_weights()
    config, losses = model.get_config(), len(model.losses)
    layer_shapes(model)
    for one, other in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)
    assert model.get_config() == config and len(model.losses) == losses
    assert all(len(layer._inbound_nodes) == 1 for layer in model.layers)


@pytest.mark.parametrize("path", ["backbone/block_1_add", "block_1_add", "pool", "backbone", "head/hidden", "hidden"])
def test_one_layer_by_path_or_name(path):
    model = nested()
    owner = {"backbone": model.get_layer("backbone"), "head": model.get_layer("head")}
    *above, name = path.split("/")
    owner = owner[above[0]] if above else {"block_1_add": owner["backbone"], "hidden": owner["head"]}.get(path, model)
    assert find_layer(model, path) is owner.get_layer(name)


def test_layers_of_a_subclassed_model():
    model = subclassed()
    assert find_layer(model, "second/inner") is model.blocks[1].inner
    assert find_layer(model, "second") is model.last
    assert find_layer(model, "first/attention") is model.blocks[0].attention
    assert find_layers(model, "*") == [
        "first/inner",
        "first/attention",
        "first",
        "second/inner",
        "second/attention",
    ] + [
        "second",
        "head",
    ]
    assert find_layers(model, "second/attention/att*output") == ["second/attention/attention_output"]


def test_a_name_that_several_layers_have():
    model = keras.Sequential([keras.Input((8, 8, 3)), backbone("one"), layers.Conv2D(3, 1), backbone("two")])
    with pytest.raises(
        ValueError,
        match=r"^Expected teacher_layer_name to be the name of one layer\. Received: 'stem', the name of 2 layers\. "
        r"Name one by its path: one/stem, two/stem\.$",
    ):
        find_layers(model, "stem")
    assert find_layers(model, "two/stem") == ["two/stem"]
    assert find_layers(model, "stem*") == ["one/stem", "two/stem"]


def test_a_layer_at_the_top_goes_before_others_of_its_name():
    inputs = keras.Input((8, 8, 3))
    model = keras.Model(inputs, layers.Conv2D(2, 1, name="stem")(backbone()(inputs)))
    assert find_layers(model, "stem") == ["stem"]
    assert find_layer(model, "stem") is model.get_layer("stem")


def test_two_layers_of_one_path_are_numbered():
    class Twins(keras.Model):
        def __init__(self):
            super().__init__()
            self.twins = [layers.Dense(3, name="twin"), layers.Dense(4, name="twin")]

        def call(self, x):
            return self.twins[1](self.twins[0](x))

    model = Twins()
    model(np.zeros((2, 2)))
    assert layer_shapes(model) == {"twin": (None, 3), "twin_1": (None, 4)}
    assert find_layer(model, "twin_1") is model.twins[1]


@pytest.mark.parametrize(
    "pattern, paths",
    [
        ("block_*_add", ["backbone/block_0_add", "backbone/block_1_add", "backbone/block_2_add"]),
        ("backbone/block_[02]_add", ["backbone/block_0_add", "backbone/block_2_add"]),
        ("back*/block_?_add", ["backbone/block_0_add", "backbone/block_1_add", "backbone/block_2_add"]),
        ("*/stem", ["backbone/stem"]),
        ("h*", ["head/hidden", "head"]),
        ("back*", ["backbone"]),
        ("pool", ["pool"]),
        ("logits", ["head/logits"]),
    ],
)
def test_patterns(pattern, paths):
    assert find_layers(nested(), pattern) == paths


def test_patterns_in_a_model_that_cannot_run_symbolically():
    model = keras.Sequential([layers.Dense(2, name="a_1"), layers.Dense(2, name="b"), layers.Dense(2, name="a_2")])
    assert find_layers(model, "a_*") == ["a_1", "a_2"]


def test_a_name_may_look_like_a_pattern():
    model = keras.Sequential([keras.Input((4,)), layers.Dense(3, name="a[1]"), layers.Dense(3, name="a1")])
    assert find_layers(model, "a[1]") == ["a[1]"]
    assert find_layers(model, "a[12]") == ["a1"]


@pytest.mark.parametrize("role", ["teacher", "student"])
@pytest.mark.parametrize("name", ["blok_1_add", "blok_*_add"])
def test_unknown_names(role, name):
    with pytest.raises(ValueError) as caught:
        find_layers(nested(), name, role)
    known = sorted(["stem", "backbone", "pool", "hidden", "logits", "head"])
    known = sorted([*known, *(f"block_{index}_{kind}" for index in range(3) for kind in ("conv", "add"))])
    message = f"Expected {role}_layer_name to be one of {', '.join(known)}. Received: {name!r}. Did you mean 'block_"
    assert str(caught.value).startswith(message)


def test_unknown_names_among_very_many():
    stack = [layers.Dense(2, name=f"layer_{index}") for index in range(60)]
    model = keras.Sequential([keras.Input((2,)), *stack])
    with pytest.raises(ValueError, match=r"Received: 'layr_42'\. Did you mean 'layer_42'\?$") as caught:
        find_layers(model, "layr_42")
    assert str(caught.value).count("layer_") == 20 + 1 + 1  # Twenty of them, the argument's name and the nearest.


def test_unknown_names_of_a_model_without_a_role():
    with pytest.raises(ValueError, match=r"^Expected the name of a layer of the model to be one of .*'hiden'"):
        find_layer(nested(), "hiden")
