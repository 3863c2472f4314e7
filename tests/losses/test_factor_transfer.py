"""Factor transfer: both forms in closed form, factors of zeros, paraphrasers and translators."""

import keras
import numpy as np
import pytest
from loss_table import pair, value_and_gradient

import keras_distill as kd
from keras_distill.features.adapters import Parallel
from keras_distill.features.paraphraser import Paraphraser, Translator
from keras_distill.losses.feature_maps.factor_transfer import FT, ft, ft_maps

NAMES = {"teacher_layer_name": "teacher_map", "student_layer_name": "student_map"}


def unit_rows(x):
    rows = x.reshape(len(x), -1)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def factor_distance(teacher, student, power):
    """The loss of each sample in plain NumPy."""
    return np.mean(np.abs(unit_rows(student) - unit_rows(teacher)) ** power, axis=1)


def map_distance(teacher, student, power, map_power):
    return factor_distance((teacher**map_power).mean(-1), (student**map_power).mean(-1), power)


def numerical(function, x, step=1e-5):
    """Central differences."""
    gradient = np.zeros(x.shape)
    for index in np.ndindex(*x.shape):
        change = np.zeros(x.shape)
        change[index] = step
        gradient[index] = (function(x + change) - function(x - change)) / (2 * step)
    return gradient


@pytest.mark.parametrize("power", [1.0, 1.5, 2.0])
@pytest.mark.parametrize("shape", [(3, 4, 4, 5), (1, 2, 3, 1), (6, 1, 1, 8)])
def test_values_of_factors(shape, power):
    for dtype, rtol in (("float64", 1e-11), ("float32", 2e-5)):
        teacher, student = pair(*shape, dtype=dtype)
        value, gradient = value_and_gradient(FT(power=power, **NAMES), teacher, student)
        teacher, student = teacher.astype("float64"), student.astype("float64")
        np.testing.assert_allclose(value, factor_distance(teacher, student, power).mean(), rtol=rtol)
        assert np.isfinite(gradient).all()


@pytest.mark.parametrize("power, map_power", [(1.0, 2), (2.0, 2), (2.0, 1), (1.0, 3)])
def test_values_of_maps(power, map_power):
    teacher, student = pair(3, 4, 4, 5, dtype="float64")[0], pair(3, 4, 4, 2, seed=3, dtype="float64")[1]
    loss = FT("map", power, map_power, **NAMES)
    value, gradient = value_and_gradient(loss, teacher, student)
    np.testing.assert_allclose(value, map_distance(teacher, student, power, map_power).mean(), rtol=1e-11)
    wanted = numerical(lambda x: map_distance(teacher, x, power, map_power).mean(), student)
    np.testing.assert_allclose(gradient, wanted, rtol=1e-4, atol=1e-8)


def test_the_gradient_of_factors():
    teacher, student = pair(2, 2, 2, 3, dtype="float64")
    wanted = numerical(lambda x: factor_distance(teacher, x, 1).mean(), student)
    np.testing.assert_allclose(value_and_gradient(FT(**NAMES), teacher, student)[1], wanted, rtol=1e-4, atol=1e-8)


@pytest.mark.parametrize("form", ["factor", "map"])
def test_the_larger_map_is_pooled(form):
    large, small = pair(2, 4, 4, 3, dtype="float64")[0], pair(2, 2, 2, 3, seed=1, dtype="float64")[1]
    pooled = large.reshape(2, 2, 2, 2, 2, 3).mean((2, 4))
    loss = FT(form, **NAMES)
    np.testing.assert_allclose(loss.compute_loss(large, small), loss.compute_loss(pooled, small), rtol=1e-12)
    np.testing.assert_allclose(loss.compute_loss(small, large), loss.compute_loss(small, pooled), rtol=1e-12)


@pytest.mark.parametrize("form", ["factor", "map"])
def test_only_the_direction_counts(form):
    teacher, student = pair(2, 3, 3, 4)
    loss = FT(form, **NAMES)
    assert float(loss.compute_loss(teacher, 4.0 * teacher)) == 0.0
    np.testing.assert_allclose(
        loss.compute_loss(teacher, 8.0 * student), loss.compute_loss(teacher, student), rtol=1e-6
    )


@pytest.mark.parametrize("form", ["factor", "map"])
@pytest.mark.parametrize("power", [1.0, 1.5, 2.0])
def test_zeros_pass_no_gradient(form, power):
    teacher, student = pair(3, 3, 3, 4)
    student[1] = 0.0
    teacher[2] = 0.0
    value, gradient = value_and_gradient(FT(form, power, **NAMES), teacher, student)
    assert np.isfinite(value) and np.isfinite(gradient).all() and not gradient[1].any() and gradient[0].any()


