"""Specialists: the distribution of the paper against an optimiser, and clusters of classes that are confused."""

import re

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import ops
from numpy.testing import assert_allclose, assert_array_equal
from scipy.optimize import minimize
from scipy.special import log_softmax, softmax
from sklearn.cluster import KMeans

import keras_distill as kd
from keras_distill.teachers import (
    Ensemble,
    Specialists,
    active_specialists,
    combine_specialists,
    find_clusters,
    specialist_labels,
)
from keras_distill.teachers.clusters import _k_means

FORM = re.compile(r"^Expected .+\. Received: .+\.", re.DOTALL)
CLUSTERS = {
    "apart": [[0, 1, 2], [3, 4], [5, 6, 7]],
    "overlapping": [[0, 1, 2, 3], [2, 3, 4], [0, 4, 5, 7], [1, 6]],
    "unsorted and nested": [[4, 0, 2], [2, 4], [7, 5, 2, 0, 4]],
}


def random_problem(clusters, *leading, classes=8, scale=1.0, seed=0):
    generator = np.random.default_rng(seed)
    general = scale * generator.normal(size=(*leading, classes))
    special = [scale * generator.normal(size=(*leading, len(cluster) + 1)) for cluster in clusters]
    return general, special


def objective(log_q, general, special, clusters, active, temperature=1.0):
    """Sum of the divergences of one sample, by the definition."""

    def divergence(log_p, log_q):
        return np.sum(np.exp(log_p) * (log_p - log_q))

    total = divergence(log_softmax(general / temperature), log_q)
    for logits, cluster, called in zip(special, clusters, active, strict=True):
        if called:
            rest = np.setdiff1d(np.arange(len(log_q)), cluster)
            folded = np.append(log_q[list(cluster)], np.logaddexp.reduce(log_q[rest]))
            total += divergence(log_softmax(logits / temperature), folded)
    return total


def combined(general, special, clusters, active, temperature=1.0, steps=200):
    logits = combine_specialists(general, special, clusters, ops.convert_to_tensor(active), temperature, steps)
    return np.array(logits) / temperature


@pytest.mark.parametrize("form", CLUSTERS)
@pytest.mark.parametrize(("temperature", "scale"), [(1.0, 1.0), (1.0, 4.0), (4.0, 8.0)])
def test_no_optimiser_finds_a_better_distribution(form, temperature, scale):
    clusters = CLUSTERS[form]
    general, special = random_problem(clusters, 4, scale=scale)
    active = np.random.default_rng(1).random((4, len(clusters))) < 0.7
    log_q = combined(general, special, clusters, active, temperature)
    assert_allclose(np.exp(log_q).sum(axis=-1), 1.0, rtol=1e-12)
    for row in range(4):
        arguments = (general[row], [each[row] for each in special], clusters, active[row], temperature)
        found = minimize(
            lambda z, arguments=arguments: objective(log_softmax(z), *arguments),
            np.zeros(8),
            method="BFGS",
            options={"gtol": 1e-7},
        )
        assert objective(log_q[row], *arguments) <= found.fun + 1e-12
        assert_allclose(np.exp(log_q[row]), softmax(found.x), atol=2e-5)


@pytest.mark.parametrize("form", CLUSTERS)
def test_no_step_makes_it_worse(form):
    clusters = CLUSTERS[form]
    general, special = random_problem(clusters, 10, scale=4.0)
    active = np.ones((10, len(clusters)), bool)
    rows = [(general[row], [each[row] for each in special], clusters, active[row]) for row in range(10)]
    values = [[objective(log_softmax(row[0]), *row) for row in rows]]
    for steps in [*range(1, 12), 30, 100]:
        log_q = log_softmax(combined(general, special, clusters, active, steps=steps), axis=-1)
        values.append([objective(*each) for each in ((q, *row) for q, row in zip(log_q, rows, strict=True))])
    assert (np.diff(values, axis=0) <= 1e-13).all()
    assert (np.array(values[0]) - np.array(values[-1])).min() > 0.1


def test_one_active_specialist_has_a_closed_form():
    cluster, others = [1, 4, 5], [0, 2, 3, 6, 7]
    general, special = random_problem([cluster], 20, scale=5.0)
    for temperature in (0.5, 1.0, 4.0):
        p, s = softmax(general / temperature, axis=-1), softmax(special[0] / temperature, axis=-1)
        expected = np.zeros_like(p)
        expected[:, cluster] = (p[:, cluster] + s[:, :-1]) / 2.0
        share = p[:, others] / p[:, others].sum(axis=-1, keepdims=True)
        expected[:, others] = (p[:, others] + s[:, -1:] * share) / 2.0
        active = np.ones((20, 1), bool)
        for steps in (1, 200):
            got = combined(general, special, [cluster], active, temperature, steps)
            assert_allclose(np.exp(got), expected, rtol=1e-10)


