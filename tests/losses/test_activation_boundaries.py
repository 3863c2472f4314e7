"""Activation boundaries: the four pieces of the hinge, weights of the stages, connectors."""

import numpy as np
import pytest
from loss_table import pair, value_and_gradient

from keras_distill.features.adapters import Connector, Parallel
from keras_distill.losses.feature_maps.activation_boundaries import AB, ab

NAMES = {"teacher_layer_name": "teacher_map", "student_layer_name": "student_map"}


def hinge(teacher, student, margin):
    """The loss of each sample and its gradient, element by element."""
    value, slope = np.zeros(teacher.shape), np.zeros(teacher.shape)
    rest, fire = (teacher <= 0) & (student > -margin), (teacher > 0) & (student <= margin)
    for where, offset in ((rest, margin), (fire, -margin)):
        value[where], slope[where] = (student + offset)[where] ** 2, 2 * (student + offset)[where]
    return value.sum((1, 2, 3)), slope


@pytest.mark.parametrize("dtype, rtol", [("float64", 1e-12), ("float32", 1e-5)])
@pytest.mark.parametrize("shape", [(3, 5, 5, 4), (1, 1, 1, 1), (2, 3, 6, 2)])
@pytest.mark.parametrize("margin", [0.5, 1.0, 2.5])
def test_values(shape, margin, dtype, rtol):
    # Sixteenths, and so exactly at zero and at the margins now and then.
    teacher, student = pair(*shape, dtype=dtype)
    value, gradient = value_and_gradient(AB(margin, **NAMES), teacher, student)
    wanted = hinge(teacher.astype("float64"), student.astype("float64"), margin)
    np.testing.assert_allclose(value, 3e-3 * wanted[0].mean(), rtol=rtol)
    np.testing.assert_allclose(gradient, 3e-3 * wanted[1] / shape[0], rtol=rtol)


@pytest.mark.parametrize(
    "teacher, student, wanted, slope",
    [
        (0.0, 0.0, 1.0, 2.0),
        (0.0, -1.0, 0.0, 0.0),
        (-3.0, -1.5, 0.0, 0.0),
        (-3.0, 1000.0, 1001.0**2, 2002.0),
        (2.0, 1.0, 0.0, 0.0),
        (2.0, 1.5, 0.0, 0.0),
        (1e-30, -1000.0, 1001.0**2, -2002.0),
    ],
)
def test_at_the_boundaries(teacher, student, wanted, slope):
    teacher, student = np.full((1, 1, 1, 1), teacher, "float32"), np.full((1, 1, 1, 1), student, "float32")
    value, gradient = value_and_gradient(AB(scale=1.0, **NAMES), teacher, student)
    assert (value, gradient.item()) == (wanted, slope)


def test_each_stage_counts_twice_the_one_before():
    stages = [pair(2, size, size, 3, seed=size, dtype="float64") for size in (8, 4, 2)]
    teachers, students = zip(*stages, strict=True)
    single = [hinge(*stage, 1.0)[0].mean() for stage in stages]
    names = {"teacher_layer_name": list("abc"), "student_layer_name": list("abc")}
    value = AB(**names).compute_loss(list(teachers), list(students))
    np.testing.assert_allclose(value, 3e-3 * np.dot([0.25, 0.5, 1.0], single), rtol=1e-12)
    value = AB(scale=2.0, stage_weights=[1, 0, 3], **names).compute_loss(list(teachers), list(students))
    np.testing.assert_allclose(value, 2.0 * np.dot([1.0, 0.0, 3.0], single), rtol=1e-12)


def test_connectors_where_the_channels_differ():
    loss = AB(**NAMES)
    assert loss.preactivation
    assert loss.make_adapter((None, 4, 4, 8), (None, 4, 4, 8)) is None
    adapter = loss.make_adapter((None, 4, 4, 8), (None, 4, 4, 6))
    assert isinstance(adapter, Connector) and adapter.width == 8 and adapter.name == "ab_adapter"
    several = loss.make_adapter([(None, 4, 4, 8), (None, 2, 2, 8)], [(None, 4, 4, 8), (None, 2, 2, 6)])
    assert isinstance(several, Parallel) and several.layers[0] is None and several.layers[1].width == 8


def test_bad_input():
    with pytest.raises(ValueError, match="margin to be a finite number > 0"):
        AB(margin=0.0)
    with pytest.raises(ValueError, match="scale to be a finite number >= 0"):
        AB(scale=-1.0)
    with pytest.raises(ValueError, match="stage_weights to be a finite number >= 0"):
        AB(stage_weights=[1.0, -1.0])
    with pytest.raises(ValueError, match="features of the same shape.*Pair layers of the same spatial size"):
        ab(np.zeros((1, 2, 2, 3)), np.zeros((1, 4, 4, 3)))
    with pytest.raises(ValueError, match="1 stage_weights, one for each layer"):
        AB(stage_weights=[1.0, 2.0], **NAMES).compute_loss(np.zeros((1, 2, 2, 3)), np.zeros((1, 2, 2, 3)))
