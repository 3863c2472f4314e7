"""MLKD: closed forms of its levels and of the authors' two views, masks, edges, memory, bad input."""

import functools

import numpy as np
import pytest
import tensorflow as tf
from logit_oracles import SHAPES, at_extremes, batch, check, kl, log_softmax, of_labels, run

from keras_distill.losses.logits.multi_level import MLKD, batch_level, class_level, instance_level, mlkd
from keras_distill.losses.logits.two_views import multi_level_two_views


def gram_gap(p, q):
    return p @ p.T - q @ q.T


def levels(teacher, student, temperature):
    """Return the three levels: of each row, of each row, of all."""
    p, q = np.exp(log_softmax(teacher / temperature)), np.exp(log_softmax(student / temperature))
    instance = temperature**2 * kl(teacher / temperature, student / temperature)
    return instance, np.sum(gram_gap(p, q) ** 2, -1), np.sum(gram_gap(p.T, q.T) ** 2) / p.shape[-1]


@pytest.mark.parametrize("temperatures", [(1.0,), (0.5, 20.0)])
@pytest.mark.parametrize("rows, classes", [*SHAPES, (2, 12), (20, 4)])
def test_values_and_slopes(rows, classes, temperatures):
    teacher, student, _ = batch(rows, classes)

    def oracle(z):
        found = [levels(teacher, z, temperature) for temperature in temperatures]
        return sum(0.5 * instance.mean() + 2.0 * alike.mean() + 3.0 * classwise for instance, alike, classwise in found)

    loss = MLKD(temperatures, 0.5, 2.0, 3.0)
    check(lambda z: loss.compute_loss(teacher.astype(z.dtype.name), z), oracle, student)


@pytest.mark.parametrize("rows, classes", [(7, 5), (3, 9)])
def test_levels_of_each_row(rows, classes):
    teacher, student, _ = batch(rows, classes)
    found = [level(teacher, student, 2.0) for level in (instance_level, batch_level, class_level)]
    for value, wanted in zip(found, levels(teacher, student, 2.0), strict=True):
        np.testing.assert_allclose(value, wanted, rtol=1e-10)
    whole = mlkd(teacher, student, (2.0,))
    np.testing.assert_allclose(whole, found[0] + found[1] + found[2], rtol=1e-12)


def test_levels_left_out():
    teacher, student, _ = batch(4, 3)
    for weights, level in (((1, 0, 0), instance_level), ((0, 1, 0), batch_level), ((0, 0, 1), class_level)):
        value = mlkd(teacher, student, (2.0, 3.0), *weights)
        assert value.shape == (4,)
        wanted = level(teacher, student, 2.0) + level(teacher, student, 3.0)
        np.testing.assert_allclose(value, np.broadcast_to(wanted, 4), rtol=1e-12)
    assert not np.any(mlkd(teacher, student, (2.0,), 0.0, 0.0, 0.0))


@pytest.mark.parametrize("rows, classes", [(7, 5), (3, 9)])
def test_an_unknown_batch_size_changes_nothing(rows, classes):
    teacher, student, _ = batch(rows, classes)
    unknown = [tf.TensorSpec([None, classes], "float64")] * 2
    value = tf.function(lambda v, z: mlkd(v, z, (2.0,)), input_signature=unknown)(teacher, student)
    np.testing.assert_allclose(value, mlkd(teacher, student, (2.0,)), rtol=1e-10)


def test_many_rows_make_no_matrix_of_all_pairs():
    # 262144 rows: all pairs would be 256 GiB.
    maps = tf.random.stateless_normal((4, 256, 256, 3), seed=[0, 1])
    value = tf.function(batch_level)(maps, tf.reverse(maps, [-1]))
    assert value.shape == (4, 256, 256) and np.isfinite(value).all()


@pytest.mark.parametrize("fill", [0.0, np.nan])
@pytest.mark.parametrize("classes", [3, 12])
def test_masked_rows_have_no_effect(classes, fill):
    teacher, student, _ = batch(8, classes)
    mask = np.array([False, True, True, False, True, True, True, False])
    wanted, slope = run(lambda z: mlkd(teacher[mask], z, (2.0,)), student[mask])
    teacher[~mask] = student[~mask] = fill
    value, gradient = run(lambda z: tf.boolean_mask(mlkd(teacher, z, (2.0,), mask=mask), mask), student)
    np.testing.assert_allclose(value, wanted, rtol=1e-12)
    np.testing.assert_allclose(gradient[mask], slope, rtol=1e-9, atol=1e-12)
    assert not gradient[~mask].any()


def test_positions_are_rows():
    teacher, student, _ = batch(12, 5)
    shaped = mlkd(teacher.reshape(2, 3, 2, 5), student.reshape(2, 3, 2, 5))
    assert shaped.shape == (2, 3, 2)
    np.testing.assert_allclose(np.ravel(shaped), mlkd(teacher, student), rtol=1e-12)