def test_where_none_is_active_the_generalist_speaks():
    general, special = random_problem(CLUSTERS["apart"], 6)
    got = combined(general, special, CLUSTERS["apart"], np.zeros((6, 3), bool), 4.0)
    assert_allclose(got, log_softmax(general / 4.0, axis=-1), rtol=1e-12)


def test_a_class_that_the_generalist_all_but_rules_out_gets_what_all_others_agree_on():
    # Two specialists put nearly all into their dustbins, which share one class alone.
    general = np.array([[0.0, 0.0, -30.0]])
    special = [np.array([[-3.0, 3.0]]), np.array([[-3.0, 3.0]])]
    active = np.ones((1, 2), bool)
    got = combined(general, special, [[0], [1]], active)
    best = minimize(
        lambda z: objective(log_softmax(z), general[0], [s[0] for s in special], [[0], [1]], active[0]), np.zeros(3)
    )
    assert_allclose(np.exp(got[0]), softmax(best.x), atol=1e-5)
    assert np.exp(got[0, 2]) > 0.3


@pytest.mark.parametrize("temperature", [0.5, 1.0, 1000.0])
@pytest.mark.parametrize("scale", [0.0, 1000.0])
def test_nothing_overflows_nor_vanishes_in_float32(temperature, scale):
    clusters = CLUSTERS["overlapping"]
    general, special = random_problem(clusters, 16, scale=scale)
    general, special = general.astype("float32"), [each.astype("float32") for each in special]
    got = combined(general, special, clusters, np.ones((16, 4), bool), temperature)
    assert got.dtype == "float32" and np.isfinite(got).all()
    assert_allclose(np.exp(got.astype("float64")).sum(axis=-1), 1.0, rtol=1e-3)


def test_float32_is_near_float64():
    clusters = CLUSTERS["overlapping"]
    general, special = random_problem(clusters, 50, scale=3.0)
    active = np.ones((50, 4), bool)
    exact = combined(general, special, clusters, active, 4.0)
    got = combined(general.astype("float32"), [each.astype("float32") for each in special], clusters, active, 4.0)
    assert_allclose(got, exact, atol=2e-5)


def test_those_are_active_who_know_one_of_the_top_classes():
    logits = np.array([[5.0, 4.0, 3.0, 2.0], [0.0, 1.0, 3.0, 2.0]])
    clusters = [[0, 3], [1], [2, 3]]
    assert_array_equal(active_specialists(logits, clusters), [[True, False, False], [False, False, True]])
    assert_array_equal(active_specialists(logits, clusters, 2), [[True, True, False], [True, False, True]])
    assert_array_equal(active_specialists(logits[None], clusters, 4), np.ones((1, 2, 3), bool))


# The model -------------------------------------------------------------------------------------------------------


def slices(clusters, classes=8, positions=(), dtype="float64", heads=None):
    """Make a generalist and specialists that take their logits out of the inputs, and the teacher of them."""
    ends = np.cumsum([classes, *(len(cluster) + 1 for cluster in clusters)])
    inputs = [keras.Input((*positions, ends[-1]), dtype=dtype) for _ in ends]
    starts = [0, *ends[:-1]]
    outputs = [each[..., int(a) : int(b)] for each, a, b in zip(inputs, starts, ends, strict=True)]
    if heads:
        outputs = [keras.layers.Activation(heads, dtype=dtype)(each) for each in outputs]
    models = [keras.Model(*pair, dtype=dtype) for pair in zip(inputs, outputs, strict=True)]
    return models[0], models[1:]


@pytest.mark.parametrize(("positions", "heads"), [((), None), ((), "softmax"), ((4,), None), ((2, 3), None)], ids=str)
def test_the_model_combines_at_every_temperature(positions, heads):
    clusters = CLUSTERS["overlapping"]
    general, special = random_problem(clusters, 5, *positions)
    teacher = Specialists(*slices(clusters, positions=positions, heads=heads), clusters, top=2)
    outputs = teacher.answer(np.concatenate([general, *special], axis=-1))
    assert outputs.shape == general.shape and teacher.outputs[0].shape == (None, *positions, 8)
    active = np.array(active_specialists(general, clusters, 2))
    for temperature in (1.0, 4.0):
        expected = combined(general, special, clusters, active, temperature)
        assert_allclose(np.array(outputs.at(temperature)) / temperature, expected, rtol=1e-9)
    assert_array_equal(outputs.at(1.0), teacher(np.concatenate([general, *special], axis=-1)))


