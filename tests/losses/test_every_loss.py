"""Common tests of all losses, each against its closed form."""

import keras
import numpy as np
import pytest
from keras import ops
from loss_table import LOSSES, compiled, pair, value_and_gradient

from tests import gradients

SHAPES = [(5, 3), (1, 3), (4, 2), (3, 4, 5), (2, 3, 4, 5)]
ROWS = pytest.mark.parametrize("row", LOSSES.values(), ids=LOSSES.keys())
PRECISE = pytest.mark.tensorflow_only  # JAX has float64 only if it is enabled before Keras is imported.


def wanted(row, teacher, student, weights=1.0):
    """Return the closed form of the average and its gradient; `weights` broadcast to the positions."""
    values, gradients = row.oracle(teacher.astype("float64"), student.astype("float64"))
    weights = np.broadcast_to(weights, values.shape)
    return np.sum(values * weights) / values.size, gradients * weights[..., None] / values.size


@ROWS
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("dtype, rtol", [("float32", 1e-5), pytest.param("float64", 1e-11, marks=PRECISE)])
def test_value_and_gradient(row, shape, dtype, rtol):
    teacher, student = pair(*shape, dtype=dtype)
    value, gradient = value_and_gradient(row.make(), teacher, student)
    expected_value, expected_gradient = wanted(row, teacher, student)
    assert value.shape == () and value.dtype == dtype and gradient.dtype == dtype
    np.testing.assert_allclose(value, expected_value, rtol=rtol)
    np.testing.assert_allclose(gradient, expected_gradient, rtol=rtol, atol=rtol * np.abs(expected_gradient).max())


@ROWS
@pytest.mark.parametrize("unknown", [0, 2])
def test_compiled_is_as_eager(row, unknown):
    teacher, student = pair(4, 6, 7)
    eager = value_and_gradient(row.make(), teacher, student, jit=None)
    for value, gradient in compiled(row.make(), teacher, student, unknown=unknown):
        np.testing.assert_allclose(value, eager[0], rtol=1e-6)
        np.testing.assert_allclose(gradient, eager[1], rtol=1e-5, atol=1e-7)


@ROWS
@pytest.mark.parametrize(
    "dtypes", [("float16",) * 2, ("bfloat16",) * 2, ("float32", "float16"), ("float16", "float32")]
)
def test_half_precision_is_computed_in_float32(row, dtypes):
    teacher, student = pair(5, 3)
    value, gradient = value_and_gradient(row.make(), ops.cast(teacher, dtypes[0]), ops.cast(student, dtypes[1]))
    expected_value, expected_gradient = wanted(row, teacher, student)
    assert value.dtype == "float32" and gradient.dtype == dtypes[1]
    np.testing.assert_allclose(value, expected_value, rtol=1e-5)
    np.testing.assert_allclose(gradient.astype("float64"), expected_gradient, rtol=1e-2, atol=1e-3)


@ROWS
@PRECISE
def test_one_side_in_float64_is_enough_for_float64(row):
    teacher, student = pair(5, 3, dtype="float64")
    value, _ = value_and_gradient(row.make(), teacher, student.astype("float32"))
    assert value.dtype == "float64"
    np.testing.assert_allclose(value, wanted(row, teacher, student)[0], rtol=1e-11)


@ROWS
@pytest.mark.parametrize(
    "dtype, jit", [("float32", None), pytest.param("float64", None, marks=PRECISE), ("float32", True)]
)
def test_student_that_is_the_teacher_has_nothing_to_learn(row, dtype, jit):
    same, _ = pair(4, 3, 10, dtype=dtype, spread=40.0)
    value, gradient = value_and_gradient(row.make(), same, same, jit=jit)
    assert value == 0.0 or not row.zero_at_teacher
    assert not gradient.any()


@ROWS
def test_shift_of_the_logits(row):
    teacher, student = pair(6, 5)
    value, gradient = value_and_gradient(row.make(), teacher, student)
    shifted = value_and_gradient(row.make(), teacher - 32.0, student + np.arange(6.0, dtype="float32")[:, None])
    if row.shift_invariant:
        np.testing.assert_allclose(shifted[0], value, rtol=1e-5)
        np.testing.assert_allclose(shifted[1], gradient, rtol=1e-5, atol=1e-6)
    else:
        assert abs(shifted[0] - value) > 1.0


