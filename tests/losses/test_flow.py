"""Flow of the solution procedure: closed forms in both conventions, edges, bad input."""

import itertools

import keras
import numpy as np
import pytest
import tensorflow as tf
from map_oracles import pool, random_maps

from keras_distill.features.adapters import Parallel
from keras_distill.losses.feature_maps.flow import FSP, fsp

TEACHERS = [(3, 8, 8, 4), (3, 4, 4, 5), (3, 4, 4, 2)]
STUDENTS = [[(3, 8, 8, 4), (3, 4, 4, 5), (3, 4, 4, 2)], [(3, 5, 6, 4), (3, 7, 3, 5), (3, 2, 2, 2)]]


def oracle(teacher, student, form):
    total = 0.0
    reduce = np.max if form == "max" else np.mean
    for i in range(len(teacher) - 1):
        flows = []
        for maps in (teacher, student):
            bottom, top = maps[i : i + 2]
            size = [min(bottom.shape[axis], top.shape[axis]) for axis in (1, 2)]
            bottom, top = (pool(x, *size, reduce=reduce) for x in (bottom, top))
            flows.append(np.einsum("bhwi,bhwj->bij", bottom, top) / np.prod(size))
        difference = flows[1] - flows[0]
        if form == "max":
            total += np.sqrt((difference**2).sum(1)).sum(1).mean()
        else:
            total += (difference**2).mean()
    return total


def value_and_gradients(loss, teacher, student):
    student = [tf.constant(x) for x in student]
    with tf.GradientTape() as tape:
        tape.watch(student)
        value = loss.compute_loss(teacher, student)
    return value.numpy(), [each.numpy() for each in tape.gradient(value, student)]


@pytest.mark.parametrize("form", ["average", "max"])
@pytest.mark.parametrize("students", STUDENTS, ids=["same", "other"])
@pytest.mark.parametrize("stages", [2, 3])
def test_values_and_slopes(students, stages, form):
    maps = random_maps(*TEACHERS[:stages], *students[:stages])
    teacher, student = maps[:stages], maps[stages:]
    value, slopes = value_and_gradients(FSP(form), teacher, student)
    np.testing.assert_allclose(value, oracle(teacher, student, form), rtol=1e-9)
    step = 1e-6
    for index, (x, slope) in enumerate(zip(student, slopes, strict=True)):
        # One number a channel: the step must not change which of the numbers in a window is the largest.
        direction = np.random.default_rng(1).normal(size=x.shape[-1]) * np.ones(x.shape)
        ends = [[*student[:index], x + sign * step * direction, *student[index + 1 :]] for sign in (1, -1)]
        difference = (oracle(teacher, ends[0], form) - oracle(teacher, ends[1], form)) / (2 * step)
        np.testing.assert_allclose(np.sum(slope * direction), difference, rtol=1e-5, atol=1e-8)
    single = ([x.astype("float32") for x in each] for each in (teacher, student))
    single = value_and_gradients(FSP(form), *single)
    np.testing.assert_allclose(single[0], value, rtol=1e-4)
    for one, other in zip(single[1], slopes, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("form", ["average", "max"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_edges(form, dtype):
    teacher = random_maps(*TEACHERS, dtype=dtype)
    value, slopes = value_and_gradients(FSP(form), teacher, teacher)
    assert value == 0.0 and all(np.all(each == 0.0) for each in slopes)
    zeros = [0.0 * x for x in teacher]
    for pair in ((teacher, zeros), (zeros, teacher), (zeros, zeros)):
        value, slopes = value_and_gradients(FSP(form), *pair)
        assert np.isfinite(value) and all(np.all(np.isfinite(each)) for each in slopes)
    assert value == 0.0 and all(np.all(each == 0.0) for each in slopes)


@pytest.mark.parametrize("form", ["average", "max"])
def test_layers_add_up_pair_by_pair(form):
    maps = random_maps(*TEACHERS, *TEACHERS)
    teacher, student = maps[:3], maps[3:]
    pairs = zip(itertools.pairwise(teacher), itertools.pairwise(student), strict=True)
    np.testing.assert_allclose(fsp(teacher, student, form), sum(fsp(*pair, form) for pair in pairs), rtol=1e-12)


def test_weights_of_samples():
    maps = random_maps(*TEACHERS, *TEACHERS)
    values = fsp(maps[:3], maps[3:]).numpy()
    weights = np.array([1.0, 0.0, 2.0])
    loss = FSP().compute_loss(maps[:3], maps[3:], sample_weight=weights)
    np.testing.assert_allclose(loss, np.sum(values * weights) / 3, rtol=1e-12)


def test_adapters_for_the_layers_that_differ():
    shapes = [(None, 8, 8, 4), (None, 4, 4, 5)]
    adapter = FSP().make_adapter(shapes, [(None, 8, 8, 4), (None, 2, 2, 3)])
    assert isinstance(adapter, Parallel) and adapter.layers[0] is None and adapter.layers[1].filters == 5
    assert FSP().make_adapter(shapes, shapes) is None


def test_one_layer_has_no_flow():
    message = (
        r"^Expected two layers or more, and as many of both models\. "
        r"Received: 1 of the teacher, 1 of .*\. Pass two lists"
    )
    maps = random_maps((2, 4, 4, 3))
    for received in (maps, maps[0]):
        with pytest.raises(ValueError, match=message):
            FSP().validate_outputs(received, received)
    with pytest.raises(ValueError, match=message):
        fsp(maps, maps)
    model = keras.Sequential([keras.Input((8, 8, 1)), keras.layers.Conv2D(4, 3, name="map")])
    with pytest.raises(ValueError, match=message):
        FSP("average", "map", "map").validate_model_compatibility(model, model)


def test_bad_input():
    with pytest.raises(ValueError, match=r"^Expected form to be one of average, max\. Received: 'maximum'\. Did you"):
        FSP("maximum")
    message = r"^Expected as many channels of the student .*\(3, 4, 4, 5\).*\(3, 4, 4, 6\)\. Train in"
    teacher, student = random_maps(*TEACHERS[:2]), random_maps(TEACHERS[0], (3, 4, 4, 6))
    with pytest.raises(ValueError, match=message):
        FSP().validate_outputs(teacher, student)
    with pytest.raises(ValueError, match=r"^Expected feature maps .* for the loss 'fsp'"):
        FSP().validate_outputs([np.zeros((2, 3))] * 2, [np.zeros((2, 3))] * 2)
