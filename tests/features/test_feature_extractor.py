"""The extractor: the unchanged model, one forward pass, and the requested features."""

import subprocess
import sys
import threading

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers, ops

from keras_distill.features import FINAL_OUTPUT, FeatureExtractor, tap

X = np.random.default_rng(0).normal(size=(6, 4)).astype("float32")


@keras.saving.register_keras_serializable(package="tests")
class Counting(layers.Layer):
    """Count the forward passes, and call a function in each."""

    calls = 0
    action = None

    def call(self, x):
        self.calls += 1
        if self.action:
            self.action()
        return x + 0.0


class Block(layers.Layer):
    """A layer that contains layers."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.hidden = layers.Dense(5, activation="relu", name="hidden")
        self.count = Counting(name="count")

    def call(self, x):
        return self.hidden(self.count(x)) + 1.0


class Subclassed(keras.Model):
    """A model without symbolic inputs, with a block in a list."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.blocks = [Block(name="block")]
        self.head = layers.Dense(3, name="head")

    def call(self, x, training=None):
        for block in self.blocks:
            x = block(x)
        return self.head(x)


def sequential():
    stack = [keras.Input((4,)), Counting(name="count"), layers.Dense(5, activation="relu", name="hidden")]
    return keras.Sequential([*stack, layers.Dense(3, name="head")])


def functional():
    inputs = keras.Input((4,))
    hidden = layers.Dense(5, activation="relu", name="hidden")(Counting(name="count")(inputs))
    return keras.Model(inputs, layers.Dense(3, name="head")(hidden))


def nested():
    inputs = keras.Input((4,))
    return keras.Model(inputs, layers.Dense(3, name="head")(Block(name="block")(inputs)))


def subclassed():
    model = Subclassed()
    model(X)
    return model


def layer_of(model, name):
    return next(layer for layer in model._flatten_layers() if layer.name == name)


def hand_built(model, *names):
    """The outputs of the top-level layers of a Functional model, as Keras itself takes them."""
    return keras.Model(model.input, [model.get_layer(name).output for name in names])


KINDS = pytest.mark.parametrize("make", [sequential, functional, nested, subclassed])


