"""NaN in the data stops a training before the update, names the batch, and leaves the student of the step before."""

import keras
import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

import keras_distill as kd

SIZE, BAD = 16, 4
MODES = {
    "graph": {},
    "several steps": {"steps_per_execution": 4},
    "eager": {"run_eagerly": True},
    "xla, several steps": {"jit_compile": True, "steps_per_execution": 4},
}


def student(activation="relu", normalized=False, policy=None):
    layers = [keras.Input((4,)), keras.layers.Dense(4, dtype=policy)]
    # Without a scale, its moving statistics alone show the NaN that a relu hides.
    layers += [keras.layers.BatchNormalization(scale=False)] if normalized else []
    return keras.Sequential([*layers, keras.layers.Activation(activation), keras.layers.Dense(3, dtype=policy)])


def distiller_of(model, teacher, optimizer=None, **settings):
    distiller = kd.Distiller(teacher, model, "kd")
    distiller.compile(
        optimizer or keras.optimizers.SGD(0.1, momentum=0.9),
        "sparse_categorical_crossentropy",
        **{"jit_compile": False, **settings},
    )
    return distiller


def trained(x, y, model, teacher, **settings):
    """Return the student's weights, and the error if there was one."""
    distiller = distiller_of(model, teacher, **settings)
    error = None
    try:
        distiller.fit(x, y, batch_size=SIZE, shuffle=False, verbose=0)
    except FloatingPointError as caught:
        error = caught
    return distiller, error


@pytest.mark.parametrize(
    "mode, activation, normalized",
    [
        ("graph", "relu", False),
        ("graph", "tanh", True),
        ("several steps", "tanh", True),
        ("eager", "relu", False),
        ("xla, several steps", "tanh", True),
    ],
)
def test_the_student_is_that_of_the_step_before(mlp, data, mode, activation, normalized):
    (x, y), teacher = data, mlp(8)
    whole, spoilt = student(activation, normalized), x.copy()
    spoilt[BAD * SIZE + 3, 1] = np.nan
    other = keras.models.clone_model(whole)
    other.set_weights(whole.get_weights())
    good, _ = trained(x[: BAD * SIZE], y[: BAD * SIZE], other, teacher, run_eagerly=True)
    distiller, error = trained(spoilt, y, whole, teacher, **MODES[mode])
    assert f"Received: nan in batch {BAD + 1} of epoch 1." in str(error)
    for one, another in zip(distiller.student.get_weights(), good.student.get_weights(), strict=True):
        assert_allclose(one, another, atol=1e-6)
    for one, another in zip(distiller.optimizer.variables, good.optimizer.variables, strict=True):
        assert_allclose(one, another, atol=1e-6)
    assert np.isfinite(distiller.fit(x, y, batch_size=SIZE, verbose=0).history["loss"][0])  # It can be trained on.


@pytest.mark.parametrize("jit_compile", [False, True])
def test_a_moving_statistic_that_only_it_shows(mlp, data, jit_compile):
    x, y = data
    model = keras.Sequential(
        [
            keras.Input((4,)),
            keras.layers.BatchNormalization(center=False, scale=False),
            keras.layers.Lambda(lambda values: keras.ops.where(keras.ops.isnan(values), 0.0, values)),
            keras.layers.Dense(3),
        ]
    )
    x = x.copy()
    x[40, 1] = np.nan
    distiller, error = trained(x, y, model, mlp(8), optimizer=keras.optimizers.SGD(0.1), jit_compile=jit_compile)
    # The teacher hides it by its relu.
    assert str(error).startswith("Expected ") and "batch 3 of epoch 1" in str(error)
    assert all(np.isfinite(weight).all() for weight in distiller.student.get_weights())


