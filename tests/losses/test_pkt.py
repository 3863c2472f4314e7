"""PKT: the neighbourhoods in closed form, opposite and zero rows, masks."""

import numpy as np
import pytest
from loss_table import value_and_gradient
from map_oracles import check, random_maps

from keras_distill.losses.embeddings.pkt import PKT, pkt


def oracle(teacher, student, epsilon=1e-7):
    rows = []
    for x in (teacher, student):
        x = x / (np.sqrt((x**2).sum(1, keepdims=True)) + epsilon)
        similarity = (x @ x.T + 1) / 2
        rows.append(similarity / similarity.sum(1, keepdims=True))
    p, q = rows
    return np.mean(p * np.log((p + epsilon) / (q + epsilon)))


@pytest.mark.parametrize(
    "teacher, student", [((8, 24), (8, 16)), ((2, 3), (2, 5)), ((33, 4), (33, 2)), ((1, 4), (1, 4))]
)
def test_the_mean_over_all_pairs(teacher, student):
    check(PKT(), oracle, *random_maps(teacher, student))


@pytest.mark.parametrize("scale", [1e-5, 1e4])
def test_scales_far_from_one(scale):
    teacher, student = random_maps((8, 6), (8, 6))
    student = student * np.float32(scale)
    np.testing.assert_allclose(PKT().compute_loss(teacher, student), oracle(teacher, student), rtol=1e-9)


def test_huge_rows_keep_their_directions():
    teacher, student = random_maps((8, 6), (8, 6), dtype="float32")
    value, gradient = value_and_gradient(PKT(), teacher, student * 2.0**100)
    np.testing.assert_allclose(value, oracle(*(each.astype("float64") for each in (teacher, student))), rtol=1e-5)
    assert np.isfinite(gradient).all()


@pytest.mark.parametrize("seed", range(3))
def test_opposite_rows_are_exact_in_float32(seed):
    teacher, student = random_maps((8, 6), (8, 5), seed=seed)
    student[1], student[5], teacher[3] = -student[0], -student[4], -teacher[2]
    wide = value_and_gradient(PKT(), teacher, student)
    np.testing.assert_allclose(wide[0], oracle(teacher, student), rtol=1e-9)
    single = value_and_gradient(PKT(), teacher.astype("float32"), student.astype("float32"))
    np.testing.assert_allclose(single[0], wide[0], rtol=1e-5)
    np.testing.assert_allclose(single[1], wide[1], rtol=1e-4, atol=1e-8)


@pytest.mark.parametrize("epsilon", [1e-7, 1e-3])
def test_epsilon_is_added_to_norms_and_probabilities(epsilon):
    teacher, student = random_maps((6, 4), (6, 3))
    loss = PKT(epsilon)
    np.testing.assert_allclose(loss.compute_loss(teacher, student), oracle(teacher, student, epsilon), rtol=1e-10)


@pytest.mark.parametrize("jit", [None, True])
def test_zero_rows_are_as_near_to_all_as_a_right_angle_and_pull_nowhere(jit):
    teacher, student = random_maps((5, 4), (5, 4), dtype="float32")
    student[2] = 0.0
    value, gradient = value_and_gradient(PKT(), teacher, student, jit=jit)
    np.testing.assert_allclose(value, oracle(*(each.astype("float64") for each in (teacher, student))), rtol=1e-5)
    assert np.isfinite(gradient).all()
    value, gradient = value_and_gradient(PKT(), np.zeros_like(teacher), np.zeros_like(student), jit=jit)
    assert value == 0.0 and np.isfinite(gradient).all()


def test_the_teacher_itself_is_zero():
    teacher, _ = random_maps((6, 4), (6, 4), dtype="float32")
    assert float(PKT().compute_loss(teacher, teacher)) == 0.0


@pytest.mark.parametrize("content", [np.nan, np.inf, 0.0, 1e30])
def test_masked_samples_leave_the_batch(content):
    teacher, student = random_maps((7, 3), (7, 5))
    mask = np.array([False, False, True, True, False, True, True])
    alone = value_and_gradient(PKT(), teacher[mask], student[mask])
    teacher[~mask], student[~mask] = content, content
    value, gradient = value_and_gradient(PKT(), teacher, student, mask=mask)
    np.testing.assert_allclose(value, alone[0], rtol=1e-10)
    np.testing.assert_allclose(gradient[mask], alone[1], rtol=1e-9, atol=1e-14)
    assert not gradient[~mask].any()
    assert float(PKT().compute_loss(teacher[mask], student[mask])) > 0.0
    assert value_and_gradient(PKT(), teacher, student, mask=np.zeros(7, bool))[0] == 0.0


def test_values_are_those_of_the_rows():
    teacher, student = random_maps((6, 4), (6, 3))
    values = pkt(teacher, student)
    assert values.shape == (6,)
    np.testing.assert_allclose(np.mean(values), oracle(teacher, student), rtol=1e-10)


@pytest.mark.parametrize("epsilon", [0.0, -1e-7, float("nan"), "small"])
def test_a_bad_epsilon_is_refused(epsilon):
    with pytest.raises(ValueError, match=r"^Expected epsilon to be a finite number > 0\. Received: epsilon="):
        PKT(epsilon)