@ROWS
def test_no_gradient_reaches_the_teacher(row):
    teacher, student = pair(4, 3)
    _, gradient = gradients.value_and_gradient(lambda teacher: row.make().compute_loss(teacher, student), teacher)
    assert gradient is None or (gradients.JAX and not np.any(gradient))


@ROWS
def test_no_gradient_reaches_a_teacher_that_is_the_student(row):
    same, _ = pair(4, 3)
    _, gradient = gradients.value_and_gradient(lambda same: row.make().compute_loss(same * 2.0, same), same)
    _, expected_gradient = wanted(row, 2.0 * same, same)
    np.testing.assert_allclose(gradient, expected_gradient, rtol=1e-4, atol=1e-6)


@ROWS
@pytest.mark.parametrize("padding", [0.0, 1e30, 3e38, np.inf, np.nan])
def test_padded_positions_change_nothing(row, padding):
    teacher, student = pair(3, 4, 5)
    mask = np.array([[True] * 4, [True, True, False, False], [True, False, False, False]])
    values, gradients = row.oracle(teacher.astype("float64"), student.astype("float64"))
    expected_gradient = np.where(mask[..., None], gradients, 0.0) / mask.sum()
    teacher[~mask], student[~mask] = padding, -padding
    results = [value_and_gradient(row.make(), teacher, student, mask=mask)]
    results += compiled(row.make(), teacher, student, mask=mask) if np.isnan(padding) else []
    for value, gradient in results:
        np.testing.assert_allclose(value, values[mask].mean(), rtol=1e-5)
        np.testing.assert_allclose(gradient, expected_gradient, rtol=1e-5, atol=1e-6)
        assert not gradient[~mask].any()


@ROWS
@pytest.mark.parametrize("side", ["teacher", "student"])
def test_padding_of_one_side_alone(row, side):
    teacher, student = pair(2, 3, 4)
    mask = np.array([[True, True, False], [True, True, True]])
    clean = value_and_gradient(row.make(), teacher, student, mask=mask)
    (teacher if side == "teacher" else student)[~mask] = np.nan
    dirty = value_and_gradient(row.make(), teacher, student, mask=mask)
    np.testing.assert_array_equal(dirty[0], clean[0])
    np.testing.assert_array_equal(dirty[1], clean[1])


@ROWS
def test_nothing_but_padding(row):
    teacher, student = pair(2, 3, 4)
    value, gradient = value_and_gradient(row.make(), teacher, student, mask=np.zeros((2, 3), bool))
    assert value == 0.0 and not gradient.any()


@ROWS
def test_mask_per_sample(row):
    teacher, student = pair(3, 4)
    value, _ = value_and_gradient(row.make(), teacher, student, mask=np.array([True, False, True]))
    np.testing.assert_allclose(value, wanted(row, teacher[[0, 2]], student[[0, 2]])[0], rtol=1e-5)


@ROWS
@pytest.mark.parametrize(
    "shape, rank",
    [((4, 3), 1), ((4, 3), 2), ((4, 5, 3), 1), ((4, 5, 3), 2), ((4, 4, 3), 1), ((4, 2, 2, 3), 1), ((4, 2, 2, 3), 3)],
)
def test_sample_weights(row, shape, rank):
    teacher, student = pair(*shape)
    weights = np.array([0.0, 1.0, 2.5, 0.25], "float32").reshape((4,) + (1,) * (rank - 1))
    value, gradient = value_and_gradient(row.make(), teacher, student, sample_weight=weights)
    expected_value, expected_gradient = wanted(row, teacher, student, weights.reshape((4,) + (1,) * (len(shape) - 2)))
    np.testing.assert_allclose(value, expected_value, rtol=1e-5)
    np.testing.assert_allclose(gradient, expected_gradient, rtol=1e-5, atol=1e-6)


@ROWS
def test_sample_weights_per_position(row):
    teacher, student = pair(4, 5, 3)
    weights = np.random.default_rng(1).uniform(0, 2, (4, 5)).astype("float32")
    value, gradient = value_and_gradient(row.make(), teacher, student, sample_weight=weights)
    expected_value, expected_gradient = wanted(row, teacher, student, weights)
    np.testing.assert_allclose(value, expected_value, rtol=1e-5)
    np.testing.assert_allclose(gradient, expected_gradient, rtol=1e-5, atol=1e-6)