@pytest.mark.parametrize("jit_compile", [False, True])
def test_a_scaled_loss_may_overflow_but_its_data_may_not_be_nan(mlp, data, jit_compile):
    (x, y), teacher = data, mlp(8)
    scaled = keras.optimizers.LossScaleOptimizer(keras.optimizers.SGD(0.1), initial_scale=2.0**127)
    distiller, error = trained(
        x, y, student(policy="mixed_float16"), teacher, optimizer=scaled, jit_compile=jit_compile
    )
    assert error is None and float(scaled.dynamic_scale) < 2.0**127
    before, x = distiller.student.get_weights(), x.copy()
    x[:, 0] = np.nan
    with pytest.raises(FloatingPointError, match="in batch 1 of epoch 1"):
        distiller.fit(x, y, verbose=0)
    for one, another in zip(before, distiller.student.get_weights(), strict=True):
        assert_array_equal(one, another)


def test_single_batches_and_evaluation_under_xla(mlp, data):
    (x, y), distiller = data, distiller_of(student(), mlp(8), jit_compile=True)
    before = distiller.student.get_weights()
    with pytest.raises(FloatingPointError, match="finite"):
        distiller.train_on_batch(np.where(np.arange(4) == 1, np.nan, x), y)
    with pytest.raises(ValueError, match="labels from 0 to 2. Received: 1 to 3"):
        distiller.evaluate(x, y + 1, verbose=0)
    for one, another in zip(before, distiller.student.get_weights(), strict=True):
        assert_array_equal(one, another)


@pytest.mark.parametrize(
    "how, jit_compile", [("fit", False), ("one at a time", False), ("evaluate", False), ("fit", True)]
)
def test_probabilities_of_an_unknown_kind_are_no_logits(mlp, data, jit_compile, how):
    inputs = keras.Input((4,))
    positive = keras.layers.Dense(3, activation="softplus")(inputs)
    teacher = keras.Model(inputs, positive / keras.ops.sum(positive, axis=-1, keepdims=True))
    distiller = kd.Distiller(teacher, mlp(4), kd.losses.LogitMatching())
    loss = "sparse_categorical_crossentropy"
    distiller.compile("sgd", loss, fidelity=how == "evaluate", jit_compile=jit_compile)
    act = distiller.evaluate if how == "evaluate" else distiller.fit
    with pytest.raises(ValueError, match="logits from the teacher. Received: rows of probabilities"):
        act(*data, batch_size=1 if how == "one at a time" else 32, verbose=0)


def test_a_student_without_trainable_weights_is_evaluated(mlp, data):
    model = mlp(4)
    model.trainable = False
    distiller, before = distiller_of(model, mlp(8)), model.get_weights()
    with pytest.warns(UserWarning, match="The student has no trainable weights"):
        logs = distiller.fit(*data, verbose=0).history
    model.compile(loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    assert_allclose(logs["student_loss"][0], model.evaluate(*data, verbose=0), rtol=1e-5)
    assert_array_equal(before[0], model.get_weights()[0])


def test_shared_layers_are_named_once():
    inputs = keras.Input((4,))
    shared = keras.layers.Dense(4, name="block_1")(inputs)
    teacher = keras.Model(inputs, keras.layers.Dense(3)(keras.layers.Dense(4)(shared)))
    early = keras.Model(inputs, keras.layers.Dense(3, name="exit")(shared))
    with pytest.warns(UserWarning, match="share the layers 'block_1': they are frozen"):
        kd.Distiller(teacher, early, "kd")
    kd.Distiller(teacher, early, "kd")  # They are frozen already: nothing changes, and a warning would fail the test.


@pytest.mark.parametrize("name", ["train_step", "compute_loss"])
def test_a_students_own_step_is_not_ignored_in_silence(mlp, name):
    own = type("Own", (keras.Sequential,), {name: lambda self, *args, **kwargs: None})
    with pytest.warns(UserWarning, match=f"own `{name}` does not run"):
        kd.Distiller(mlp(8), own([keras.Input((4,)), keras.layers.Dense(3)]), "kd")
