"""Similarity of samples (SP) and of channels (ICKD): closed forms, masks, edges, bad input."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from loss_table import value_and_gradient
from map_oracles import check, random_maps, unit

from keras_distill.losses.feature_maps.similarity import ICKD, SP, ickd, sp


def sp_oracle(teacher, student):
    grams = []
    for x in (teacher, student):
        x = x.reshape(len(x), -1)
        grams.append(unit(x @ x.T, axis=1))
    return ((grams[0] - grams[1]) ** 2).sum() / len(teacher) ** 2


def ickd_oracle(scale):
    def compute(teacher, student):
        grams = [unit(np.einsum("bhwi,bhwj->bij", x, x), axis=2) for x in (teacher, student)]
        batch, channels = student.shape[0], student.shape[-1]
        return ((grams[0] - grams[1]) ** 2).sum() / (channels * batch ** (2 if scale == "imagenet" else 1))

    return compute


@pytest.mark.parametrize(
    "teacher, student",
    [
        ((4, 8, 8, 3), (4, 5, 3, 7)),
        ((7, 6), (7, 9)),
        ((3, 4, 5), (3, 2, 6)),
        ((2, 2, 2, 2, 3), (2, 5)),
        ((1, 4), (1, 4)),
    ],
)
def test_sp(teacher, student):
    check(SP(), sp_oracle, *random_maps(teacher, student))


@pytest.mark.parametrize("scale", ["imagenet", "cifar"])
@pytest.mark.parametrize("teacher, student", [((4, 8, 8, 3), (4, 5, 3, 3)), ((3, 2, 2, 9), (3, 4, 4, 9))])
def test_ickd(teacher, student, scale):
    check(ICKD(scale), ickd_oracle(scale), *random_maps(teacher, student))


@pytest.mark.parametrize("loss, oracle", [(SP(), sp_oracle), (ICKD(), ickd_oracle("imagenet"))], ids=["sp", "ickd"])
@pytest.mark.parametrize("content", [np.nan, np.inf, 0.0, 1e30])
def test_masked_samples_leave_the_batch(loss, oracle, content):
    teacher, student = random_maps((5, 3, 3, 4), (5, 3, 3, 4))
    mask = np.array([True, False, True, True, False])
    alone = value_and_gradient(loss, teacher[mask], student[mask])
    teacher[~mask], student[~mask] = content, content
    value, slopes = value_and_gradient(loss, teacher, student, mask=mask)
    np.testing.assert_allclose(value, alone[0], rtol=1e-12)
    np.testing.assert_allclose(value, oracle(teacher[mask], student[mask]), rtol=1e-10)
    np.testing.assert_allclose(slopes[mask], alone[1], rtol=1e-10, atol=1e-15)
    assert np.all(slopes[~mask] == 0.0)


@pytest.mark.parametrize("loss", [SP(), ICKD(), ICKD("cifar")], ids=repr)
def test_with_everything_masked_there_is_nothing(loss):
    maps = random_maps((3, 2, 2, 4), (3, 2, 2, 4))
    value, slopes = value_and_gradient(loss, *maps, mask=np.zeros(3, bool))
    assert value == 0.0 and np.all(slopes == 0.0)


def test_sp_with_masked_positions():
    teacher, student = random_maps((4, 5, 3), (4, 5, 6))
    mask = np.arange(5) < np.array([[5], [2], [0], [3]])
    wanted = sp_oracle(*(np.where(mask[..., None], x, 0.0)[[0, 1, 3]] for x in (teacher, student)))
    teacher[~mask], student[~mask] = np.nan, np.nan
    value, slopes = value_and_gradient(SP(), teacher, student, mask=mask)
    np.testing.assert_allclose(value, wanted, rtol=1e-10)
    assert np.all(slopes[~mask] == 0.0) and np.all(np.isfinite(slopes)) and np.all(slopes[mask] != 0.0)


@pytest.mark.parametrize("loss", [SP(), ICKD(), ICKD("cifar")], ids=repr)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_edges(loss, dtype):
    teacher, student = random_maps((4, 3, 3, 5), (4, 3, 3, 5), dtype=dtype)
    student[0], student[1, ..., 2], student[2], teacher[3] = 0.0, 0.0, 1.0, 0.0
    value, slopes = value_and_gradient(loss, teacher, student)
    assert value > 0.0 and np.all(np.isfinite(slopes)) and np.abs(slopes).max() < 100.0
    for student in (teacher, 4.0 * teacher):
        value, slopes = value_and_gradient(loss, teacher, student)
        assert value == 0.0 and np.all(slopes == 0.0)
    nothing = value_and_gradient(loss, 0.0 * teacher, 0.0 * teacher)
    assert nothing[0] == 0.0 and np.all(nothing[1] == 0.0)


def test_one_sample_is_like_itself():
    value, slopes = value_and_gradient(SP(), *random_maps((1, 3, 3, 5), (1, 3, 3, 5), dtype="float32"))
    assert value == 0.0 and np.all(np.abs(slopes) < 1e-6)


def test_the_values_of_the_samples():
    teacher, student = random_maps((3, 4), (3, 6))
    np.testing.assert_allclose(np.mean(sp(teacher, student)), sp_oracle(teacher, student), rtol=1e-12)
    maps = random_maps((3, 2, 2, 4), (3, 2, 2, 4))
    np.testing.assert_allclose(ickd(*maps, scale="imagenet"), ickd(*maps, scale="cifar") / 3, rtol=1e-12)


def test_an_unknown_batch_size_and_length():
    teacher, student = random_maps((3, 4, 2), (3, 4, 5))
    signature = [tf.TensorSpec((None, None, 2), tf.float64), tf.TensorSpec((None, None, 5), tf.float64)]
    values = tf.function(sp, input_signature=signature)(teacher, student)
    np.testing.assert_allclose(values, sp(teacher, student), rtol=1e-12)


def test_adapters_where_the_numbers_of_channels_differ():
    loss = ICKD(name="similar")
    adapter = loss.make_adapter((None, 8, 8, 6), (None, 4, 4, 3))
    assert type(adapter) is keras.layers.Conv2D and adapter.filters == 6 and adapter.name == "similar_adapter"
    assert loss.make_adapter((None, 8, 8, 3), (None, 4, 4, 3)) is None
    several = loss.make_adapter([(None, 8, 8, 6), (None, 4, 4, 3)], [(None, 8, 8, 3), (None, 4, 4, 3)])
    assert [layer and layer.filters for layer in several.layers] == [6, None]
    assert SP().make_adapter((None, 8, 8, 6), (None, 4, 4, 3)) is None


def test_bad_input():
    with pytest.raises(ValueError, match=r"^Expected scale to be one of cifar, imagenet\. Received: 'cifr'\. Did you"):
        ICKD("cifr")
    with pytest.raises(ValueError, match=r"^Expected as many channels of the student .*\(2, 4, 4, 3\).*\(2, 4, 4, 5\)"):
        ICKD().compute_loss(np.zeros((2, 4, 4, 3)), np.zeros((2, 4, 4, 5)))
    with pytest.raises(ValueError, match=r"^Expected features \[batch, \.\.\.\] for the loss 'sp'\. Received: teacher"):
        SP().validate_outputs(np.zeros(2), np.zeros((2, 3)))
    assert SP().validate_outputs(np.zeros((2, 3, 4)), np.zeros((2, 5))) is None
