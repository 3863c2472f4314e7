"""The extractor: the model's own layers, one forward pass, and the features that were asked for."""

import keras
import numpy as np
import pytest

from keras_distill.features import FINAL_OUTPUT, feature_extractor


@keras.saving.register_keras_serializable(package="tests")
class Counting(keras.layers.Layer):
    """Count the forward passes."""

    calls = 0

    def call(self, x):
        self.calls += 1
        return x


def sequential():
    layers = [keras.Input((4,)), Counting(name="count"), keras.layers.Dense(5, name="hidden")]
    return keras.Sequential([*layers, keras.layers.Dense(3, name="head")])


def functional():
    inputs = keras.Input((4,))
    hidden = keras.layers.Dense(5, name="hidden")(Counting(name="count")(inputs))
    return keras.Model(inputs, keras.layers.Dense(3, name="head")(hidden))


BOTH = pytest.mark.parametrize("make", [sequential, functional])
X = np.random.default_rng(0).normal(size=(6, 4)).astype("float32")


@BOTH
def test_features_and_output(make):
    model = make()
    outputs = feature_extractor(model, ["hidden", "count"])(X)
    assert sorted(outputs) == ["count", FINAL_OUTPUT, "hidden"]
    np.testing.assert_array_equal(outputs[FINAL_OUTPUT], model(X))
    np.testing.assert_array_equal(outputs["count"], X)
    layer = model.get_layer("hidden")
    np.testing.assert_allclose(outputs["hidden"], X @ layer.kernel.numpy(), rtol=1e-5, atol=1e-6)


@BOTH
def test_one_forward_pass(make):
    model = make()
    extractor = feature_extractor(model, ["hidden"])
    before = model.get_layer("count").calls
    extractor(X)
    assert model.get_layer("count").calls == before + 1


@BOTH
def test_weights_are_shared(make):
    model = make()
    extractor = feature_extractor(model, ["hidden"])
    assert {id(weight) for weight in extractor.weights} == {id(weight) for weight in model.weights}
    model.get_layer("hidden").kernel.assign(np.zeros((4, 5)))
    assert not np.any(extractor(X)["hidden"])


@BOTH
@pytest.mark.parametrize("names", [[], [None], ["", None], ()])
def test_nothing_asked_for(make, names):
    assert feature_extractor(make(), names) is None


@BOTH
def test_a_name_twice_is_one_feature(make):
    assert sorted(feature_extractor(make(), ["hidden", None, "hidden"]).output) == [FINAL_OUTPUT, "hidden"]


def test_training_and_inference_mode():
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dropout(0.5, name="drop"), keras.layers.Dense(3)])
    extractor = feature_extractor(model, ["drop"])
    np.testing.assert_array_equal(extractor(X, training=False)["drop"], X)
    assert np.any(extractor(X, training=True)["drop"] != X)


def test_several_inputs_and_outputs():
    one, two = keras.Input((4,), name="one"), keras.Input((4,), name="two")
    total = keras.layers.Add(name="total")([one, two])
    model = keras.Model(
        {"one": one, "two": two}, {"a": keras.layers.Dense(2)(total), "b": keras.layers.Dense(3)(total)}
    )
    outputs = feature_extractor(model, ["total"])({"one": X, "two": 2 * X})
    assert sorted(outputs[FINAL_OUTPUT]) == ["a", "b"]
    np.testing.assert_allclose(outputs["total"], 3 * X, rtol=1e-6)


@pytest.mark.parametrize("make", [keras.Sequential, lambda: keras.Sequential([keras.layers.Dense(3)])])
def test_models_without_symbolic_inputs(make):
    with pytest.raises(
        ValueError, match=r"^Expected a built Functional or Sequential model to take \['a'\] from\. Rec"
    ):
        feature_extractor(make(), ["a"])


def test_subclassed_models():
    class Subclassed(keras.Model):
        def call(self, x):
            return x

    model = Subclassed(name="odd")
    model(X)
    with pytest.raises(ValueError, match=r"^Expected a built Functional .* \['a'\] from\. Received: 'odd'\.$"):
        feature_extractor(model, ["a"])
    assert feature_extractor(model, [None]) is None
