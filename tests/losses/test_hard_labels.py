"""Hard labels are compared with the logits of the student, whatever its head."""

import functools

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_distill._core import guards
from keras_distill.losses.hard_labels import HardLabelLoss, wrap_losses

RUNS = {"eager": lambda f: f, "graph": tf.function}
EACH_RUN = pytest.mark.parametrize("run", RUNS.values(), ids=RUNS.keys())

LOGITS = np.array([[40.0, -40.0, 3.0], [0.5, 60.0, -2.0], [1.0, 2.0, 3.0], [-30.0, 2.0, 80.0]], "float32")
SPARSE = np.array([1, 0, 2, 0])
DENSE = np.eye(3, dtype="float32")[SPARSE]
UNIT = np.array([[40.0], [-60.0], [0.5], [-3.0]], "float32")
BINARY = np.array([[0.0], [1.0], [1.0], [0.0]], "float32")

ONES = {size: tf.Variable(tf.eye(size)) for size in (1, 3, 4)}  # Trained weights are what makes a head linear.
HEADS = {
    "linear": lambda z: z @ ONES[z.shape[-1]],
    "softmax": keras.activations.softmax,
    "sigmoid": keras.activations.sigmoid,
}
CASES = [
    ("sparse_categorical_crossentropy", keras.losses.SparseCategoricalCrossentropy, SPARSE, LOGITS, "softmax"),
    ("sparse_categorical_crossentropy", keras.losses.SparseCategoricalCrossentropy, SPARSE[:, None], LOGITS, "softmax"),
    ("SparseCategoricalCrossentropy", keras.losses.SparseCategoricalCrossentropy, SPARSE, LOGITS, "softmax"),
    ("categorical_crossentropy", keras.losses.CategoricalCrossentropy, DENSE, LOGITS, "softmax"),
    ("CategoricalCrossentropy", keras.losses.CategoricalCrossentropy, DENSE, LOGITS, "softmax"),
    ("categorical_focal_crossentropy", keras.losses.CategoricalFocalCrossentropy, DENSE, LOGITS / 40, "softmax"),
    ("crossentropy", keras.losses.SparseCategoricalCrossentropy, SPARSE, LOGITS, "softmax"),
    ("ce", keras.losses.SparseCategoricalCrossentropy, SPARSE[:, None], LOGITS, "softmax"),
    ("crossentropy", keras.losses.CategoricalCrossentropy, DENSE, LOGITS, "softmax"),
    ("crossentropy", keras.losses.BinaryCrossentropy, BINARY, UNIT, "sigmoid"),
    ("binary_crossentropy", keras.losses.BinaryCrossentropy, BINARY, UNIT, "sigmoid"),
    ("BinaryCrossentropy", keras.losses.BinaryCrossentropy, DENSE, LOGITS, "sigmoid"),
    ("binary_focal_crossentropy", keras.losses.BinaryFocalCrossentropy, BINARY, UNIT / 40, "sigmoid"),
]


def compute(run, loss, labels, logits, head):
    return run(lambda y, z: loss(y, HEADS[head](z)))(tf.constant(labels), tf.constant(logits)).numpy()


@EACH_RUN
@pytest.mark.parametrize("linear", [True, False], ids=["linear", "activated"])
@pytest.mark.parametrize("name, exact, labels, logits, activation", CASES)
def test_by_name_on_the_logits(name, exact, labels, logits, activation, linear, run):
    loss, head, weights = HardLabelLoss(name), "linear" if linear else activation, np.arange(4.0, dtype="float32")

    @run
    def plain_and_weighted(y, z):
        output = HEADS[head](z)
        return loss(y, output), loss(y, output, weights)

    wanted = [exact(from_logits=True)(labels, logits, each) for each in (None, weights)]
    np.testing.assert_allclose(plain_and_weighted(tf.constant(labels), tf.constant(logits)), wanted, rtol=1e-6)


def test_what_keras_loses_on_a_softmax_is_kept():
    assert float(HardLabelLoss("sparse_categorical_crossentropy")(SPARSE[:1], keras.ops.softmax(LOGITS[:1]))) == 80.0