@KINDS
def test_features_and_output(make):
    model = make()
    outputs = FeatureExtractor(model, ["hidden", "count", "hidden:preactivation"])(X)
    assert list(outputs) == [FINAL_OUTPUT, "hidden", "count", "hidden:preactivation"]
    before = X @ layer_of(model, "hidden").kernel.numpy()
    np.testing.assert_array_equal(outputs[FINAL_OUTPUT], model(X))
    np.testing.assert_array_equal(outputs["count"], X)
    np.testing.assert_allclose(outputs["hidden"], np.maximum(before, 0.0), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(outputs["hidden:preactivation"], before, rtol=1e-5, atol=1e-6)


@KINDS
def test_one_forward_pass(make):
    model = make()
    extractor = FeatureExtractor(model, ["hidden", "head"])
    counter = layer_of(model, "count")
    counter.calls = 0
    extractor(X)
    assert counter.calls == 1


@KINDS
def test_shapes(make):
    extractor = FeatureExtractor(make(), ["hidden", "head:preactivation"])
    assert extractor.shapes == {FINAL_OUTPUT: (None, 3), "hidden": (None, 5), "head:preactivation": (None, 3)}
    assert len(extractor.outputs) == 3


@KINDS
def test_nothing_stays_on_the_model(make):
    model = make()
    before = [dict(vars(layer)) for layer in model._flatten_layers()]
    weights = [id(weight) for weight in model.weights]
    extractor = FeatureExtractor(model, ["hidden", "hidden:preactivation", "count"])
    extractor(X)
    assert [vars(layer).keys() for layer in model._flatten_layers()] == [each.keys() for each in before]
    hidden = layer_of(model, "hidden")
    assert hidden.activation is keras.activations.relu and "call" not in vars(hidden)
    assert [id(weight) for weight in model.weights] == weights
    assert not isinstance(extractor, layers.Layer)


@KINDS
@pytest.mark.parametrize("jit_compile", [False, True])
def test_compiled(make, jit_compile):
    model = make()
    extractor = FeatureExtractor(model, ["hidden", "hidden:preactivation"])
    eager, compiled = extractor(X), tf.function(extractor, jit_compile=jit_compile)(X)
    for key, value in eager.items():
        np.testing.assert_allclose(compiled[key], value, rtol=1e-5, atol=1e-6)
    assert not ops.is_tensor(vars(layer_of(model, "hidden")).get("call"))


@KINDS
@pytest.mark.parametrize("compiled", [False, True])
@pytest.mark.slow
def test_gradients_reach_the_weights_below(make, compiled):
    model = make()
    extractor = FeatureExtractor(model, ["hidden:preactivation"])
    kernel = layer_of(model, "hidden").kernel.value

    def gradient():
        with tf.GradientTape() as tape:
            value = tf.reduce_sum(extractor(X, training=True)["hidden:preactivation"])
        return tape.gradient(value, kernel)

    wanted = np.repeat(X.sum(axis=0)[:, None], 5, axis=1)
    np.testing.assert_allclose((tf.function(gradient) if compiled else gradient)(), wanted, rtol=1e-5, atol=1e-6)


def test_weights_are_those_of_the_model():
    model = functional()
    extractor = FeatureExtractor(model, ["hidden"])
    model.get_layer("hidden").kernel.assign(np.zeros((4, 5)))
    assert not np.any(extractor(X)["hidden"])


def test_a_backbone_as_one_layer():
    backbone = keras.applications.MobileNetV2((32, 32, 3), alpha=0.35, weights=None, include_top=False)
    inputs = keras.Input((32, 32, 3))
    pooled = layers.GlobalAveragePooling2D(name="pool")(backbone(inputs))
    model = keras.Model(inputs, layers.Dense(10, name="head")(pooled))
    x = np.random.default_rng(1).normal(size=(2, 32, 32, 3)).astype("float32")
    by_path = f"{backbone.name}/block_3_expand"
    keys = [by_path, "block_6_expand_relu", tap("block_6_expand_relu", preactivation=True), "pool", backbone.name]
    extractor = FeatureExtractor(model, keys)
    assert extractor.shapes[by_path] == (None, 8, 8, 48)
    for training in (False, True):
        wanted = hand_built(backbone, "block_3_expand", "block_6_expand_relu", "block_6_expand_BN", "out_relu")
        expected = wanted(x, training=training)
        outputs = extractor(x, training=training)
        for key, value in zip([*keys[:3], backbone.name], expected, strict=True):
            np.testing.assert_allclose(outputs[key], value, rtol=1e-4, atol=1e-5, err_msg=key)
        np.testing.assert_allclose(outputs["pool"], ops.mean(expected[-1], axis=(1, 2)), rtol=1e-4, atol=1e-5)


def test_training_and_inference_mode():
    model = keras.Sequential([keras.Input((4,)), layers.Dropout(0.5, name="drop"), layers.Dense(3)])
    extractor = FeatureExtractor(model, ["drop"])
    np.testing.assert_array_equal(extractor(X, training=False)["drop"], X)
    dropped = extractor(X, training=True)["drop"].numpy()
    assert np.all((dropped == 0) | np.isclose(dropped, 2 * X)) and np.any(dropped == 0)


def test_batch_statistics_move_once():
    model = keras.Sequential([keras.Input((4,)), layers.BatchNormalization(momentum=0.9, name="norm"), layers.Dense(3)])
    extractor = FeatureExtractor(model, ["norm"])
    assert not np.any(model.get_layer("norm").moving_mean)
    features = extractor(X, training=True)["norm"]
    np.testing.assert_allclose(features, (X - X.mean(0)) / np.sqrt(X.var(0) + 1e-3), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(model.get_layer("norm").moving_mean, 0.1 * X.mean(0), rtol=1e-5, atol=1e-7)


def test_regularization_is_counted_once():
    hidden = layers.Dense(5, activity_regularizer=keras.regularizers.L2(1.0), name="hidden")
    model = keras.Sequential([keras.Input((4,)), hidden, layers.Dense(3)])
    features = FeatureExtractor(model, ["hidden"])(X)["hidden"]
    (loss,) = model.losses
    np.testing.assert_allclose(loss, np.sum(np.square(features)) / len(X), rtol=1e-5)


BEFORE = {
    "relu": layers.Dense(5, activation="relu"),
    "softmax": layers.Dense(5, activation="softmax"),
    "a function": layers.Dense(5, activation=lambda x: x**2),
    "a layer": layers.Dense(5, activation=layers.LeakyReLU(0.3)),
    "linear": layers.Dense(5),
}


@pytest.mark.parametrize("case", BEFORE)
def test_before_a_fused_activation(case):
    layer = BEFORE[case]
    model = keras.Sequential([keras.Input((4,)), layer, layers.Dense(3)])
    outputs = FeatureExtractor(model, [tap(layer.name, True), layer.name])(X)
    before = ops.convert_to_tensor(X @ layer.kernel.numpy())
    np.testing.assert_allclose(outputs[tap(layer.name, True)], before, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(outputs[layer.name], layer.activation(before), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("key", ["conv", "separable", "transposed", "depthwise"])
def test_before_the_activation_of_a_convolution(key):
    x = np.random.default_rng(2).normal(size=(2, 6, 6, 3)).astype("float32")
    kinds = [layers.Conv2D, layers.SeparableConv2D, layers.Conv2DTranspose]
    kinds = dict(zip(["conv", "separable", "transposed"], kinds, strict=True))
    args = {"activation": "tanh", "name": key}
    layer = layers.DepthwiseConv2D(3, **args) if key == "depthwise" else kinds[key](4, 3, **args)
    outputs = FeatureExtractor(keras.Sequential([keras.Input((6, 6, 3)), layer]), [tap(key, True)])(x)
    assert np.any(np.abs(outputs[tap(key, True)]) > 1.0)
    np.testing.assert_allclose(np.tanh(outputs[tap(key, True)]), outputs[FINAL_OUTPUT], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    "layer",
    [
        layers.ReLU(),
        layers.LeakyReLU(),
        layers.PReLU(),
        layers.ELU(),
        layers.Softmax(),
        layers.Activation("gelu"),
        layers.Activation("linear"),
    ],
    ids=lambda layer: layer.name,
)
def test_before_an_activation_layer_is_what_it_is_given(layer):
    model = keras.Sequential([keras.Input((4,)), layers.Dense(5, name="hidden"), layer])
    outputs = FeatureExtractor(model, [tap(layer.name, True), layer.name, "hidden"])(X)
    np.testing.assert_array_equal(outputs[tap(layer.name, True)], outputs["hidden"])
    np.testing.assert_array_equal(outputs[layer.name], outputs[FINAL_OUTPUT])


def test_before_no_activation_is_the_output():
    inputs = keras.Input((4,))
    model = keras.Model(inputs, layers.Add(name="sum")([inputs, layers.BatchNormalization(name="norm")(inputs)]))
    outputs = FeatureExtractor(model, ["sum:preactivation", "norm:preactivation", "norm"])(X)
    np.testing.assert_array_equal(outputs["sum:preactivation"], outputs[FINAL_OUTPUT])
    np.testing.assert_array_equal(outputs["norm:preactivation"], outputs["norm"])


def test_a_recurrent_layer_has_no_activation_to_stop_before():
    model = keras.Sequential([keras.Input((5, 4)), layers.LSTM(3, name="lstm")])
    with pytest.raises(ValueError, match=r"^Expected a layer that runs once .* the activation of 'lstm', which ran 0 "):
        FeatureExtractor(model, ["lstm:preactivation"])


def test_masks_travel_with_the_features():
    stack = [layers.Embedding(7, 4, mask_zero=True, name="embed"), layers.Dense(5, "relu", name="dense")]
    model = keras.Sequential([keras.Input((3,), dtype="int32"), *stack, layers.LSTM(2, name="lstm")])
    tokens = np.array([[1, 2, 0], [3, 0, 0]])
    keys = ["embed", "dense", "dense:preactivation", "lstm"]
    for extractor in (FeatureExtractor(model, keys), FeatureExtractor(model, keys[2:3])):
        outputs = extractor(tokens)
        for key in set(keys[:3]) & set(outputs):
            np.testing.assert_array_equal(outputs[key]._keras_mask, tokens != 0)
    assert getattr(outputs[FINAL_OUTPUT], "_keras_mask", None) is None
    np.testing.assert_array_equal(outputs[FINAL_OUTPUT], model(tokens))


def test_several_inputs_and_outputs():
    one, two = keras.Input((4,), name="one"), keras.Input((4,), name="two")
    total = layers.Add(name="total")([one, two])
    model = keras.Model({"one": one, "two": two}, {"a": layers.Dense(2)(total), "b": layers.Dense(3)(total)})
    extractor = FeatureExtractor(model, ["total"])
    assert extractor.shapes == {FINAL_OUTPUT: {"a": (None, 2), "b": (None, 3)}, "total": (None, 4)}
    outputs = extractor({"one": X, "two": 2 * X})
    assert sorted(outputs[FINAL_OUTPUT]) == ["a", "b"]
    np.testing.assert_allclose(outputs["total"], 3 * X, rtol=1e-6)


def test_a_layer_of_several_outputs():
    inputs = keras.Input((5, 4))
    _, state, _ = layers.LSTM(3, return_sequences=True, return_state=True, name="lstm")(inputs)
    extractor = FeatureExtractor(keras.Model(inputs, layers.Dense(2)(state)), ["lstm"])
    assert list(extractor.shapes["lstm"]) == [(None, 5, 3), (None, 3), (None, 3)]
    outputs = extractor(np.ones((2, 5, 4), "float32"))["lstm"]
    np.testing.assert_allclose(outputs[0][:, -1], outputs[1], rtol=1e-5)


def test_a_key_twice_is_one_feature_and_none_is_none():
    assert FeatureExtractor(functional(), ["hidden", "hidden"]).outputs == [FINAL_OUTPUT, "hidden"]
    assert list(FeatureExtractor(functional(), [])(X)) == [FINAL_OUTPUT]


def test_a_call_without_training_argument():
    class Plain(keras.Model):
        def __init__(self):
            super().__init__()
            self.hidden = layers.Dense(3, name="hidden")

        def call(self, x):
            return self.hidden(x)

    model = Plain()
    model(X)
    outputs = FeatureExtractor(model, ["hidden"])(X, training=True)
    np.testing.assert_array_equal(outputs["hidden"], outputs[FINAL_OUTPUT])


def test_lengths_and_sizes_that_are_not_known():
    model = keras.Sequential([keras.Input((None, None, 3), batch_size=2), layers.Conv2D(4, 3, name="map")])
    assert FeatureExtractor(model, ["map"]).shapes["map"] == (None, None, None, 4)


def test_a_subclassed_model_of_tokens():
    class Tokens(keras.Model):
        def __init__(self):
            super().__init__()
            self.table = self.add_weight(shape=(7, 4))
            self.head = layers.Dense(2, name="head")

        def call(self, tokens):
            return self.head(tf.gather(self.table, tokens))  # Of integers only.

    model = Tokens()
    model(np.zeros((2, 5), "int32"))
    assert FeatureExtractor(model, ["head"]).shapes["head"] == (None, 5, 2)


def test_shapes_of_models_that_run_eagerly_alone():
    class Eager(keras.Model):
        def __init__(self):
            super().__init__()
            self.hidden = layers.Dense(3, name="hidden")

        def call(self, x):
            return self.hidden(x) * float(keras.ops.convert_to_numpy(x).max())

    model = Eager()
    model(tf.constant(X))
    extractor = FeatureExtractor(model, ["hidden"])
    assert extractor.shapes == {FINAL_OUTPUT: None, "hidden": None}
    np.testing.assert_allclose(extractor(tf.constant(X))["hidden"] * X.max(), model(tf.constant(X)), rtol=1e-6)


@pytest.mark.parametrize("make", [functional, subclassed])
def test_symbolic_inputs(make):
    model, inputs = make(), keras.Input((4,))
    extractor = FeatureExtractor(model, ["hidden:preactivation"])
    hidden, again = (extractor(inputs)["hidden:preactivation"] for _ in range(2))
    around = keras.Model(inputs, [hidden, again])
    assert hidden.shape == (None, 5) and [id(w) for w in around.weights] == [id(w) for w in model.weights]
    for value in around(X):
        np.testing.assert_allclose(value, X @ layer_of(model, "hidden").kernel.numpy(), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("make", [functional, subclassed])
def test_everything_is_put_back_after_an_exception(make):
    model = make()
    extractor = FeatureExtractor(model, ["hidden", "hidden:preactivation", "count"])
    counter = layer_of(model, "count")
    counter.action = lambda: 1 / 0
    with pytest.raises(ZeroDivisionError):
        extractor(X)
    counter.action = None
    assert "call" not in vars(counter) and "call" not in vars(layer_of(model, "hidden"))
    assert layer_of(model, "hidden").activation is keras.activations.relu
    np.testing.assert_array_equal(extractor(X)["count"], X)


def test_a_call_that_was_replaced_stays_replaced():
    model = functional()

    def doubled(x):
        return 2 * x

    model.get_layer("count").call = doubled
    outputs = FeatureExtractor(model, ["count"])(X)
    np.testing.assert_allclose(outputs["count"], 2 * X)
    assert model.get_layer("count").call is doubled


@pytest.mark.parametrize("compiled", [False, True])
def test_threads_do_not_mix(compiled):
    """Both are inside the model at once, the second comes when the first has begun and leaves before it ends."""
    model = functional()
    extractors = [FeatureExtractor(model, ["hidden"]), FeatureExtractor(model, ["hidden:preactivation", "count"])]
    barrier, results = threading.Barrier(2, timeout=60), {}
    model.get_layer("count").action = barrier.wait

    def work(index):
        call = tf.function(extractors[index]) if compiled else extractors[index]
        results[index] = call(tf.constant(X + index))

    threads = [threading.Thread(target=work, args=(index,)) for index in (0, 1)]
    [thread.start() for thread in threads]
    [thread.join() for thread in threads]
    model.get_layer("count").action = None
    kernel = model.get_layer("hidden").kernel.numpy()
    assert [sorted(results[index]) for index in (0, 1)] == [
        [FINAL_OUTPUT, "hidden"],
        ["count", FINAL_OUTPUT, "hidden:preactivation"],
    ]
    np.testing.assert_allclose(results[0]["hidden"], np.maximum(X @ kernel, 0), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(results[1]["hidden:preactivation"], (X + 1) @ kernel, rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(results[1]["count"], X + 1)
    assert "call" not in vars(model.get_layer("hidden")) and "call" not in vars(model.get_layer("count"))


def test_an_extraction_inside_another():
    model = functional()
    inner, outer = FeatureExtractor(model, ["hidden"]), FeatureExtractor(model, ["hidden"])
    seen = []

    def once():
        model.get_layer("count").action = None
        seen.append(inner(X + 1)["hidden"])

    model.get_layer("count").action = once
    with pytest.raises(ValueError, match="'hidden', which ran 2 times"):
        outer(X)  # The layer did run twice.
    np.testing.assert_array_equal(seen[0], inner(X + 1)["hidden"])
    np.testing.assert_array_equal(outer(X)["hidden"], inner(X)["hidden"])


class Odd(keras.Model):
    """A model whose layers run as they should not be tapped."""

    def __init__(self):
        super().__init__()
        self.once, self.twice, self.never = (layers.Dense(4, name=name) for name in ("once", "twice", "never"))
        self.auxiliary, self.looped = layers.Dense(4, name="auxiliary"), layers.Dense(4, name="looped")

    def call(self, x, training=None):
        x = tf.function(self.looped)(self.twice(self.twice(self.once(x))))
        return x + 0.0 * self.auxiliary(x) if training else x


def odd():
    model = Odd()
    model.never.build((None, 4))
    model.auxiliary.build((None, 4))
    model(X)
    return model


@pytest.mark.parametrize(
    "name, message",
    [
        ("twice", r"^Expected a layer that runs once in a forward pass\. Received: 'twice', which ran 2 times\.$"),
        ("never", r"^Expected a layer that runs once in a forward pass\. Received: 'never', which ran 0 times\.$"),
        (
            "looped",
            r"^Expected a layer whose output is accessible after .* 'looped', which runs in a loop or function in",
        ),
    ],
)
def test_layers_that_cannot_be_tapped(name, message):
    with pytest.raises(ValueError, match=message):
        FeatureExtractor(odd(), [name])


def test_a_shared_layer_of_a_functional_model():
    inputs, shared = keras.Input((4,)), layers.Dense(4, name="shared")
    with pytest.raises(ValueError, match="'shared', which ran 2 times"):
        FeatureExtractor(keras.Model(inputs, shared(shared(inputs))), ["shared"])


def test_a_layer_that_runs_in_training_alone():
    extractor = FeatureExtractor(odd(), ["auxiliary"])
    assert extractor.shapes["auxiliary"] == (None, 4)
    assert extractor(X, training=True)["auxiliary"].shape == (6, 4)
    with pytest.raises(ValueError, match="'auxiliary', which ran 0 times"):
        extractor(X, training=False)


@pytest.mark.parametrize("name", ["lstm_cell", "steps/inner"])
def test_the_steps_of_a_loop_cannot_be_tapped(name):
    inner = layers.TimeDistributed(layers.Dense(3, name="inner"), name="steps")
    model = keras.Sequential([keras.Input((None, 4)), inner, layers.LSTM(3)])
    name = next(layer.name for layer in model.layers[1]._flatten_layers(False)) if name == "lstm_cell" else name
    message = rf"^Expected a layer whose output .* '{name}', which runs in a loop or function inside the model\.$"
    with pytest.raises(ValueError, match=message):
        FeatureExtractor(model, [name])


@pytest.mark.parametrize("make", [keras.Sequential, lambda: keras.Sequential([layers.Dense(3, name="a")]), Subclassed])
def test_models_that_are_not_built(make):
    message = r"^Expected a built teacher to take \['a'\] from\. Received: .* is not built\. Call it once on a batch\.$"
    with pytest.raises(ValueError, match=message):
        FeatureExtractor(make(), ["a"], role="teacher")


def test_names_that_cannot_be():
    with pytest.raises(ValueError, match=r"^Expected a layer of another name"):
        FeatureExtractor(functional(), ["final_output"])
    with pytest.raises(
        ValueError, match=r"be one of count, head, hidden\. Received: 'hiden'\. Did you mean 'hidden'\?"
    ):
        FeatureExtractor(functional(), ["hiden:preactivation"])


def test_mixed_precision_saving_and_export(tmp_path):
    keras.config.set_dtype_policy("mixed_float16")
    try:
        inputs = keras.Input((4,))
        hidden = layers.Dense(5, activation="relu", name="hidden")(inputs)
        model = keras.Model(inputs, layers.Dense(3, name="head")(hidden))
    finally:
        keras.config.set_dtype_policy("float32")
    config = model.get_config()
    outputs = FeatureExtractor(model, ["hidden", "hidden:preactivation"])(X)
    assert {output.dtype.name for output in outputs.values()} == {"float16"}
    np.testing.assert_array_equal(outputs["hidden"], hand_built(model, "hidden", "head")(X)[0])
    np.testing.assert_allclose(outputs["hidden"], ops.relu(outputs["hidden:preactivation"]))
    assert model.get_config() == config

    wanted = model.predict(X, verbose=0)
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(loaded.predict(X, verbose=0), wanted)
    np.testing.assert_array_equal(FeatureExtractor(loaded, ["hidden"])(X)["hidden"], outputs["hidden"])
    model.export(tmp_path / "exported", verbose=False)
    exported = tf.saved_model.load(tmp_path / "exported")
    np.testing.assert_allclose(exported.serve(X), wanted, rtol=1e-3)


def test_a_quantized_layer():
    model = functional()
    model.get_layer("hidden").quantize("int8")
    outputs = FeatureExtractor(model, ["hidden", "hidden:preactivation"])(X)
    np.testing.assert_array_equal(outputs["hidden"], hand_built(model, "hidden", "head")(X)[0])
    np.testing.assert_array_equal(outputs["hidden"], ops.relu(outputs["hidden:preactivation"]))


def test_a_model_trains_between_extractions(data):
    model = subclassed()
    extractor = FeatureExtractor(model, ["hidden"])
    model.compile("sgd", "mse")
    before = extractor(X)["hidden"].numpy()
    model.fit(data[0], np.eye(3)[data[1]], epochs=1, verbose=0)
    assert np.any(extractor(X)["hidden"] != before)


@pytest.mark.slow
def test_replicas_do_not_mix():
    """In a process of its own: logical devices are made before TensorFlow starts."""
    script = """
import keras, numpy as np, tensorflow as tf
from keras import layers
from keras_distill.features import FeatureExtractor
cpu = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
x = np.random.default_rng(0).normal(size=(8, 4)).astype("float32")
with strategy.scope():
    # The normalisation waits for the other replica in the middle of the forward pass.
    norm = layers.BatchNormalization(synchronized=True, name="norm")
    model = keras.Sequential([keras.Input((4,)), layers.Dense(5, "relu", name="first"), norm, layers.Dense(3)])
    extractor = FeatureExtractor(model, ["first", "first:preactivation", "norm"])
assert extractor.shapes["norm"] == (None, 5), extractor.shapes
batches = strategy.experimental_distribute_dataset(tf.data.Dataset.from_tensor_slices(x).batch(8))
def replicated(x):
    return strategy.run(lambda x: extractor(x, training=True), [x])
for run in (replicated, tf.function(replicated)):
    for batch in batches:
        outputs = run(batch)
    gathered = {k: np.concatenate(strategy.experimental_local_results(v)) for k, v in outputs.items()}
    before = x @ model.layers[0].kernel.numpy()
    np.testing.assert_allclose(gathered["first:preactivation"], before, rtol=1e-4, atol=1e-5)
    after = np.maximum(before, 0)
    np.testing.assert_allclose(gathered["first"], after, rtol=1e-4, atol=1e-5)
    wanted = (after - after.mean(0)) / np.sqrt(after.var(0) + 1e-3)
    np.testing.assert_allclose(gathered["norm"], wanted, rtol=1e-3, atol=1e-4)
    assert not any("call" in vars(layer) for layer in model.layers)
print("equal")
"""
    command = [sys.executable, "-c", script]
    result = subprocess.run(command, capture_output=True, text=True, timeout=900, check=False)
    assert result.stdout.strip().endswith("equal"), result.stderr[-3000:]