def test_the_bias_of_a_specialist_trained_on_more_of_its_own_is_taken_back():
    clusters = CLUSTERS["apart"]
    general, special = random_problem(clusters, 5)
    teacher = Specialists(*slices(clusters), clusters, top=3, oversampling=[1.0, 2.0, 5.0])
    outputs = teacher.answer(np.concatenate([general, *special], axis=-1))
    corrected = [each + np.eye(each.shape[-1])[-1] * np.log(k) for each, k in zip(special, (1, 2, 5), strict=True)]
    active = np.array(active_specialists(general, clusters, 3))
    for temperature in (1.0, 4.0):
        expected = combined(general, corrected, clusters, active, temperature)
        assert_allclose(np.array(outputs.at(temperature)) / temperature, expected, rtol=1e-9)


def test_an_ensemble_may_be_the_generalist(picks):
    z = np.random.default_rng(0).normal(size=(6, 3, 5))
    inputs = keras.Input((3, 5), dtype="float64")
    specialist = keras.Model(inputs, inputs[:, 0, :3], dtype="float64")
    outputs = Specialists(Ensemble(picks(dtype="float64")), [specialist], [[0, 1]]).answer(z)
    general = softmax(z / 4.0, axis=-1).mean(axis=1)
    best = softmax(z, axis=-1).mean(axis=1).argmax(axis=-1)
    expected = combined(4.0 * np.log(general), [z[:, 0, :3]], [[0, 1]], best[:, None] < 2, 4.0)
    assert_allclose(np.array(outputs.at(4.0)) / 4.0, expected, rtol=1e-9)


@pytest.mark.parametrize("jit_compile", [False, True])
def test_compiled_with_lengths_and_batches_that_are_not_known(jit_compile):
    clusters = CLUSTERS["overlapping"]
    teacher = Specialists(*slices(clusters, positions=(None,)), clusters, top=2)
    general, special = random_problem(clusters, 3, 5)
    x = np.concatenate([general, *special], axis=-1)
    call = tf.function(
        lambda x, t: teacher.answer(x).at(t),
        input_signature=[tf.TensorSpec((None, None, x.shape[-1]), "float64"), tf.TensorSpec((), "float32")],
        jit_compile=jit_compile,
    )
    assert_allclose(call(x, 4.0), teacher.answer(x).at(4.0), rtol=1e-9)


@pytest.mark.parametrize("jit_compile", [False, True])
@pytest.mark.slow
def test_specialists_teach_a_student(mlp, data, jit_compile):
    teacher = Specialists(mlp(), [mlp(classes=3), mlp(classes=3)], [[0, 1], [1, 2]], top=2)
    student = mlp(4)
    distiller = kd.Distiller(teacher, student, kd.losses.LogitsDistillation(4.0))
    distiller.compile(keras.optimizers.SGD(0.0), jit_compile=jit_compile)
    p = softmax(np.array(teacher.answer(data[0]).at(4.0), "float64") / 4.0, axis=-1)
    q = softmax(np.array(student(data[0]), "float64") / 4.0, axis=-1)
    loss = distiller.train_on_batch(data[0])[0]
    assert_allclose(loss, 16.0 * (p * np.log(p / q)).sum(axis=-1).mean(), rtol=1e-4)


def test_saved_specialists_come_back(mlp, data, tmp_path):
    clusters = [[0, 1], [1, 2]]
    teacher = Specialists(mlp(), [mlp(classes=3), mlp(classes=3)], clusters, top=2, steps=50, oversampling=[2.0, 3.0])
    teacher.save(tmp_path / "t.keras")
    loaded = keras.models.load_model(tmp_path / "t.keras")
    assert {name: loaded.get_config()[name] for name in ("clusters", "top", "steps", "oversampling")} == {
        "clusters": clusters, "top": 2, "steps": 50, "oversampling": [2.0, 3.0]
    }  # fmt: skip
    for temperature in (1.0, 4.0):
        assert_array_equal(*(each.answer(data[0]).at(temperature) for each in (loaded, teacher)))