@EACH_RUN
def test_gradient_through_a_softmax(run):
    @run
    def gradient(z):
        with tf.GradientTape() as tape:
            tape.watch(z)
            value = HardLabelLoss("sparse_categorical_crossentropy")(SPARSE, keras.activations.softmax(z))
        return tape.gradient(value, z)

    wanted = (tf.nn.softmax(LOGITS) - DENSE) / 4
    np.testing.assert_allclose(gradient(tf.constant(LOGITS)), wanted, rtol=1e-5, atol=1e-7)


@EACH_RUN
def test_a_loss_object_that_expects_probabilities_warns_once(run):
    loss = HardLabelLoss(keras.losses.SparseCategoricalCrossentropy())
    with pytest.warns(UserWarning, match="'sparse_categorical_crossentropy' expects probabilities, .* head is linear"):
        first = compute(run, loss, SPARSE, LOGITS, "linear")
    np.testing.assert_array_equal(first, compute(run, loss, SPARSE, LOGITS, "linear"))


@pytest.mark.parametrize(
    "loss, name",
    [
        (keras.losses.categorical_crossentropy, "categorical_crossentropy"),
        (keras.losses.CategoricalCrossentropy(name="mine"), "mine"),
        (functools.partial(keras.losses.categorical_crossentropy, label_smoothing=0.1), "partial"),
    ],
)
def test_the_warning_names_the_loss(loss, name):
    with pytest.warns(UserWarning, match=f"The loss '{name}' expects probabilities"):
        HardLabelLoss(loss)(DENSE, tf.constant(LOGITS))


@EACH_RUN
@pytest.mark.parametrize(
    "loss, head",
    [
        (keras.losses.SparseCategoricalCrossentropy(from_logits=True), "linear"),
        (functools.partial(keras.losses.sparse_categorical_crossentropy, from_logits=True), "linear"),
        (keras.losses.SparseCategoricalCrossentropy(), "softmax"),
        (keras.losses.sparse_categorical_crossentropy, "softmax"),
    ],
)
def test_objects_that_fit_the_head_do_not_warn(loss, head, run):
    wanted = keras.losses.SparseCategoricalCrossentropy(from_logits=True)(SPARSE, LOGITS / 40)
    np.testing.assert_allclose(compute(run, HardLabelLoss(loss), SPARSE, LOGITS / 40, head), wanted, rtol=1e-4)


def test_an_object_keeps_its_settings():
    loss = keras.losses.CategoricalCrossentropy(from_logits=True, label_smoothing=0.2, reduction="sum")
    np.testing.assert_array_equal(HardLabelLoss(loss)(DENSE, LOGITS), loss(DENSE, LOGITS))


@pytest.mark.parametrize("name", ["mse", "mae", "huber", "MeanSquaredError", "hinge", "cosine_similarity"])
@pytest.mark.parametrize("head", ["linear", "softmax"])
def test_other_losses_pass_through(name, head):
    output = HEADS[head](tf.constant(LOGITS / 40))
    wanted = np.mean(keras.losses.get(name)(DENSE, output))
    np.testing.assert_allclose(HardLabelLoss(name)(DENSE, output), wanted, rtol=1e-6)
    weights = np.array([1.0, 0.0, 0.0, 0.0])
    first = np.mean(keras.losses.get(name)(DENSE[:1], output[:1]))
    np.testing.assert_allclose(HardLabelLoss(name)(DENSE, output, weights), first / 4, rtol=1e-5)


def test_a_custom_function():
    value = HardLabelLoss(lambda y, z: keras.ops.sum(keras.ops.abs(y - z), axis=-1))(DENSE, LOGITS)
    np.testing.assert_allclose(value, np.abs(DENSE - LOGITS).sum(-1).mean(), rtol=1e-6)


def test_half_precision():
    value = HardLabelLoss("sparse_categorical_crossentropy")(SPARSE, tf.cast(LOGITS / 8, "float16"))
    wanted = keras.losses.SparseCategoricalCrossentropy(from_logits=True)(SPARSE, LOGITS / 8)
    assert value.dtype == "float32"
    np.testing.assert_allclose(value, wanted, rtol=1e-3)


