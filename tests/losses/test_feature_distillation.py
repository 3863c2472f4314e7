"""Features: which layers, which adapter, which shapes. The values are in the common tests of all losses."""

import keras
import numpy as np
import pytest
from loss_table import pair, value_and_gradient

import keras_distill as kd


def dense(name="model"):
    layers = [keras.Input((4,)), keras.layers.Dense(6, name="hidden"), keras.layers.Dense(3, name="head")]
    return keras.Sequential(layers, name=name)


class Subclassed(keras.Model):
    """A model without symbolic inputs."""

    def call(self, x):
        return x


@pytest.mark.parametrize("shape", [(5, 3), (2, 4, 3), (2, 3, 4, 5)])
@pytest.mark.parametrize(
    "loss, value, slope",
    [
        ("mse", lambda d: d**2, lambda d: 2 * d),
        ("mae", np.abs, np.sign),
        (keras.losses.MeanSquaredError(), lambda d: d**2, lambda d: 2 * d),
        (keras.losses.mean_absolute_error, np.abs, np.sign),
        ("huber", lambda d: np.where(np.abs(d) < 1, d**2 / 2, np.abs(d) - 0.5), lambda d: np.clip(d, -1, 1)),
    ],
)
def test_values(loss, value, slope, shape):
    teacher, student = pair(*shape)
    got = value_and_gradient(kd.losses.FeatureDistillation(loss), teacher, student)
    np.testing.assert_allclose(got[0], value(student - teacher).mean(), rtol=1e-5)
    np.testing.assert_allclose(got[1], slope(student - teacher) / teacher.size, rtol=1e-5, atol=1e-8)


def test_probabilities_are_features_like_any_other():
    probabilities = keras.activations.softmax(pair(4, 3)[0])
    assert float(kd.losses.FeatureDistillation().compute_loss(probabilities, 0.0 * probabilities)) > 0.0


@pytest.mark.parametrize(
    "teacher, student, kind",
    [
        ((None, 8), (None, 3), keras.layers.Dense),
        ((None, 5, 8), (None, 5, 3), keras.layers.Dense),
        ((None, None, 8), (None, None, 3), keras.layers.Dense),
        ((None, 4, 4, 8), (None, 4, 4, 3), keras.layers.Conv2D),
        ((None, None, None, 8), (None, None, None, 3), keras.layers.Conv2D),
        ((None, 2, 4, 4, 8), (None, 2, 4, 4, 3), keras.layers.Dense),
    ],
)
def test_adapter_where_the_widths_differ(teacher, student, kind):
    adapter = kd.losses.FeatureDistillation().make_adapter(teacher, student)
    assert type(adapter) is kind and not adapter.built and adapter.name == "feature_distillation_adapter"
    assert adapter.compute_output_shape(student) == teacher
    adapter.build(student)
    assert adapter.kernel.shape[-2:] == (3, 8) and adapter.count_params() == 3 * 8 + 8


@pytest.mark.parametrize("teacher, student", [((None, 8), (None, 8)), ((None, 4, 4, 8), (None, 8))])
def test_no_adapter_if_the_ranks_differ(teacher, student):
    assert kd.losses.FeatureDistillation().make_adapter(teacher, student) is None


def test_a_custom_adapter_or_none():
    own = keras.layers.Dense(8, use_bias=False)
    assert kd.losses.FeatureDistillation(adapter=own).make_adapter((None, 8), (None, 8)) is own
    assert kd.losses.FeatureDistillation(adapter=None).make_adapter((None, 8), (None, 3)) is None
    for wrong in ("dense", 3, lambda x: x):
        with pytest.raises(ValueError, match=r"^Expected adapter to be 'auto', `None` or a Keras layer\. Received: "):
            kd.losses.FeatureDistillation(adapter=wrong)


