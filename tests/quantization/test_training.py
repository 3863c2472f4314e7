"""Training by Keras and by the Distiller, saving and loading, and the other rooms of the package."""

import keras
import numpy as np
import pytest

import keras_distill as kd
from keras_distill import quantization
from tests.quantization.conftest import fit


def accuracy(model, digits):
    x, y = digits.test
    return np.mean(np.argmax(model(x, training=False), -1) == y)


@pytest.fixture(scope="module")
def teacher(small):
    """The float student itself, which a copy with rounding should be able to follow."""
    twin = keras.models.clone_model(small)
    twin.set_weights(small.get_weights())
    return twin


@pytest.fixture(scope="module")
def few(digits):
    """The first 128 digits."""
    return digits.first(128)


@pytest.fixture(scope="module")
def aware(small, teacher, digits):
    """A quantization-aware student after two epochs of distillation, and its losses."""
    model = quantization.quantize_aware(small)
    return model, fit(kd.Distiller(teacher, model, "kd"), digits, epochs=2, rate=1e-3)


@pytest.mark.slow
def test_distillation_keeps_the_accuracy(aware, small, digits):
    model, losses = aware
    assert losses[1] < losses[0]
    assert accuracy(small, digits) > 0.9
    assert accuracy(model, digits) >= accuracy(small, digits) - 0.01


def test_training_is_deterministic(small, teacher, few):
    models = []
    for _ in range(2):
        keras.utils.set_random_seed(5)
        models.append(quantization.quantize_aware(small))
        fit(kd.Distiller(teacher, models[-1], "kd"), few, epochs=1, rate=1e-3)
    assert all(np.array_equal(*each) for each in zip(*(model.get_weights() for model in models), strict=True))


@pytest.mark.slow
@pytest.mark.parametrize("settings", ({"ranges": "learned"}, {"batch_statistics": True}, {"weight_bits": 4}))
def test_keras_fits_it_with_every_setting(settings, small, few):
    model = quantization.quantize_aware(small, **settings)
    before = [np.array(each) for each in model.get_weights()]
    losses = fit(model, few, epochs=8, rate=2e-3)
    assert losses[-1] < losses[0]
    assert sum(not np.array_equal(a, b) for a, b in zip(before, model.get_weights(), strict=True)) > 8
    quantization.check_trained(model)


@pytest.mark.slow
def test_training_with_xla_gives_the_same_loss(small, few):
    losses = []
    for jit_compile in (False, True):
        model = quantization.quantize_aware(small)
        model.get_layer("dropout").rate = 0.0
        losses.append(fit(model, few, 2, 1e-3, jit_compile))
    # A value rounded to the other side changes the rest by a step.
    assert losses[0] == pytest.approx(losses[1], rel=0.1)


def student_copy(student):
    """Return a copy that may be frozen."""
    return kd.stages.momentum_teacher(student)


@pytest.mark.slow
def test_it_is_saved_and_loaded_in_safe_mode(aware, digits, few, tmp_path):
    model, x = aware[0], digits.test[0][:20]
    model.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras", safe_mode=True)
    assert np.array_equal(model(x), again(x))
    assert quantization.ranges(again) == quantization.ranges(model)
    assert np.allclose(quantization.float_student(again)(x), quantization.float_student(model)(x))
    # It continues training; a model made from the config alone starts afresh.
    assert fit(again, few, epochs=1)[0] < 1.0
    fresh = keras.Model.from_config(model.get_config())
    assert set(quantization.ranges(fresh).values()) == {None}


def test_a_clone_has_its_own_weights(aware, digits):
    model, x = aware[0], digits.test[0][:20]
    follower = kd.stages.momentum_teacher(model)
    assert np.array_equal(model(x), follower(x))
    assert not {id(each) for each in model.weights} & {id(each) for each in follower.weights}


@pytest.mark.slow
def test_a_chain_of_stages_may_end_in_an_aware_student(small, few):
    def train(distiller, stage):
        distiller.compile("adam", "sparse_categorical_crossentropy", jit_compile=False)
        distiller.fit(*few.train, batch_size=64, verbose=0)

    (last,) = kd.stages.chain(student_copy(small), [quantization.quantize_aware(small)], train)
    assert quantization.is_quantize_aware(last)
    quantization.check_trained(last)


@pytest.mark.slow
def test_the_logits_before_a_softmax_head_are_used(digits, few):
    inputs = keras.Input((8, 8, 1))
    x = keras.layers.Flatten()(inputs)
    softmax = keras.Model(inputs, keras.layers.Dense(10, activation="softmax", name="probabilities")(x))
    linear = keras.Model(inputs, keras.layers.Dense(10, name="logits")(x))
    linear.set_weights(softmax.get_weights())
    losses = []
    for student in (softmax, linear):
        model = quantization.quantize_aware(student)
        distiller = kd.Distiller(student_copy(linear), model, "kd")
        distiller.compile("sgd", "sparse_categorical_crossentropy", jit_compile=False)
        history = distiller.fit(*few.train, batch_size=64, verbose=0, shuffle=False)
        losses.append(
            [history.history["loss"][0], distiller.evaluate(*digits.test, verbose=0, return_dict=True)["loss"]]
        )
    assert losses[0] == pytest.approx(losses[1], rel=0.02)


def test_features_keep_the_names_of_the_student(aware, small):
    kd.Distiller(
        student_copy(small),
        aware[0],
        kd.losses.get("fitnet", teacher_layer_name="relu", student_layer_name="relu"),
    )
    assert aware[0].get_layer("conv").layer.kernel.shape == (3, 3, 1, 12)