@EACH_RUN
@pytest.mark.parametrize("loss", ["sparse_categorical_crossentropy", "crossentropy"])
@pytest.mark.parametrize("labels", [[0, 1, 2, 3], [0, -2, 2, -1], [255, 0, 0, 0]])
def test_labels_out_of_range(labels, loss, run):
    low, high = min(labels), max(labels)
    message = rf"^Expected labels from 0 to 2\. Received: {low} to {high}\.$"
    with pytest.raises(ValueError, match=message), guards.explained():
        compute(run, HardLabelLoss(loss), np.array(labels), LOGITS, "linear")


@EACH_RUN
def test_the_ignored_class_is_accepted(run):
    loss = HardLabelLoss(keras.losses.SparseCategoricalCrossentropy(from_logits=True, ignore_class=-1))
    wanted = keras.losses.SparseCategoricalCrossentropy(from_logits=True)(SPARSE[2:], LOGITS[2:])
    labels = np.array([-1, -1, *SPARSE[2:]])
    np.testing.assert_allclose(compute(run, loss, labels, LOGITS, "linear"), wanted, rtol=1e-6)
    with pytest.raises(tf.errors.InvalidArgumentError, match="labels from 0 to 2"):
        compute(run, loss, labels - 1, LOGITS, "linear")


@EACH_RUN
@pytest.mark.parametrize("head", ["linear", "softmax"])
def test_masks(run, head):
    mask = np.array([[True, True, False], [True, False, False]])
    logits = np.random.default_rng(0).normal(size=(2, 3, 4)).astype("float32")
    labels = np.array([[0, 1, 2], [3, 0, 0]])

    @run
    def masked(y, z):
        output = HEADS[head](z)
        output._keras_mask = tf.constant(mask)
        return HardLabelLoss("sparse_categorical_crossentropy")(y, output)

    values = keras.losses.sparse_categorical_crossentropy(labels, logits, from_logits=True).numpy()
    np.testing.assert_allclose(masked(labels, tf.constant(logits)), values[mask].mean(), rtol=1e-6)


@pytest.mark.parametrize(
    "loss",
    [
        "sparse_categorical_crossentropy",
        "crossentropy",
        keras.losses.SparseCategoricalCrossentropy(from_logits=True, ignore_class=0),
        keras.losses.sparse_categorical_crossentropy,
    ],
    ids=range(4),
)
def test_config_round_trip(loss):
    output = keras.activations.softmax(LOGITS / 40)
    again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(HardLabelLoss(loss)))
    assert again.get_config() == HardLabelLoss(loss).get_config()
    assert type(again.loss) is type(loss)
    if getattr(loss, "ignore_class", None) is None:
        np.testing.assert_array_equal(again(SPARSE, output), HardLabelLoss(loss)(SPARSE, output))


@pytest.mark.parametrize("loss", ["mse", None, ["mse", None], {"a": "crossentropy", "b": None, "c": "mae"}], ids=str)
def test_nests(loss):
    wrapped = wrap_losses(loss)
    for before, after in zip(keras.tree.flatten(loss), keras.tree.flatten(wrapped), strict=True):
        assert after is None if before is None else (isinstance(after, HardLabelLoss) and after.loss == before)
    again = wrap_losses(wrapped)
    assert all(a is b for a, b in zip(keras.tree.flatten(again), keras.tree.flatten(wrapped), strict=True))


def test_refusals():
    with pytest.raises(
        ValueError,
        match=r"^Expected loss to be one of .*\. Received: 'crosentropy'\. Did you mean '\w*crossentropy'\?$",
    ):
        HardLabelLoss("crosentropy")
    with pytest.raises(ValueError, match=r"^Expected loss to be a Keras loss by name, function or object\. Received: "):
        HardLabelLoss(None)


@pytest.mark.parametrize("head", [None, "softmax"])
@pytest.mark.parametrize("eager", [True, False])
def test_in_a_model(head, eager):
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(3, activation=head)])
    model.compile("sgd", HardLabelLoss("crossentropy"), run_eagerly=eager)
    x = np.random.default_rng(0).normal(size=(4, 2)).astype("float32") * 20
    logits = x @ model.layers[0].kernel.numpy()
    wanted = keras.losses.SparseCategoricalCrossentropy(from_logits=True)(SPARSE, logits)
    np.testing.assert_allclose(model.evaluate(x, SPARSE, verbose=0), wanted, rtol=1e-5)
