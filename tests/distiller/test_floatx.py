"""In Keras's `floatx` of float64, and beside losses in it, training has the values that it has in float32."""

import keras
import pytest
from numpy.testing import assert_allclose

import keras_distill as kd

LAYERS = {"teacher_layer_name": "hidden", "student_layer_name": "hidden"}
METHODS = {
    **{name: lambda name=name: name for name in ("kd", "dkd", "mlkd", "rkd")},
    "several": lambda: ["kd", kd.losses.FeatureDistillation("mse", **LAYERS)],
}


@pytest.fixture
def in_float64():
    """Return a function that switches to float64 until the end of the test."""

    def switch() -> None:
        keras.config.set_floatx("float64")
        keras.config.set_dtype_policy("float64")

    yield switch
    keras.config.set_floatx("float32")
    keras.config.set_dtype_policy("float32")


def net(width):
    regularizer = keras.regularizers.L2(0.01)
    hidden = keras.layers.Dense(width, activation="tanh", name="hidden", kernel_regularizer=regularizer)
    return keras.Sequential([keras.Input((4,)), hidden, keras.layers.Dense(3)])


def history(method, data, weights, **settings):
    models = net(6), net(6)
    for model, values in zip(models, weights or (), strict=False):
        model.set_weights(values)
    before = [model.get_weights() for model in models]
    distiller = kd.Distiller(*models, method())
    optimizer = keras.optimizers.SGD(0.5, momentum=0.9)
    distiller.compile(optimizer, "sparse_categorical_crossentropy", metrics=["accuracy"], **settings)
    logs = distiller.fit(*data, batch_size=32, shuffle=False, verbose=0).history
    logs["evaluation"] = distiller.evaluate(*data, verbose=0)
    return before, logs, models[1].get_weights()


@pytest.mark.parametrize("method, mode", [*((name, "eager") for name in METHODS), ("several", "graph")])
def test_the_values_are_those_of_float32(data, in_float64, method, mode):
    settings = {"run_eagerly": True} if mode == "eager" else {"jit_compile": False}
    data = data[0][:64], data[1][:64]
    weights, expected, student = history(METHODS[method], data, None, **settings)
    in_float64()
    _, logs, in_64 = history(METHODS[method], (data[0].astype("float64"), data[1]), weights, **settings)
    assert in_64[0].dtype == "float64" and logs.keys() == expected.keys()
    for name, values in expected.items():
        assert_allclose(logs[name], values, rtol=2e-5, err_msg=name)
    for one, another in zip(in_64, student, strict=True):
        assert_allclose(one, another, atol=2e-5)
