"""RKD: distances and angles in closed form, rows that are equal, masks, and the memory it may take."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from loss_table import value_and_gradient
from map_oracles import check, random_maps

from keras_distill.losses.embeddings import rkd as module
from keras_distill.losses.embeddings.rkd import RKD, rkd, rkd_angle, rkd_distance

DISTANCE, ANGLE = RKD(1.0, 0.0), RKD(0.0, 1.0)
SHAPES = [((8, 24), (8, 16)), ((2, 3), (2, 5)), ((5, 2), (5, 2)), ((17, 1), (17, 9))]


def smooth_l1(difference):
    size = np.abs(difference)
    return np.where(size < 1, size**2 / 2, size - 0.5)


def distance_oracle(teacher, student):
    relative = []
    for x in (teacher, student):
        distances = np.sqrt(np.maximum(((x[:, None] - x[None]) ** 2).sum(-1), 1e-12))
        np.fill_diagonal(distances, 0.0)
        relative.append(distances / distances[distances > 0].mean())
    return smooth_l1(relative[1] - relative[0]).mean()


def angle_oracle(teacher, student):
    cosines = []
    for x in (teacher, student):
        edges = x[None] - x[:, None]
        edges = edges / np.maximum(np.sqrt((edges**2).sum(-1, keepdims=True)), 1e-12)
        cosines.append(np.einsum("ijd,ikd->ijk", edges, edges))
    return smooth_l1(cosines[1] - cosines[0]).mean()


@pytest.mark.parametrize("teacher, student", SHAPES)
def test_distances(teacher, student):
    check(DISTANCE, distance_oracle, *random_maps(teacher, student))


@pytest.mark.parametrize("teacher, student", SHAPES)
def test_angles(teacher, student):
    check(ANGLE, angle_oracle, *random_maps(teacher, student))


def test_the_loss_is_the_weighted_sum_of_both():
    teacher, student = random_maps((6, 4), (6, 3))
    terms = np.array(rkd_distance(teacher, student)), np.array(rkd_angle(teacher, student))
    np.testing.assert_allclose(rkd(teacher, student), 25 * terms[0] + 50 * terms[1], rtol=1e-12)
    np.testing.assert_allclose(RKD(2.0, 3.0).compute_loss(teacher, student), np.mean(2 * terms[0] + 3 * terms[1]))
    assert float(RKD(0.0, 0.0).compute_loss(teacher, student)) == 0.0


@pytest.mark.parametrize("scale, offset", [(1e-3, 0.0), (1e3, 0.0), (1.0, 1e3), (1e18, 0.0)])
def test_scale_and_place_do_not_matter_in_float32(scale, offset):
    teacher, student = random_maps((8, 6), (8, 6))
    moved = (student * scale + offset).astype("float32")
    value, gradient = value_and_gradient(RKD(), teacher.astype("float32"), moved)
    expected_value, expected_gradient = value_and_gradient(RKD(), teacher, moved.astype("float64") / scale)
    np.testing.assert_allclose(value, expected_value, rtol=1e-5)
    np.testing.assert_allclose(gradient * scale, expected_gradient, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("many", [False, True])
def test_blocks_of_anchors_change_nothing(many, monkeypatch):
    rows = 37
    if many:
        monkeypatch.setattr(module, "_blocks", lambda rows: tf.minimum(tf.reshape(tf.range(40), (10, 4)), rows - 1))
    check(ANGLE, angle_oracle, *random_maps((rows, 5), (rows, 7)))


@pytest.mark.parametrize("rows", [1, 2, 31, 100, 101, 256, 1000])
def test_blocks_hold_every_anchor_in_order(rows):
    anchors = np.array(module._blocks(rows))
    assert np.array_equal(anchors.ravel()[:rows], np.arange(rows)) and (anchors.ravel()[rows:] == rows - 1).all()
    assert anchors.shape[1] * rows**2 <= 2**21 and anchors.size < rows + anchors.shape[1]


@pytest.mark.parametrize("jit", [False, True])
def test_an_unknown_batch_size_is_fine(jit):
    loss = RKD()

    @tf.function(jit_compile=jit, input_signature=[tf.TensorSpec([None, 4], "float64")] * 2)
    def compute(teacher, student):
        with tf.GradientTape() as tape:
            tape.watch(student)
            value = loss.compute_loss(teacher, student)
        return value, tape.gradient(value, student)

    for rows in (110,) if jit else (3, 110):
        teacher, student = random_maps((rows, 4), (rows, 4))
        value, gradient = compute(teacher, student)
        wanted = value_and_gradient(loss, teacher, student)
        np.testing.assert_allclose(value, wanted[0], rtol=1e-10)
        np.testing.assert_allclose(gradient, wanted[1], rtol=1e-9, atol=1e-13)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_equal_rows_of_the_student_count_with_the_smallest_distance_and_pull_nowhere(dtype):
    teacher, student = random_maps((6, 4), (6, 4))
    student[3] = student[1]
    student = (student + 1000.0).astype(dtype)
    value, gradient = value_and_gradient(DISTANCE, teacher.astype(dtype), student)
    np.testing.assert_allclose(value, distance_oracle(teacher, student.astype("float64")), rtol=1e-6)
    assert np.isfinite(gradient).all()
    value, gradient = value_and_gradient(ANGLE, teacher.astype(dtype), student)
    np.testing.assert_allclose(value, angle_oracle(teacher, student.astype("float64")), rtol=1e-6)
    assert np.isfinite(gradient).all() and np.abs(gradient).max() < 1.0


@pytest.mark.parametrize("rows", [1, 4])
def test_batches_without_a_distance_are_finite(rows):
    teacher, student = np.ones((rows, 3), "float32"), np.full((rows, 2), -7.0, "float32")
    value, gradient = value_and_gradient(RKD(), teacher, student)
    assert value == 0.0 and not gradient.any()
    spread = random_maps((rows, 3), dtype="float32")[0]
    for one, other in ((spread, student), (student, spread)):
        value, gradient = value_and_gradient(RKD(), one, other)
        assert np.isfinite(value) and np.isfinite(gradient).all()


def test_equal_rows_are_finite_in_compiled_code():
    spread = random_maps((4, 3), dtype="float32")[0]
    value, gradient = value_and_gradient(RKD(), spread, np.ones_like(spread), jit=True)
    assert np.isfinite(value) and np.isfinite(gradient).all()


@pytest.mark.parametrize("content", [np.nan, np.inf, 0.0, 1e30])
def test_masked_samples_leave_the_batch(content):
    teacher, student = random_maps((7, 3), (7, 5))
    mask = np.array([True, False, True, True, False, True, True])
    alone = value_and_gradient(RKD(), teacher[mask], student[mask])
    teacher[~mask], student[~mask] = content, content
    value, gradient = value_and_gradient(RKD(), teacher, student, mask=mask)
    np.testing.assert_allclose(value, alone[0], rtol=1e-10)
    np.testing.assert_allclose(gradient[mask], alone[1], rtol=1e-9, atol=1e-13)
    assert not gradient[~mask].any()


def test_a_batch_that_is_all_masked_is_zero():
    teacher, student = random_maps((3, 3), (3, 5))
    value, gradient = value_and_gradient(RKD(), teacher, student, mask=np.zeros(3, bool))
    assert value == 0.0 and not gradient.any()


def test_values_are_those_of_the_anchors():
    teacher, student = random_maps((6, 4), (6, 3))
    weights = np.array([1.0, 0.0, 2.0, 0.5, 0.0, 1.0])
    value = RKD().compute_loss(teacher, student, sample_weight=weights)
    held = weights > 0  # The others are in no relation.
    np.testing.assert_allclose(value, np.sum(rkd(teacher[held], student[held]) * weights[held]) / 6, rtol=1e-12)


@pytest.mark.parametrize("weights", [(-1.0, 1.0), (1.0, float("nan")), (1.0, "2"), (float("inf"), 0.0)])
def test_bad_weights_are_refused(weights):
    with pytest.raises(ValueError, match=r"^Expected (distance|angle)_weight to be a finite number >= 0\. Received"):
        RKD(*weights)


def test_feature_maps_are_refused():
    maps = keras.ops.ones((2, 3, 3, 4))
    with pytest.raises(ValueError, match=r"^Expected embeddings \[batch, width\]"):
        RKD().validate_outputs(maps, maps)