@pytest.mark.parametrize("rows, classes", [(1, 2), (3, 5), (9, 2)])
def test_extremes(rows, classes):
    edges = at_extremes(lambda v, z, temperature: mlkd(v, z, (temperature,)), rows, classes)
    for teacher, student, _, value, gradient in edges:
        assert value >= 0.0
        if np.array_equal(teacher, student):
            assert value == 0.0 and not gradient.any()


def test_a_student_close_to_its_teacher_keeps_its_digits_in_float32():
    teacher, _, _ = batch(6, 5)
    student = teacher + 2.0**-10 * np.sign(batch(6, 5, seed=1)[1])
    for level in (batch_level, class_level):
        exact = level(teacher, student, 4.0)
        np.testing.assert_allclose(level(teacher.astype("float32"), student.astype("float32"), 4.0), exact, rtol=1e-4)


def two_views(weak, strong, labels, factors, strong_temperatures=(3.0, 4.0, 5.0)):
    """Return the four parts, given the fractions of unsure samples and of rare classes."""
    found = {temperature: levels(*weak, temperature) for temperature in (2.0, 3.0, 4.0, 5.0, 6.0)}
    added = [
        (levels(*strong, temperature) if temperature in strong_temperatures else weakly)[0].mean()
        for temperature, weakly in found.items()
    ]
    return {
        "ce": of_labels(weak[1], labels).mean() + of_labels(strong[1], labels).mean(),
        "kd": factors[0] * sum(each[0].mean() for each in found.values()) + sum(added),
        "cc": factors[1] * sum(each[2] for each in found.values()),
        "bc": factors[0] * sum(each[1].mean() for each in found.values()),
    }


@pytest.mark.parametrize("rows, classes, factors", [(6, 4, (0.5, 0.5)), (5, 7, (3 / 5, 4 / 7)), (1, 2, (1.0, 0.5))])
def test_two_views(rows, classes, factors):
    (*weak, labels), (*strong, _) = batch(rows, classes), batch(rows, classes, seed=1)
    found = multi_level_two_views(*weak, *strong, labels)
    wanted = two_views(weak, strong, labels, factors)
    assert found.keys() == wanted.keys()
    for name, value in wanted.items():
        np.testing.assert_allclose(found[name], value, rtol=1e-10)


def test_two_views_weights_and_temperatures():
    (*weak, labels), (*strong, _) = batch(6, 4), batch(6, 4, seed=1)
    found = multi_level_two_views(*weak, *strong, labels, ce_weight=0.1, kd_weight=9.0, strong_temperatures=(2.0,))
    wanted = two_views(weak, strong, labels, (0.5, 0.5), strong_temperatures=(2.0,))
    for name, value in wanted.items():
        np.testing.assert_allclose(found[name], value * (0.1 if name == "ce" else 9.0), rtol=1e-10)


def test_two_views_rank_teachers_that_float32_cannot_tell_apart():
    # Probabilities of 1 - 1e-9 and less: six different samples, of which three are not above the median.
    weak = np.zeros((6, 4), "float32")
    weak[:, 0] = [21.0, 22.0, 23.0, 24.0, 25.0, 26.0]
    found = multi_level_two_views(weak, 0.5 * weak, weak, weak, np.zeros(6, int))
    exact = two_views(
        (weak.astype("float64"), 0.5 * weak.astype("float64")), (weak, weak), np.zeros(6, int), (0.5, 0.5)
    )
    np.testing.assert_allclose(found["bc"], exact["bc"], rtol=1e-4)


@pytest.mark.slow
def test_two_views_compiled():
    (*weak, labels), (*strong, _) = batch(6, 4), batch(6, 4, seed=1)
    compiled = tf.function(functools.partial(multi_level_two_views, temperatures=(2.0, 3.0)), jit_compile=True)
    found = compiled(*weak, *strong, labels)
    for name, value in multi_level_two_views(*weak, *strong, labels, temperatures=(2.0, 3.0)).items():
        np.testing.assert_allclose(found[name], value, rtol=1e-10)


@pytest.mark.parametrize(
    "make, message",
    [
        (lambda: MLKD(temperatures=4.0), "temperatures to be a list of one or more"),
        (lambda: MLKD(temperatures=[]), "temperatures to be a list of one or more"),
        (lambda: MLKD(temperatures=[2.0, 0.0]), "a finite temperature > 0 in temperatures"),
        (lambda: MLKD(instance_weight=-1.0), "instance_weight to be a finite number >= 0"),
        (lambda: MLKD(batch_weight=None), "batch_weight to be a finite number >= 0"),
        (lambda: MLKD(class_weight=np.inf), "class_weight to be a finite number >= 0"),
        (lambda: MLKD().validate_outputs(np.ones((2, 3)), np.ones((2, 4))), "the same number of classes, at least 2"),
    ],
)
def test_bad_input(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_it_has_no_temperature_to_schedule():
    assert not hasattr(MLKD(), "temperature")
    assert MLKD([2, 3]).get_config()["temperatures"] == [2.0, 3.0]
