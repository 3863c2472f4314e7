"""Masked sequences behind an adapter: only what is not padding is compared, and teaches the adapter."""

import keras
import numpy as np
import pytest

import keras_distill as kd
from keras_distill._core.tensors import mask_of
from keras_distill.features.masking import run_masked
from tests import gradients
from tests.gradients import masked

MASK = np.array([[1, 1, 1, 1], [1, 1, 0, 0], [1, 0, 0, 0]], bool)
ADAPTERS = {
    "automatic": lambda: "auto",
    "dense": lambda: keras.layers.Dense(5),
    "sequential": lambda: keras.Sequential([keras.layers.Dense(6, "tanh"), keras.layers.Dense(5)]),
    "recurrent": lambda: keras.layers.SimpleRNN(5, return_sequences=True),
    "without masks": lambda: keras.layers.Conv1D(5, 1),
}


def pair(padding):
    draws = np.random.default_rng(0)
    teacher, student = (draws.normal(size=(3, 4, width)).astype("float32") for width in (5, 2))
    return tuple(np.where(MASK[..., None], each, np.float32(padding)) for each in (teacher, student))


def make(adapter):
    loss = kd.losses.FeatureDistillation("mse", "a", "b", adapter=ADAPTERS[adapter]())
    layer = loss.make_adapter((None, None, 5), (None, None, 2))
    if not layer.built:
        layer.build((None, None, 2))
    return loss, layer


def compute(loss, layer, teacher, student):
    return loss.compute_loss(teacher, loss.adapt(masked(student, MASK), layer, training=True))


@pytest.mark.parametrize("padding", [0.0, 7.0, np.nan])
@pytest.mark.parametrize("adapter", ADAPTERS)
def test_only_real_tokens_are_compared(adapter, padding):
    loss, layer = make(adapter)
    teacher, student = pair(padding)
    clean = masked(pair(0.0)[1], MASK if adapter == "recurrent" else None)
    errors = np.mean((np.array(layer(clean)) - teacher) ** 2, axis=-1)
    value, gradient = gradients.value_and_gradient(lambda student: compute(loss, layer, teacher, student), student)
    np.testing.assert_allclose(value, errors[MASK].mean(), rtol=1e-5)
    assert np.array(gradient)[MASK].all() and not np.array(gradient)[~MASK].any()


@pytest.mark.tensorflow_only
@pytest.mark.parametrize("adapter", ADAPTERS)
def test_padding_does_not_train_the_adapter(adapter):
    import tensorflow as tf

    loss, layer = make(adapter)
    slopes = []
    for padding in (0.0, 7.0, np.nan):
        with tf.GradientTape() as tape:
            value = compute(loss, layer, *pair(padding))
        slopes.append(tape.gradient(value, layer.trainable_variables))
    for first, *others in zip(*slopes, strict=True):
        for other in others:
            np.testing.assert_allclose(other, first, rtol=1e-6)
    if adapter in ("automatic", "dense"):  # In closed form.
        teacher, student = pair(0.0)
        errors = np.where(MASK[..., None], np.array(layer(student)) - teacher, 0.0)
        wanted = 2 * np.einsum("nti,nto->io", student, errors) / (MASK.sum() * 5)
        np.testing.assert_allclose(slopes[0][0], wanted, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("shape, mask", [((3, 4, 2), MASK), ((3, 4, 4, 2), MASK), ((3, 4, 4, 2), MASK[:, 0])])
def test_each_of_several_layers_keeps_its_own_mask(shape, mask):
    loss = kd.losses.FeatureDistillation("mse", ["a", "b"], ["a", "b"])
    wide, students = (*shape[:-1], 5), [np.ones(shape, "float32"), np.ones((3, 2), "float32")]
    adapter = loss.make_adapter([wide, (3, 4)], [shape, (3, 2)])
    adapted = loss.adapt([masked(students[0], mask), masked(students[1], [True, False, True])], adapter)
    masks = [np.array(mask_of(each)) for each in adapted]
    np.testing.assert_array_equal(masks[0], mask)
    np.testing.assert_array_equal(masks[1], [True, False, True])
    assert [tuple(each.shape) for each in adapted] == [wide, (3, 4)]


def test_an_adapter_that_moves_the_positions_says_so():
    layer = keras.layers.Conv1D(5, 2, strides=2)
    layer.build((None, None, 2))
    with pytest.warns(UserWarning, match="does not support masks and changes the positions of masked features"):
        run_masked(layer, masked(np.ones((3, 4, 2), "float32"), MASK))


@pytest.mark.tensorflow_only
def test_unknown_lengths():
    import tensorflow as tf

    spec, found = tf.TensorSpec((None, None, 2)), []

    def trace(layer):
        layer.build((None, None, 2))
        function = tf.function(lambda x: found.append(mask_of(run_masked(layer, masked(x, MASK)))))
        function.get_concrete_function(spec)

    trace(keras.layers.Conv1D(5, 1))
    with pytest.warns(UserWarning, match="changes the positions"):
        trace(keras.layers.Conv1D(5, 2, strides=2))
    assert [mask is not None for mask in found] == [True, False]


def test_masked_sequences_of_another_width_in_training():
    keras.utils.set_random_seed(0)
    lengths = np.array([2, 3, 6, 1])
    mask = np.arange(6) < lengths[:, None]
    tokens = np.where(mask, np.random.default_rng(0).integers(1, 9, (4, 6)), 0)

    def encoder(width):
        inputs = keras.Input((None,), dtype="int32")
        x = keras.layers.Embedding(9, width, mask_zero=True)(inputs)
        x = keras.layers.LayerNormalization(name="encoded")(x)
        return keras.Model(inputs, keras.layers.Dense(3)(keras.layers.GlobalAveragePooling1D()(x)))

    teacher, student = encoder(8), encoder(4)
    distiller = kd.Distiller(teacher, student, kd.losses.FeatureDistillation("mse", "encoded", "encoded"))
    distiller.compile(keras.optimizers.SGD(0.0), "sparse_categorical_crossentropy")
    v, z = (keras.Model(model.input, model.get_layer("encoded").output)(tokens) for model in (teacher, student))
    errors = np.mean((np.array(v) - np.array(distiller.objective.adapters[0](z))) ** 2, axis=-1)
    for weights in (None, np.array([0.0, 1.0, 2.0, 0.5], "float32")):
        wanted = (errors * (1 if weights is None else weights[:, None]))[mask].sum() / mask.sum()
        got = distiller.train_on_batch(tokens, np.zeros(4), weights, return_dict=True)
        distiller.reset_metrics()
        np.testing.assert_allclose(got["distillation_loss"], wanted, rtol=1e-4)
