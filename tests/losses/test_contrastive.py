"""CRD: scores and banks in closed form, both ways to compute them, replicas, edges, bad input."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_distill.losses.contrastive import CRD, crd, noise_contrastive

SAMPLES, WIDTH, BATCH = 30, 4, 6


def unit(x):
    return x / np.linalg.norm(x, axis=-1, keepdims=True)


def batch(negatives=5, seed=0):
    generator = np.random.default_rng(seed)
    teacher, student = generator.normal(size=(BATCH, 7)), generator.normal(size=(BATCH, 3))
    index = generator.permutation(SAMPLES)[:BATCH].astype("int32")
    others = generator.integers(0, SAMPLES, (BATCH, negatives)).astype("int32")
    given = {"index": index, "contrast_index": np.concatenate([index[:, None], others], axis=1)}
    return teacher.astype("float32"), student.astype("float32"), given


def build(samples=SAMPLES, **arguments):
    loss = CRD(samples, WIDTH, **arguments)
    return loss, loss.make_adapter((None, 7), (None, 3))


def numbers(layer):
    names = ("memory_teacher", "memory_student", "z_teacher", "z_student")
    return {name: getattr(layer, name).numpy().astype("float64") for name in names}


def oracle(layer, teacher, student, index, contrast_index, temperature=0.07, momentum=0.5, samples=SAMPLES):
    """Return the loss of each sample, and the banks and constants after the step."""
    before, after, values = numbers(layer), {}, 0.0
    for x, dense, own, other in (
        (teacher, layer.embed_teacher, "teacher", "student"),
        (student, layer.embed_student, "student", "teacher"),
    ):
        v = unit(x.astype("float64") @ dense.kernel.numpy() + dense.bias.numpy())
        scores = np.exp(np.einsum("bkd,bd->bk", before[f"memory_{other}"][contrast_index], v) / temperature)
        z = before[f"z_{own}"] if before[f"z_{own}"] > 0 else scores.mean() * samples
        o, c = scores / z, (contrast_index.shape[1] - 1) / samples
        values = values - np.log(o[:, 0] / (o[:, 0] + c + 1e-7)) - np.log(c / (o[:, 1:] + c + 1e-7)).sum(1)
        bank = before[f"memory_{own}"].copy()
        bank[index] = unit(momentum * bank[index] + (1 - momentum) * v)
        after[f"memory_{own}"], after[f"z_{own}"] = bank, z
    return values, after


# With 5 negatives and more samples the rows are gathered, otherwise all scores are computed.
@pytest.mark.parametrize("samples, negatives", [(SAMPLES, 5), (SAMPLES, 20), (SAMPLES, 9)])
@pytest.mark.parametrize("temperature, momentum", [(0.07, 0.5), (0.5, 0.9), (0.1, 0.0)])
def test_two_steps(samples, negatives, temperature, momentum):
    loss, layer = build(nce_temperature=temperature, momentum=momentum)
    for seed in range(2):
        teacher, student, given = batch(negatives, seed)
        wanted, after = oracle(layer, teacher, student, **given, temperature=temperature, momentum=momentum)
        value = loss.compute_loss(teacher, student, adapter=layer, training=True, **given)
        np.testing.assert_allclose(value, wanted.mean(), rtol=1e-4)
        for name, number in numbers(layer).items():
            np.testing.assert_allclose(number, after[name], rtol=1e-4, atol=1e-6)


def test_gathered_rows_and_all_scores_are_the_same(monkeypatch):
    teacher, student, given = batch()
    _, layer = build()
    inputs = teacher, student, given["index"], given["contrast_index"]
    gathered = layer(*inputs)
    layer.dataset_size = 1  # It then takes all scores to need less memory.
    offset = np.log(SAMPLES)  # Z is an average times the number of samples.
    for one, other in zip(gathered, layer(*inputs), strict=True):
        np.testing.assert_allclose(one + offset, other, rtol=1e-4, atol=1e-5)


def test_evaluation_changes_nothing():
    loss, layer = build()
    teacher, student, given = batch()
    before = numbers(layer)
    first = loss.compute_loss(teacher, student, adapter=layer, training=False, **given)
    assert all(np.array_equal(before[name], number) for name, number in numbers(layer).items())
    np.testing.assert_allclose(first, oracle(layer, teacher, student, **given)[0].mean(), rtol=1e-4)


def test_the_banks_start_uniformly_and_the_constants_unset():
    _, layer = build(2000)
    limit = 1 / np.sqrt(WIDTH / 3)
    for bank in (layer.memory_teacher, layer.memory_student):
        assert limit * 0.99 < np.abs(bank.numpy()).max() <= limit
        np.testing.assert_allclose(bank.numpy().std(), limit / np.sqrt(3), rtol=0.05)
        assert not bank.trainable
    assert layer.z_teacher.numpy() == layer.z_student.numpy() == -1.0
    assert len(layer.trainable_variables) == 4


def gradients(loss, layer, teacher, student, given, **options):
    student = tf.constant(student)
    with tf.GradientTape() as tape:
        tape.watch(student)
        value = loss.compute_loss(teacher, student, adapter=layer, training=True, **given, **options)
    return value.numpy(), tape.gradient(value, [student, *layer.trainable_variables])


@pytest.mark.parametrize("negatives", [5, 20])
def test_gradients_reach_the_student_and_both_embeddings(negatives):
    loss, layer = build()
    teacher, student, given = batch(negatives)
    gradients(loss, layer, teacher, student, given)  # From here on Z is a constant.
    state = [(variable, tf.identity(variable.value)) for variable in layer.variables]

    def value(x):
        with keras.StatelessScope(state_mapping=state):
            return float(np.mean(oracle(layer, teacher, x, **given)[0]))

    _, (slope, *others) = gradients(loss, layer, teacher, student, given)
    for variable, before in state:
        variable.assign(before)
    direction, step = np.random.default_rng(1).normal(size=student.shape), 1e-4
    difference = (value(student + step * direction) - value(student - step * direction)) / (2 * step)
    np.testing.assert_allclose(np.sum(slope * direction), difference, rtol=1e-3)
    assert all(np.abs(each).max() > 0 for each in others)


@pytest.mark.parametrize("jit", [False, True])
def test_steps_in_a_graph_are_the_eager_ones(jit):
    results = []
    for mode in ("eager", "graph"):
        keras.utils.set_random_seed(1)
        loss, layer = build()

        def step(teacher, student, index, contrast_index, loss=loss, layer=layer):
            given = {"index": index, "contrast_index": contrast_index}
            return loss.compute_loss(teacher, student, adapter=layer, training=True, **given)

        step = step if mode == "eager" else tf.function(step, jit_compile=jit)
        values = []
        for seed in range(3):
            teacher, student, given = batch(seed=seed)
            values.append(step(*map(tf.constant, (teacher, student, *given.values()))))
        results.append((np.array(values), numbers(layer)))
    np.testing.assert_allclose(results[0][0], results[1][0], rtol=1e-5)
    for name, number in results[0][1].items():
        np.testing.assert_allclose(number, results[1][1][name], rtol=1e-5, atol=1e-6)


def test_zero_embeddings_are_finite():
    loss, layer = build()
    teacher, student, given = batch()
    value, slopes = gradients(loss, layer, np.zeros_like(teacher), np.zeros_like(student), given)
    assert np.isfinite(value) and all(np.isfinite(slope).all() for slope in slopes)
    # All scores are exp(0), so Z is the number of samples.
    assert layer.z_student.numpy() == layer.z_teacher.numpy() == SAMPLES
    np.testing.assert_allclose(np.linalg.norm(layer.memory_student.numpy()[given["index"]], axis=1), 1.0, rtol=1e-5)


def test_masked_samples_move_no_bank():
    mask = np.array([True, True, False, True, False, False])
    results = []
    for keep in (mask, slice(None)):
        keras.utils.set_random_seed(1)
        loss, layer = build()
        teacher, student, given = batch()
        if keep is not mask:
            teacher[~mask], student[~mask] = np.nan, np.nan
            student = tf.constant(student)
            student._keras_mask = tf.constant(mask)
            value = loss.compute_loss(teacher, student, adapter=layer, training=True, **given)
        else:
            given = {name: array[mask] for name, array in given.items()}
            value = loss.compute_loss(teacher[mask], student[mask], adapter=layer, training=True, **given)
        results.append((float(value), numbers(layer)))
    assert results[0][0] == pytest.approx(results[1][0], rel=1e-5)
    for name, number in results[0][1].items():
        np.testing.assert_allclose(results[1][1][name], number, rtol=1e-5, atol=1e-6)


def test_scores_of_any_size_are_finite():
    scores = np.array([[1e4, -1e4, 3.0], [-1e4, 1e4, 0.0]], "float32")
    assert np.isfinite(noise_contrastive(scores, 10)).all()
    np.testing.assert_allclose(crd(scores, scores, 10), 2 * noise_contrastive(scores, 10))


def test_the_layer_is_rebuilt_from_its_configuration():
    _, layer = build(momentum=0.25)
    again = type(layer).from_config(layer.get_config())
    again.build_from_config(layer.get_build_config())
    assert (again.dataset_size, again.width, again.momentum) == (SAMPLES, WIDTH, 0.25)
    assert [v.shape for v in again.variables] == [v.shape for v in layer.variables]


@pytest.mark.parametrize(
    "arguments, message",
    [
        (
            {},
            "dataset_size to be a whole number >= 1. Received: dataset_size=None. Pass the number of training samples",
        ),
        ({"dataset_size": 0}, "dataset_size to be a whole number >= 1. Received: dataset_size=0"),
        ({"dataset_size": 2.5}, "dataset_size to be a whole number >= 1. Received: dataset_size=2.5"),
        ({"dataset_size": 9, "embedding_width": True}, "embedding_width to be a whole number >= 1"),
        ({"dataset_size": 9, "nce_temperature": 0.01}, "nce_temperature to be a finite number >= 0.02"),
        ({"dataset_size": 9, "momentum": 1.5}, "momentum to be a number from 0 to 1. Received: momentum=1.5"),
    ],
)
def test_bad_arguments_are_refused(arguments, message):
    with pytest.raises(ValueError) as error:
        CRD(**arguments)
    assert str(error.value).startswith(f"Expected {message}")


def test_missing_inputs_are_named():
    loss, layer = build()
    teacher, student, given = batch()
    with pytest.raises(ValueError, match=r"^Expected index, which the loss 'crd' needs.*data\.indexed"):
        loss.compute_loss(teacher, student, adapter=layer)
    with pytest.raises(ValueError, match="^Expected adapter"):
        loss.compute_loss(teacher, student, **given)
    with pytest.raises(ValueError, match=r"one negative or more in `contrast_index`\. Received: shape \(6, 1\)"):
        loss.compute_loss(teacher, student, adapter=layer, **{**given, "contrast_index": given["index"][:, None]})
    with pytest.raises(ValueError, match="one layer of each model for 'crd'"):
        loss.make_adapter([(None, 7), (None, 7)], [(None, 3), (None, 3)])