def test_paraphraser_and_translator():
    teacher, student = pair(3, 4, 4, 6)[0], pair(3, 4, 4, 2, seed=1)[1]
    paraphraser = Paraphraser(0.5)
    paraphraser.build(teacher.shape)
    loss = FT(paraphraser=paraphraser, **NAMES)
    adapter = loss.make_adapter((None, 4, 4, 6), (None, 4, 4, 2))
    adapter.build((None, 4, 4, 2))
    assert isinstance(adapter, Translator) and adapter.width == 3 and len(adapter.trainable_variables) == 6
    assert {id(each) for each in paraphraser.weights} <= {id(each) for each in adapter.weights}
    value = loss.compute_loss(teacher, loss.adapt(student, adapter, True), adapter=adapter)
    wanted = factor_distance(
        *(np.asarray(each, "float64") for each in (paraphraser.encode(teacher), adapter(student))), 1
    )
    np.testing.assert_allclose(value, wanted.mean(), rtol=1e-5)


def test_translators_only_where_needed():
    assert FT(**NAMES).make_adapter((None, 4, 4, 6), (None, 4, 4, 6)) is None
    assert FT("map", **NAMES).make_adapter((None, 4, 4, 6), (None, 4, 4, 2)) is None
    assert FT(**NAMES).make_adapter((None, 4, 4, 6), (None, 4, 4, 2)).width == 6
    several = FT(paraphraser=[Paraphraser(0.5), None], **NAMES).make_adapter([(2, 4, 4, 6)] * 2, [(2, 4, 4, 6)] * 2)
    assert isinstance(several, Parallel) and several.layers[0].width == 3 and several.layers[1] is None
    assert FT(**NAMES).make_adapter([(2, 4, 4, 6)] * 2, [(2, 4, 4, 6)] * 2) is None


def test_a_paraphraser_in_the_configuration():
    paraphraser = Paraphraser(0.25)
    paraphraser.build((None, 4, 4, 8))
    loss = FT(paraphraser=[paraphraser, None], teacher_layer_name=["a", "b"], student_layer_name=["a", "b"])
    again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(loss))
    assert again.paraphraser[0].built and again.paraphraser[0].ratio == 0.25 and again.paraphraser[1] is None


def test_the_paraphraser_is_saved_with_the_distiller(tmp_path):
    def model(width, name):
        layers = [keras.layers.Conv2D(width, 3, name="maps"), keras.layers.Flatten(), keras.layers.Dense(2)]
        return keras.Sequential([keras.Input((6, 6, 3)), *layers], name=name)

    paraphraser = Paraphraser(0.5)
    paraphraser.build((None, 4, 4, 6))
    loss = FT(paraphraser=paraphraser, teacher_layer_name="maps", student_layer_name="maps")
    distiller = kd.Distiller(model(6, "teacher"), model(2, "student"), loss)
    assert len(distiller.trainable_variables) == len(distiller.student.trainable_variables) + 6
    distiller.save(tmp_path / "distiller.keras")
    again = keras.models.load_model(tmp_path / "distiller.keras")
    assert len(again.trainable_variables) == len(distiller.trainable_variables)
    maps = pair(2, 4, 4, 6)[0]
    loaded = again.objective.distillation_losses[0].paraphraser
    np.testing.assert_array_equal(loaded.encode(maps), paraphraser.encode(maps))


def test_bad_input():
    with pytest.raises(ValueError, match="form to be one of factor, map"):
        FT("maps")
    with pytest.raises(ValueError, match="power to be a finite number >= 1"):
        FT(power=0.5)
    with pytest.raises(ValueError, match="map_power to be a whole number"):
        FT(map_power=1.5)
    with pytest.raises(ValueError, match="a Paraphraser.*train_paraphraser"):
        FT(paraphraser=keras.layers.Dense(3))
    with pytest.raises(ValueError, match="no paraphraser for form='map'"):
        FT("map", paraphraser=Paraphraser())
    with pytest.raises(ValueError, match="2 paraphrasers, one for each layer"):
        FT(paraphraser=Paraphraser(), **NAMES).make_adapter([(2, 4, 4, 6)] * 2, [(2, 4, 4, 6)] * 2)
    with pytest.raises(ValueError, match="features of the same shape.*translator"):
        ft(np.zeros((1, 2, 2, 3)), np.zeros((1, 2, 2, 4)))
    assert ft_maps(np.zeros((1, 2, 2, 3)), np.zeros((1, 2, 2, 4))).shape == (1,)
