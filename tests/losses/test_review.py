"""Knowledge review: the loss at several scales in closed form, stages, the fusion of stages."""

import numpy as np
import pytest
from loss_table import pair, value_and_gradient

from keras_distill.features.fusion import ReviewFusion
from keras_distill.losses.feature_maps.review import ReviewKD, reviewkd_hcl

NAMES = {"teacher_layer_name": "teacher_map", "student_layer_name": "student_map"}


def pooling(large, small):
    """The matrix that averages `large` rows to `small` cells."""
    matrix = np.zeros((small, large))
    for cell in range(small):
        start, stop = cell * large // small, -(-(cell + 1) * large // small)
        matrix[cell, start:stop] = 1 / (stop - start)
    return matrix


def hierarchical(teacher, student, sizes):
    """The loss of the batch and its gradient, in plain NumPy."""
    difference = student - teacher
    value, gradient, weight, total = (difference**2).mean(), 2 * difference / difference.size, 1.0, 1.0
    for size in (size for size in sizes if size < teacher.shape[1]):
        weight /= 2
        total += weight
        rows, columns = pooling(teacher.shape[1], size), pooling(teacher.shape[2], size)
        pooled = np.einsum("ih,jw,bhwc->bijc", rows, columns, difference)
        value += weight * (pooled**2).mean()
        gradient = gradient + weight * 2 / pooled.size * np.einsum("ih,jw,bijc->bhwc", rows, columns, pooled)
    return value / total, gradient / total


@pytest.mark.parametrize("dtype, rtol", [("float64", 1e-11), ("float32", 2e-5)])
@pytest.mark.parametrize("shape", [(3, 8, 8, 4), (2, 7, 7, 3), (2, 5, 9, 2), (1, 4, 4, 1), (2, 3, 3, 2), (4, 1, 1, 6)])
@pytest.mark.parametrize("sizes", [(4, 2, 1), (2,), (3, 8), ()])
def test_values(shape, sizes, dtype, rtol):
    teacher, student = pair(*shape, dtype=dtype)
    value, gradient = value_and_gradient(ReviewKD(sizes, **NAMES), teacher, student)
    wanted = hierarchical(teacher.astype("float64"), student.astype("float64"), sizes)
    np.testing.assert_allclose(value, wanted[0], rtol=rtol)
    np.testing.assert_allclose(gradient, wanted[1], rtol=rtol, atol=1e-7 if dtype == "float32" else 1e-13)


def test_stages_add_up():
    stages = [pair(2, size, size, 3, seed=size, dtype="float64") for size in (7, 3, 1)]
    teachers, students = (list(each) for each in zip(*stages, strict=True))
    loss = ReviewKD(teacher_layer_name=list("abc"), student_layer_name=list("abc"))
    wanted = sum(hierarchical(*stage, (4, 2, 1))[0] for stage in stages)
    np.testing.assert_allclose(loss.compute_loss(teachers, students), wanted, rtol=1e-12)


def test_one_value_for_each_sample():
    teacher, student = pair(3, 4, 4, 2, dtype="float64")
    wanted = [hierarchical(teacher[i : i + 1], student[i : i + 1], (4, 2, 1))[0] for i in range(3)]
    np.testing.assert_allclose(reviewkd_hcl(teacher, student), wanted, rtol=1e-12)


def test_equal_maps():
    teacher, _ = pair(2, 4, 4, 2)
    value, gradient = value_and_gradient(ReviewKD(**NAMES), teacher, teacher)
    assert value == 0.0 and not gradient.any()


def test_fusion_of_one_layer_or_several():
    loss = ReviewKD(mid_width=5, **NAMES)
    one = loss.make_adapter((None, 4, 4, 6), (None, 8, 8, 2))
    one.build((None, 8, 8, 2))
    assert isinstance(one, ReviewFusion) and one.mid_width == 5 and one.name == "reviewkd_hcl_adapter"
    teacher, student = pair(2, 4, 4, 6)[0], pair(2, 8, 8, 2)[1]
    assert np.isfinite(loss.compute_loss(teacher, loss.adapt(student, one, True), adapter=one))
    several = loss.make_adapter([(None, 4, 4, 6), (None, 2, 2, 7)], [(None, 4, 4, 2), (None, 2, 2, 3)])
    assert several.shapes == [(None, 4, 4, 6), (None, 2, 2, 7)]


def test_bad_input():
    for sizes in ((4, 0), (2.5,), (True,)):
        with pytest.raises(ValueError, match="pool_sizes to be a whole number >= 1"):
            ReviewKD(sizes)
    with pytest.raises(ValueError, match="mid_width to be a whole number >= 1"):
        ReviewKD(mid_width=0)
    with pytest.raises(ValueError, match="features of the same shape"):
        reviewkd_hcl(np.zeros((1, 2, 2, 3)), np.zeros((1, 2, 2, 4)))