def test_specialists_tell_apart_what_the_generalist_confuses():
    # Classes 0 and 1, and 2 and 3, differ in a feature that the generalist does not see.
    generator = np.random.default_rng(0)
    y = generator.integers(0, 4, 800)
    x = np.stack([y // 2, y % 2], axis=-1) * 4.0 - 2.0 + generator.normal(size=(800, 2)) * 0.5
    blind = keras.Sequential([keras.Input((2,)), keras.layers.Dense(4, trainable=True)])
    blind.set_weights([np.array([[-2.0, -2.0, 2.0, 2.0], [0.0, 0.0, 0.0, 0.0]]), np.zeros(4)])
    clusters = find_clusters((blind, x.astype("float32")), clusters=2)
    assert clusters == [[0, 1], [2, 3]]
    specialists = []
    for cluster in clusters:
        specialist = keras.Sequential([keras.Input((2,)), keras.layers.Dense(3)])
        loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        specialist.compile(keras.optimizers.Adam(0.1), loss)
        specialist.fit(x, specialist_labels(y, cluster), epochs=5, verbose=0)
        specialists.append(specialist)
    answers = np.argmax(Specialists(blind, specialists, clusters).predict(x, verbose=0), axis=-1)
    assert np.mean(np.argmax(blind.predict(x, verbose=0), axis=-1) == y) < 0.6
    assert np.mean(answers == y) > 0.95


# Clusters --------------------------------------------------------------------------------------------------------


def confused_predictions(groups, classes, samples=2000, seed=0):
    """Draw predictions in which the probability is spread at random over one of the groups."""
    generator = np.random.default_rng(seed)
    owner = np.repeat(np.arange(len(groups)), [len(group) for group in groups])
    shuffled = np.concatenate(groups)
    p = np.full((samples, classes), 1e-3)
    for row in p:
        own = shuffled[owner == generator.integers(len(groups))]
        row[own] += generator.dirichlet(np.full(len(own), 3.0))
    return p / p.sum(axis=-1, keepdims=True)


@pytest.mark.parametrize("seed", range(4))
def test_classes_that_are_confused_are_found(seed):
    groups = [[0, 5, 9], [1, 2, 7, 11], [3, 4], [6, 8, 10]]
    predictions = confused_predictions(groups, 12, seed=seed)
    assert find_clusters(predictions, clusters=4, seed=seed) == groups
    assert find_clusters(predictions.reshape(20, 100, 12), clusters=4, seed=seed) == groups


def test_the_same_seed_gives_the_same_clusters_each_class_in_one_at_most():
    predictions = np.random.default_rng(0).dirichlet(np.full(30, 0.3), size=500)
    found = find_clusters(predictions, clusters=7, seed=3)
    assert found == find_clusters(predictions, clusters=7, seed=3)
    classes = sorted(c for cluster in found for c in cluster)
    assert len(set(classes)) == len(classes) and all(len(cluster) > 1 for cluster in found)


def test_clusters_of_one_size():
    groups = [[0, 5, 9], [1, 2, 7, 11], [3, 4], [6, 8, 10]]
    found = find_clusters(confused_predictions(groups, 12), clusters=4, size=4)
    assert [len(cluster) for cluster in found] == [4, 4, 4, 4]
    assert all(any(set(group) <= set(cluster) for cluster in found) for group in groups)


def test_a_model_is_asked_for_its_predictions():
    z = np.log(confused_predictions([[0, 3], [1, 2, 4]], 5, samples=700)).astype("float32")
    inputs = keras.Input((5,))
    for outputs in (ops.multiply(inputs, 1.0), keras.layers.Softmax()(inputs)):
        assert find_clusters((keras.Model(inputs, outputs), z), clusters=2) == [[0, 3], [1, 2, 4]]


@pytest.mark.parametrize("seed", range(3))
def test_k_means_is_as_good_as_that_of_scikit_learn(seed):
    points = np.random.default_rng(seed).normal(size=(60, 8))
    reference = KMeans(6, n_init=10, random_state=seed).fit(points)
    nearest, distances = _k_means(points, 6, np.random.default_rng(seed))
    assert_array_equal(np.unique(nearest), np.arange(6))
    assert distances.min(axis=-1).sum() <= 1.03 * reference.inertia_


def test_copies_of_a_class_are_no_trouble():
    predictions = np.tile([0.25, 0.25, 0.25, 0.25], (10, 1))
    assert find_clusters(predictions, clusters=3) == find_clusters(predictions, clusters=3)


@pytest.mark.parametrize("kind", [list, np.asarray, tf.constant])
def test_labels_of_a_specialist(kind):
    labels = specialist_labels(kind([4, 9, 0, -1, 2]), [9, 2, 4])
    assert_array_equal(labels, [2, 0, 3, -1, 1])
    assert isinstance(labels, tf.Tensor if kind is tf.constant else np.ndarray)
    assert_array_equal(specialist_labels(np.array([[4], [7]]), [4]), [[0], [1]])


# Bad input -------------------------------------------------------------------------------------------------------


def three(m, clusters=((0, 1),), classes=3, **kwargs):
    return Specialists(m(), [m(classes=classes) for _ in clusters], [list(c) for c in clusters], **kwargs)


UNIFORM = np.full((4, 3), 1 / 3)
BAD = {
    "no generalist": (lambda m: Specialists(None, [m()], [[0, 1]]), "generalist to be a keras.Model"),
    "no specialists": (lambda m: Specialists(m(), [], []), "a list of at least one specialist"),
    "no model": (lambda m: Specialists(m(), ["s.keras"], [[0, 1]]), "each specialist to be a keras.Model"),
    "too few clusters": (lambda m: Specialists(m(), [m(), m()], [[0, 1]]), "2 clusters, one for each specialist"),
    "no clusters": (lambda m: Specialists(m(), [m()], None), "1 clusters, one for each specialist. Received: None"),
    "an empty cluster": (lambda m: three(m, [[]]), "lists of different classes >= 0"),
    "a class twice": (lambda m: three(m, [[1, 1]]), "lists of different classes >= 0"),
    "a negative class": (lambda m: three(m, [[0, -1]]), "lists of different classes >= 0"),
    "out of range": (lambda m: three(m, [[0, 3]]), "some, not all, of the classes from 0 to 2"),
    "all classes": (lambda m: three(m, [[0, 1, 2]], classes=4), "some, not all.*The dustbin must have a class"),
    "no dustbin": (lambda m: three(m, classes=2), "specialist 0 to have 3 logits, for its 2 classes and a dustbin"),
    "top of none": (lambda m: three(m, top=0), "top to be a whole number >= 1"),
    "top of too many": (lambda m: three(m, top=4), "top to be 3 at most"),
    "no steps": (lambda m: three(m, steps=0), "steps to be a whole number >= 1"),
    "oversampled by 0": (lambda m: three(m, oversampling=0.0), "oversampling to be a finite number > 0"),
    "oversampling of others": (lambda m: three(m, oversampling=[1.0, 2.0]), "one number for oversampling, or 1"),
    "clusters of logits": (lambda m: find_clusters(np.ones((4, 3)), 2), "two rows of probabilities or more"),
    "clusters of one row": (lambda m: find_clusters(UNIFORM[:1], 2), "two rows of probabilities or more"),
    "clusters of a vector": (lambda m: find_clusters(UNIFORM[0], 2), "two rows of probabilities or more"),
    "clusters of NaN": (lambda m: find_clusters(UNIFORM * np.nan, 2), "two rows of probabilities or more"),
    "clusters of no model": (lambda m: find_clusters((3, UNIFORM), 2), "generalist to be a keras.Model"),
    "no clusters asked": (lambda m: find_clusters(UNIFORM, 0), "clusters to be a whole number >= 1"),
    "too many clusters": (lambda m: find_clusters(UNIFORM, 3), "clusters to be below 3"),
    "too large clusters": (lambda m: find_clusters(UNIFORM, 2, size=3), "size to be below 3"),
    "labels of no cluster": (lambda m: specialist_labels([0], []), "lists of different classes"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_told_at_once(mlp, case):
    build, message = BAD[case]
    with pytest.raises(ValueError, match=message) as caught:
        build(mlp)
    assert FORM.match(str(caught.value))


class Later(keras.Model):
    """Knows its classes when it is first called."""

    def __init__(self, classes):
        super().__init__()
        self.head = keras.layers.Dense(classes)

    def call(self, x):
        return self.head(x)


@pytest.mark.parametrize(
    ("widths", "message"), [((3, 2), "specialist 0 to have 3 logits"), ((2, 3), "classes from 0 to 1")]
)
@pytest.mark.parametrize("compiled", [False, True])
def test_bad_input_is_told_by_the_first_batch(widths, message, compiled):
    teacher, x = Specialists(Later(widths[0]), [Later(widths[1])], [[0, 1]]), np.ones((2, 4), "float32")
    with pytest.raises(ValueError, match=message) as caught:
        teacher.predict(x, verbose=0) if compiled else teacher(x)
    assert FORM.match(str(caught.value))