@pytest.mark.parametrize("role", ["teacher", "student"])
def test_unknown_layers(role):
    loss = kd.losses.FeatureDistillation(**{f"{role}_layer_name": "hiden"})
    message = rf"^Expected {role}_layer_name to be one of head, hidden\. Received: 'hiden'\. Did you mean 'hidden'\?$"
    with pytest.raises(ValueError, match=message):
        loss.validate_model_compatibility(dense(), dense())
    right = kd.losses.FeatureDistillation(**{f"{role}_layer_name": "hidden"})
    assert right.validate_model_compatibility(dense(), dense()) is None


@pytest.mark.parametrize("role", ["teacher", "student"])
def test_models_without_layers_to_tap(role):
    models = {"teacher": dense(), "student": dense(), role: Subclassed(name="odd")}
    loss = kd.losses.FeatureDistillation(**{f"{role}_layer_name": "hidden"})
    message = (
        rf"^Expected a built {role} to take 'hidden' from\. Received: Subclassed named 'odd' .* Call it once on a "
    )
    with pytest.raises(ValueError, match=message):
        loss.validate_model_compatibility(**models)
    assert kd.losses.FeatureDistillation().validate_model_compatibility(**models) is None


@pytest.mark.parametrize("student", [(2, 4, 4, 3), (2, 8, 8, 5), (2, 8, 3), (2, 3)])
def test_shapes_that_do_not_fit(student):
    with pytest.raises(
        ValueError, match=r"^Expected features of the same shape, except for their width\. Received: .*\. Pair la"
    ):
        kd.losses.FeatureDistillation().validate_outputs(np.zeros((2, 8, 8, 3)), np.zeros(student))


def test_unknown_lengths_fit():
    teacher, student = keras.KerasTensor((None, None, 3)), keras.KerasTensor((None, 7, 3))
    assert kd.losses.FeatureDistillation().validate_outputs(teacher, student) is None


def test_an_output_left_out_may_have_any_shape():
    (teacher, student), other = pair(4, 3), np.zeros((4, 9), "float32")
    loss = kd.losses.FeatureDistillation([None, "mse"])
    loss.validate_outputs([other, teacher], [other[:, :2], student])
    value = loss.compute_loss([other, teacher], [other[:, :2], student])
    np.testing.assert_allclose(value, np.mean((teacher - student) ** 2), rtol=1e-6)


@pytest.mark.parametrize("adapter", ["auto", None, keras.layers.Dense(5, name="own")], ids=["auto", "none", "own"])
@pytest.mark.parametrize("loss", ["mse", ["mae", None], keras.losses.Huber(0.5)], ids=["name", "list", "object"])
def test_config_round_trip(loss, adapter):
    before = kd.losses.FeatureDistillation(loss, "stage_2", "stage_1", adapter, name="hints")
    after = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(before))
    assert after.get_config() == before.get_config()
    assert (after.teacher_layer_name, after.student_layer_name, after.name) == ("stage_2", "stage_1", "hints")
    if isinstance(adapter, keras.layers.Layer):
        assert type(after.adapter) is keras.layers.Dense and after.adapter.units == 5
    else:
        assert after.adapter == adapter


@pytest.mark.filterwarnings("ignore:Gradients do not exist")  # For the head, which nothing here trains.
def test_layers_in_the_distiller_of_keras():
    teacher, student = dense("teacher"), dense("student")
    loss = kd.losses.FeatureDistillation("mse", "hidden", "hidden")
    distiller = keras.distillation.Distiller(teacher, student, loss, student_loss_weight=0.0)
    distiller.compile("sgd", loss="mse")
    x = np.random.default_rng(0).normal(size=(8, 4)).astype("float32")
    wanted = np.mean((x @ teacher.layers[0].kernel.numpy() - x @ student.layers[0].kernel.numpy()) ** 2)
    logs = distiller.train_on_batch(x, np.zeros((8, 3)), return_dict=True)
    np.testing.assert_allclose(logs["distillation_loss"], wanted, rtol=1e-4)