@ROWS
@pytest.mark.parametrize("rank", [1, 2])
def test_sample_weights_and_mask_together(row, rank):
    teacher, student = pair(3, 3, 4)
    weights = np.array([0.5, 1.0, 2.0], "float32").reshape((3,) + (1,) * (rank - 1))
    mask = np.array([[True, True, True], [True, False, False], [True, True, False]])
    values, _ = row.oracle(teacher.astype("float64"), student.astype("float64"))
    value, gradient = value_and_gradient(row.make(), teacher, student, sample_weight=weights, mask=mask)
    np.testing.assert_allclose(value, np.sum(values * weights.reshape(3, 1) * mask) / mask.sum(), rtol=1e-5)
    assert not gradient[~mask].any()


@ROWS
@pytest.mark.parametrize("nest", [list, tuple, lambda pairs: dict(zip("ab", pairs, strict=True))])
def test_outputs_add_up(row, nest):
    (v1, z1), (v2, z2) = pair(4, 3), pair(4, 5, seed=1)
    weights = np.array([1.0, 0.0, 2.0, 1.0], "float32")
    loss = row.make()
    loss.validate_outputs(nest([v1, v2]), nest([z1, z2]))
    value = loss.compute_loss(nest([v1, v2]), nest([z1, z2]), sample_weight=weights)
    np.testing.assert_allclose(value, wanted(row, v1, z1, weights)[0] + wanted(row, v2, z2, weights)[0], rtol=1e-5)
    value = loss.compute_loss(nest([v1, v2]), nest([z1, z2]), sample_weight=[weights, None])
    np.testing.assert_allclose(value, wanted(row, v1, z1, weights)[0] + wanted(row, v2, z2)[0], rtol=1e-5)


@ROWS
def test_config_round_trip(row):
    loss = row.make()
    again = type(loss).from_config(loss.get_config())
    saved = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(loss))
    teacher, student = pair(4, 3)
    for copy in (again, saved):
        assert type(copy) is type(loss) and copy.get_config() == loss.get_config() and repr(copy) == repr(loss)
        assert copy.compute_loss(teacher, student) == loss.compute_loss(teacher, student)


@ROWS
def test_a_custom_name_is_kept(row):
    loss = row.make()
    named = type(loss).from_config({**loss.get_config(), "name": "mine"})
    assert named.name == "mine"
    assert keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(named)).name == "mine"


@ROWS
def test_structures_that_differ_are_refused(row):
    teacher, student = pair(4, 3)
    message = r"^Expected outputs of the same structure\. Received: teacher outputs of shapes \[\(4, 3\)\], .*\)\]\.$"
    with pytest.raises(ValueError, match=message):
        row.make().validate_outputs([teacher], [student, student])
    with pytest.raises(ValueError, match=r"^Expected as many teacher outputs as .*\. Received: 1 teacher outputs"):
        row.make().compute_loss([teacher], [student, student])


@ROWS
def test_trains_in_the_distiller_of_keras(row):
    keras.utils.set_random_seed(0)
    teacher = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3, name="logits")])
    student = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3, name="logits")])
    distiller = keras.distillation.Distiller(teacher, student, row.make(), student_loss_weight=0.0)
    # One in a graph; that the others compile is `test_compiled_is_as_eager`.
    distiller.compile(keras.optimizers.SGD(0.5), loss="mse", run_eagerly=row is not LOSSES["kl"])
    x = np.random.default_rng(0).normal(size=(8, 4)).astype("float32")
    v, z = np.array(teacher(x)), np.array(student(x))
    expected_value, expected_gradient = wanted(row, v, z)
    kernel = student.layers[0].kernel.numpy()
    logs = distiller.train_on_batch(x, np.zeros((8, 3)), return_dict=True)
    np.testing.assert_allclose(logs["distillation_loss"], expected_value, rtol=1e-4)
    np.testing.assert_allclose(student.layers[0].kernel, kernel - 0.5 * x.T @ expected_gradient, rtol=1e-4, atol=1e-5)
