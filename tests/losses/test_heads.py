"""The logits under a softmax head are found, wherever the softmax is and however the model runs."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from loss_table import LOSSES, pair

import keras_distill as kd
from keras_distill.losses.heads import head_of, logits_of

FEATURES, CLASSES = 5, 3
SOFTMAX = {
    "activation": lambda: keras.layers.Dense(CLASSES, activation="softmax"),
    "function": lambda: keras.layers.Dense(CLASSES, activation=keras.activations.softmax),
    "layer": keras.layers.Softmax,
    "activation_layer": lambda: keras.layers.Activation("softmax"),
    "ops": lambda: keras.layers.Dense(CLASSES, activation=keras.ops.softmax),
    "tensorflow": lambda: keras.layers.Dense(CLASSES, activation=tf.nn.softmax),
    "lambda": lambda: keras.layers.Lambda(lambda x: tf.nn.softmax(x)),
}
LOST_WHEN_EAGER = {"tensorflow", "lambda"}


class Subclassed(keras.Model):
    """A model of a list of layers without symbolic inputs."""

    def __init__(self, layers):
        super().__init__()
        self.parts = layers

    def call(self, x):
        for layer in self.parts:
            x = layer(x)
        return x


def functional(layers):
    inputs = x = keras.Input((FEATURES,))
    for layer in layers:
        x = layer(x)
    return keras.Model(inputs, x)


MODELS = {
    "functional": functional,
    "sequential": lambda layers: keras.Sequential([keras.Input((FEATURES,)), *layers]),
    "subclassed": Subclassed,
    "nested": lambda layers: functional([functional(layers)]),
}
RUNS = {"eager": lambda f: f, "graph": tf.function, "jit": lambda f: tf.function(f, jit_compile=True)}


@pytest.mark.parametrize(
    "head, run",
    [(head, run) for head in SOFTMAX for run in ("eager", "graph") if run == "graph" or head not in LOST_WHEN_EAGER]
    + [("activation", "jit"), ("tensorflow", "jit")],
)
@pytest.mark.parametrize("kind", MODELS)
def test_logits_under_a_softmax(head, kind, run):
    layers = [SOFTMAX[head]()]
    if not isinstance(layers[0], keras.layers.Dense):
        layers.insert(0, keras.layers.Dense(CLASSES))
    model = MODELS[kind](layers)
    x = np.random.default_rng(0).normal(size=(4, FEATURES)).astype("float32") * 10

    @RUNS[run]
    def compute(x):
        output = model(x)
        found, logits = head_of(output)
        assert found == "softmax"
        return output, logits, logits_of(output)

    output, logits, same = (each.numpy() for each in compute(tf.constant(x)))
    np.testing.assert_allclose(logits, x @ layers[0].kernel.numpy() + layers[0].bias.numpy(), rtol=1e-4, atol=1e-5)
    np.testing.assert_array_equal(logits, same)
    np.testing.assert_allclose(output, tf.nn.softmax(logits), rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("run", RUNS)
@pytest.mark.parametrize("name", ["kl", "cross_entropy", "matching"])
def test_losses_are_those_of_the_logits(name, run):
    teacher, student = pair(4, CLASSES, spread=30.0)
    row = LOSSES[name]

    @RUNS[run]
    def compute(teacher, student):
        return row.make().compute_loss(keras.activations.softmax(teacher), keras.activations.softmax(student))

    wanted = row.oracle(teacher.astype("float64"), student.astype("float64"))[0].mean()
    np.testing.assert_allclose(compute(tf.constant(teacher), tf.constant(student)), wanted, rtol=1e-5)


@pytest.mark.parametrize("cast", ["float32", "float16"])
@pytest.mark.parametrize("jit", [False, True])
def test_softmax_and_a_cast(cast, jit):
    model = keras.Sequential(
        [
            keras.Input((FEATURES,)),
            keras.layers.Dense(CLASSES, dtype="mixed_float16"),
            keras.layers.Softmax(dtype="float16"),
            keras.layers.Lambda(lambda x: tf.cast(x, cast), dtype=cast),
        ]
    )

    @tf.function(jit_compile=jit)
    def compute(x):
        return head_of(model(x))[1], model.layers[0](x)

    logits, wanted = compute(tf.constant(np.eye(4, FEATURES, dtype="float32")))
    assert head_kind(model) == "softmax" and logits.dtype == cast
    np.testing.assert_array_equal(logits, wanted)


def head_kind(model):
    kinds = []
    tf.function(lambda x: kinds.append(head_of(model(x))[0])).get_concrete_function(tf.TensorSpec((None, FEATURES)))
    return kinds[0]


@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16"])
@pytest.mark.parametrize("run", ["eager", "graph"])
def test_mixed_precision_with_a_softmax_in_float32(policy, run):
    model = keras.Sequential(
        [
            keras.Input((FEATURES,)),
            keras.layers.Dense(CLASSES, dtype=policy),
            keras.layers.Activation("softmax", dtype="float32"),
        ]
    )

    @RUNS[run]
    def compute(x):
        return logits_of(model(x)), model.layers[0](x)

    logits, wanted = compute(tf.constant(np.eye(4, FEATURES, dtype="float32")))
    np.testing.assert_array_equal(logits, tf.cast(wanted, "float32"))


def test_a_softmax_that_is_not_last_is_not_a_head():
    def squashed(x):
        return keras.ops.log(keras.activations.softmax(x))

    model = functional([keras.layers.Dense(CLASSES), keras.layers.Lambda(squashed)])
    assert head_kind(model) == "linear"
    output = model(np.eye(4, FEATURES, dtype="float32"))
    assert logits_of(output) is output


@pytest.mark.parametrize("kind", MODELS)
def test_a_linear_output_is_returned_unchanged(kind):
    model = MODELS[kind]([keras.layers.Dense(CLASSES)])
    output = model(np.eye(4, FEATURES, dtype="float32"))
    assert head_of(output) == ("linear", output) and logits_of(output) is output
    assert head_kind(model) == "linear"


@pytest.mark.parametrize("run", ["eager", "graph"])
@pytest.mark.parametrize("logits", [[[3.0, -1.0], [0.5, 0.25]], [[2.0, -2.0], [1.0, -1.0]]], ids=["any", "opposite"])
@pytest.mark.parametrize("kind", [kd.losses.LogitsDistillation, kd.losses.LogitMatching])
def test_sigmoid_heads_are_refused(run, logits, kind):
    # Of opposite logits, the sigmoids add up to one as well.
    compute = RUNS[run](lambda x: kind().compute_loss(x, keras.activations.sigmoid(x)))
    message = r"Expected a linear or a softmax head on the student\. Received: a sigmoid head\. End the model with"
    with pytest.raises(ValueError, match=message):
        compute(tf.constant(logits))


@pytest.mark.parametrize("side", ["teacher", "student"])
@pytest.mark.parametrize("shape", [(4, 3), (4, 2, 3)])
def test_probabilities_without_logits_are_refused(side, shape):
    logits = pair(*shape)[0]
    outputs = {"teacher": logits, "student": logits, side: np.asarray(tf.nn.softmax(logits))}
    message = rf"^Expected logits from the {side}\. Received: rows of probabilities whose logits cannot be found\. End"
    with pytest.raises(ValueError, match=message):
        kd.losses.LogitsDistillation().compute_loss(tf.constant(outputs["teacher"]), tf.constant(outputs["student"]))


def test_tensorflow_softmax_is_refused_outside_a_graph():
    model = MODELS["functional"]([SOFTMAX["tensorflow"]()])
    x = np.random.default_rng(0).normal(size=(4, FEATURES)).astype("float32")
    with pytest.raises(ValueError, match="^Expected logits from the model. Received: rows of probabilities"):
        logits_of(model(x))


def test_a_single_row_that_sums_to_one_is_accepted():
    output = tf.constant([[0.25, 0.75]])
    assert logits_of(output) is output


@pytest.mark.parametrize("run", ["eager", "graph"])
@pytest.mark.parametrize("head", ["softmax", None])
def test_masks_are_kept(run, head):
    mask = np.array([[True, True, False], [True, False, False]])
    model = keras.Sequential([keras.layers.Masking(), keras.layers.Dense(CLASSES, activation=head)])
    x = np.random.default_rng(0).normal(size=(2, 3, 4)).astype("float32") * mask[..., None]
    teacher = np.random.default_rng(1).normal(size=(2, 3, CLASSES)).astype("float32")

    @RUNS[run]
    def compute(x):
        output = model(x)
        logits = logits_of(output)
        assert logits._keras_mask is not None
        return kd.losses.LogitsDistillation(4.0).compute_loss(teacher, output), logits, logits._keras_mask

    value, logits, found = compute(tf.constant(x))
    np.testing.assert_array_equal(found, mask)
    wanted = LOSSES["kl"].oracle(teacher.astype("float64"), logits.numpy().astype("float64"))[0][mask].mean()
    np.testing.assert_allclose(value, wanted, rtol=1e-5)
