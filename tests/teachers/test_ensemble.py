"""Ensembles: closed forms of every way to combine, at every temperature; members with ways of their own."""

import re

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import ops
from numpy.testing import assert_allclose, assert_array_equal
from scipy.special import logsumexp, softmax

import keras_distill as kd
from keras_distill.teachers import (
    Ensemble,
    Member,
    confidences,
    geometric_mean,
    map_classes,
    mean_of_logits,
    mean_of_probabilities,
)

FORM = re.compile(r"^Expected .+\. Received: .+\.", re.DOTALL)
TEMPERATURES = (0.5, 1.0, 4.0, 1000.0)
WEIGHTS = {"equal": None, "fixed": [1.0, 0.5, 2.5], "confidence": "confidence"}


def random_logits(*shape, scale=3.0, seed=0):
    return np.random.default_rng(seed).normal(size=shape) * scale


def soft_targets(outputs, temperature):
    logits = outputs.at(temperature)
    return softmax(ops.convert_to_numpy(logits).astype("float64") / temperature, axis=-1)


def oracle(combine, z, weights, temperature):
    """Soft targets of members with logits `z` of shape `[..., members, classes]`, by the definitions."""
    p = softmax(z / temperature, axis=-1)
    if weights == "confidence":
        weights = softmax(z, axis=-1).max(axis=-1, keepdims=True)
    else:
        weights = np.reshape(weights or np.ones(z.shape[-2]), (-1, 1))
    weights = weights / weights.sum(axis=-2, keepdims=True)
    if combine == "probabilities":
        return (weights * p).sum(axis=-2)
    if combine == "logits":
        return softmax((weights * z).sum(axis=-2) / temperature, axis=-1)
    product = (p**weights).prod(axis=-2)
    return product / product.sum(axis=-1, keepdims=True)


@pytest.mark.parametrize("combine", ["probabilities", "geometric", "logits"])
@pytest.mark.parametrize("weighting", WEIGHTS)
@pytest.mark.parametrize("positions", [(), (4,), (2, 3)], ids=["rows", "sequences", "maps"])
def test_closed_forms_at_every_temperature(picks, combine, weighting, positions):
    ensemble = Ensemble(picks(positions=positions, dtype="float64"), WEIGHTS[weighting], combine)
    z = random_logits(6, *positions, 3, 5)
    outputs = ensemble.answer(z)
    assert outputs.shape == (6, *positions, 5) and outputs.logits.dtype == "float64"
    assert_array_equal(ensemble(z), outputs.at(1.0))
    for temperature in TEMPERATURES:
        expected = oracle(combine, z, WEIGHTS[weighting], temperature)
        assert_allclose(soft_targets(outputs, temperature), expected, rtol=1e-11)


@pytest.mark.parametrize("weighting", WEIGHTS)
def test_geometric_mean_and_mean_of_logits_are_one_and_the_arithmetic_mean_is_another(picks, weighting):
    members, z = picks(dtype="float64"), random_logits(20, 3, 5)
    ways = {
        each: Ensemble(members, WEIGHTS[weighting], each).answer(z) for each in ("geometric", "logits", "probabilities")
    }
    for temperature in TEMPERATURES:
        geometric, of_logits, arithmetic = (soft_targets(outputs, temperature) for outputs in ways.values())
        assert_allclose(geometric, of_logits, rtol=1e-10)
        if temperature <= 4.0:
            assert np.abs(arithmetic - geometric).max() > 0.03
    assert_allclose(logsumexp(ways["geometric"].logits, axis=-1), 0.0, atol=1e-12)
    assert_allclose(logsumexp(ways["probabilities"].logits, axis=-1), 0.0, atol=1e-12)


@pytest.mark.parametrize("combine", ["probabilities", "geometric", "logits"])
@pytest.mark.parametrize("weighting", ["equal", "confidence", "others weigh nothing"])
def test_an_ensemble_of_one_is_its_member_bit_for_bit(pick, picks, combine, weighting):
    x = random_logits(7, 3, 5).astype("float32")
    members, weights = [pick(1)], {"equal": None, "confidence": "confidence"}.get(weighting)
    if weighting == "others weigh nothing":
        members, weights = picks(), [0.0, 0.3, 0.0]
    outputs = Ensemble(members, weights, combine).answer(x)
    for temperature in TEMPERATURES:
        assert_array_equal(outputs.at(temperature), pick(1)(x))


def test_an_ensemble_of_one_softmax_head_is_the_logits_under_it(pick):
    x = random_logits(7, 3, 5).astype("float32")
    assert_array_equal(Ensemble([pick(1, head="softmax")])(x), x[:, 1])


def test_an_ensemble_of_ensembles_is_asked_at_the_temperature(picks):
    members, z = picks(4, dtype="float64"), random_logits(6, 4, 5)
    nested = Ensemble([Ensemble(members[:2], name="one"), Ensemble(members[2:], name="two")]).answer(z)
    single = Ensemble([Ensemble(members)]).answer(z)
    for temperature in TEMPERATURES:
        expected = oracle("probabilities", z, None, temperature)
        assert_allclose(soft_targets(nested, temperature), expected, rtol=1e-11)
        assert_allclose(soft_targets(single, temperature), expected, rtol=1e-11)


@pytest.mark.parametrize("function", [mean_of_probabilities, geometric_mean, mean_of_logits])
@pytest.mark.parametrize("temperature", TEMPERATURES)
def test_nothing_overflows_nor_vanishes_in_float32(function, temperature):
    z = np.array([[[1000.0, 0.0, -1000.0]], [[-1000.0, 0.0, 1000.0]], [[0.0, -np.inf, 3e38]]], "float32")
    assert np.isfinite(function(z, temperature=temperature)).all()
    apart = function(z[:2], temperature=temperature)
    assert_allclose(softmax(apart / temperature)[0, 0], softmax(apart / temperature)[0, 2], rtol=1e-6)


@pytest.mark.parametrize("function", [mean_of_probabilities, geometric_mean])
def test_differences_survive_a_high_temperature_in_float32(function):
    z = random_logits(3, 20, 10).astype("float32")
    exact, got = (np.array(function(z.astype(dtype), temperature=1000.0)) for dtype in ("float64", "float32"))
    exact, got = (each - each.mean(axis=-1, keepdims=True) for each in (exact, got))
    assert_allclose(got, exact, atol=3e-6)


def test_confidences_are_the_largest_probabilities():
    z = random_logits(3, 6, 5)
    largest = softmax(z, axis=-1).max(axis=-1)
    assert_allclose(confidences(z), largest / largest.sum(axis=0), rtol=1e-12)


# Members ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("compiled", [False, True])
def test_softmax_heads_are_looked_under(pick, compiled):
    z = random_logits(6, 3, 5)
    mixed = Ensemble([pick(k, head=head, dtype="float64") for k, head in enumerate(["softmax", None, "softmax"])])
    call = tf.function(lambda x: mixed.answer(x).at(4.0)) if compiled else lambda x: mixed.answer(x).at(4.0)
    assert_allclose(softmax(call(z) / 4.0, axis=-1), oracle("probabilities", z, None, 4.0), rtol=1e-11)


@pytest.mark.parametrize("compiled", [False, True])
def test_probabilities_whose_logits_are_lost_are_refused(pick, compiled):
    inputs = keras.Input((3, 5))
    powers = ops.exp(inputs[:, 0])
    lost = keras.Model(inputs, powers / ops.sum(powers, axis=-1, keepdims=True), name="lost")
    ensemble, z = Ensemble([lost, pick(2)]), random_logits(6, 3, 5).astype("float32")
    with pytest.raises(ValueError, match="Expected logits from the lost. Received: rows of probabilities"):
        ensemble.predict(z, verbose=0) if compiled else ensemble(z)


class Noisy(keras.Model):
    """Does not say that it wants to know whether it is trained, and is built when it is first called."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.dropout, self.head = keras.layers.Dropout(0.5), keras.layers.Dense(3)

    def call(self, x):
        return self.head(self.dropout(x))


def test_members_run_in_inference_mode_whatever_they_are_told(mlp, data):
    ensemble = Ensemble([mlp(dropout=0.5), mlp(dropout=0.5), Noisy()])
    assert_array_equal(ensemble(data[0], training=True), ensemble(data[0]))


class Counting(keras.Model):
    def __init__(self, model):
        super().__init__()
        self.model, self.calls = model, 0
        self.built = True

    def call(self, x):
        self.calls += 1
        return self.model(x)


def test_each_member_runs_once_whatever_is_asked_of_the_ensemble(mlp, data):
    members = [Counting(mlp()) for _ in range(3)]
    losses = [kd.losses.LogitsDistillation(t, name=f"at_{t}") for t in (2, 8)] + [kd.losses.LogitMatching()]
    distiller = kd.Distiller(Ensemble(members), mlp(4), losses)
    distiller.compile("sgd", "sparse_categorical_crossentropy", run_eagerly=True, fidelity=True)
    distiller.train_on_batch(*data)
    assert [member.calls for member in members] == [1, 1, 1]


@keras.saving.register_keras_serializable(package="tests")
def halved(x):
    return x / 2.0


def test_each_member_sees_the_inputs_its_own_way():
    def model(size):
        return keras.Sequential([keras.Input((size, size, 1)), keras.layers.Flatten(), keras.layers.Dense(3)])

    small, whole = model(4), model(8)
    shrinking = keras.Sequential([keras.layers.RandomFlip(), keras.layers.Resizing(4, 4)])
    ensemble = Ensemble([Member(small, shrinking), whole, Member(whole, halved)], combine="logits")
    x = np.random.default_rng(0).normal(size=(5, 8, 8, 1)).astype("float32")
    expected = (small(keras.layers.Resizing(4, 4)(x)) + whole(x) + whole(x / 2.0)) / 3.0
    assert_allclose(ensemble(x, training=True), expected, atol=1e-6)
    assert ensemble.inputs[0].shape == (None, 8, 8, 1) and ensemble.outputs[0].shape == (None, 3)


def test_members_with_classes_in_another_order(picks):
    z, order = random_logits(6, 2, 5), [3, 0, 4, 1, 2]
    scrambled = z.copy()
    scrambled[:, 1] = z[:, 1, order]
    members = picks(2, dtype="float64")
    outputs = Ensemble([members[0], Member(members[1], classes=order)]).answer(scrambled)
    assert_allclose(soft_targets(outputs, 4.0), oracle("probabilities", z, None, 4.0), rtol=1e-12)


def test_members_with_finer_classes(picks):
    z = random_logits(6, 2, 5)
    members = picks(2, dtype="float64")
    outputs = Ensemble([Member(each, classes=[0, 0, 1, 1, None]) for each in members]).answer(z)
    p = softmax(z / 4.0, axis=-1)
    groups = np.stack([p[..., :2].sum(axis=-1), p[..., 2:4].sum(axis=-1)], axis=-1)
    assert_allclose(soft_targets(outputs, 4.0), (groups / groups.sum(axis=-1, keepdims=True)).mean(axis=1), rtol=1e-12)


def test_members_of_several_precisions(mlp, data):
    members = [mlp(), mlp()]
    half = keras.models.clone_model(members[1], clone_function=lambda layer: type(layer).from_config(
        {**layer.get_config(), "dtype": "mixed_float16"}
    ))  # fmt: skip
    half.set_weights(members[1].get_weights())
    mixed, single = Ensemble([members[0], half])(data[0]), Ensemble(members)(data[0])
    assert mixed.dtype == "float32"
    assert_allclose(mixed, single, atol=1e-2)


def test_members_of_several_outputs_are_combined_output_by_output():
    inputs = keras.Input((3, 5))
    both = [keras.Model(inputs, {"a": inputs[:, k], "b": 2.0 * inputs[:, k, :2]}) for k in range(3)]
    z = random_logits(6, 3, 5).astype("float32")
    outputs = Ensemble(both).answer(z)
    assert_allclose(soft_targets(outputs["a"], 4.0), oracle("probabilities", z, None, 4.0), rtol=1e-5)
    assert_allclose(soft_targets(outputs["b"], 4.0), oracle("probabilities", 2.0 * z[..., :2], None, 4.0), rtol=1e-5)


# In a distiller, and on disk -------------------------------------------------------------------------------------


@pytest.mark.parametrize("jit_compile", [False, True])
def test_the_student_is_taught_the_mean_at_the_temperature_of_now(mlp, data, jit_compile):
    members = [mlp(name=f"m{k}") for k in range(3)]
    for member in members:
        member.layers[-1].set_weights([3.0 * each for each in member.layers[-1].get_weights()])
    student, x = mlp(4), data[0]
    traces = []

    class Traced(kd.losses.LogitsDistillation):
        def per_sample(self, *args, **kwargs):
            traces.append(1)
            return super().per_sample(*args, **kwargs)

    distiller = kd.Distiller(Ensemble(members), student, Traced(2.0))
    distiller.compile(keras.optimizers.SGD(0.0), jit_compile=jit_compile)
    z = np.stack([member(x) for member in members], axis=1).astype("float64")
    for temperature in (2.0, 7.0):
        distiller.temperature = temperature
        loss = distiller.train_on_batch(x)[0]
        p = oracle("probabilities", z, None, temperature)
        q = softmax(np.array(student(x), "float64") / temperature, axis=-1)
        assert_allclose(loss, temperature**2 * (p * np.log(p / q)).sum(axis=-1).mean(), rtol=1e-4)
    assert len(traces) == 1


@pytest.mark.parametrize("kind", ["equal", "fixed", "confidence"])
def test_a_saved_ensemble_comes_back(mlp, data, tmp_path, kind):
    wide = Member(mlp(8, classes=4), preprocessing=halved, classes=[2, 1, None, 0], name="wide")
    ensemble = Ensemble([mlp(), wide, mlp(16, head="softmax")], WEIGHTS[kind], "geometric", name="three")
    ensemble.save(tmp_path / "e.keras")
    loaded = keras.models.load_model(tmp_path / "e.keras")
    assert loaded.name == "three" and loaded.get_config()["weights"] == WEIGHTS[kind]
    before, after = ensemble.answer(data[0]), loaded.answer(data[0])
    for temperature in TEMPERATURES:
        assert_array_equal(after.at(temperature), before.at(temperature))


@keras.saving.register_keras_serializable(package="tests")
class BuiltLater(Noisy):
    pass


def test_a_saved_distiller_brings_its_ensemble_back(mlp, data, tmp_path):
    member = BuiltLater()
    member(data[0])
    distiller = kd.Distiller(Ensemble([mlp(), member]), mlp(4), kd.losses.LogitsDistillation(4.0))
    distiller.compile("adam", "sparse_categorical_crossentropy")
    distiller.fit(*data, verbose=0)
    distiller.save(tmp_path / "d.keras")
    loaded = keras.models.load_model(tmp_path / "d.keras")
    assert_array_equal(loaded.teacher(data[0]), distiller.teacher(data[0]))
    assert not distiller.teacher.trainable_variables and not member.trainable


def test_members_that_are_not_built_yet_are_built_by_the_first_batch(data):
    ensemble = Ensemble([Noisy(), Noisy()])
    assert not ensemble.built
    assert ensemble.predict(data[0], verbose=0).shape == (96, 3)
    assert ensemble.built


def test_features_of_a_member_teach_beside_the_mean_of_all(mlp, data):
    ensemble = Ensemble([mlp(16, name="one"), mlp(16, name="two")])
    losses = [kd.losses.LogitsDistillation(4.0), kd.losses.FeatureDistillation("mse", "two/hidden", "hidden")]
    distiller = kd.Distiller(ensemble, mlp(16), losses)
    distiller.compile(keras.optimizers.SGD(0.0))
    x, student = data[0], distiller.student
    hidden = [model.layers[0](x) for model in (ensemble.members[1], student)]
    logs = distiller.fit(x, batch_size=len(x), verbose=0).history
    assert_allclose(logs["feature_distillation"], np.mean(np.square(hidden[0] - hidden[1])), rtol=1e-4)
    p = oracle("probabilities", np.stack([each(x) for each in ensemble.members], axis=1), None, 4.0)
    q = softmax(np.array(student(x)) / 4.0, axis=-1)
    assert_allclose(logs["logits_distillation"], 16.0 * (p * np.log(p / q)).sum(axis=-1).mean(), rtol=1e-3)


# Bad input -------------------------------------------------------------------------------------------------------

BAD = {
    "empty": (lambda m: Ensemble([]), "a list of at least one member"),
    "no list": (lambda m: Ensemble(m()), "a list of at least one member"),
    "no model": (lambda m: Ensemble([m(), "teacher.keras"]), "each member to be a keras.Model.*as_teacher"),
    "classes differ": (lambda m: Ensemble([m(), m(classes=4)]), "same number of classes, at least 2. Received: 3, 4"),
    "one class": (lambda m: Ensemble([m(classes=1)]), "at least 2"),
    "inputs differ": (lambda m: Ensemble([m(), m(features=5)]), "inputs of one shape.*preprocessing"),
    "too few weights": (lambda m: Ensemble([m(), m()], [1.0]), "2 weights, one for each member. Received: 1"),
    "negative weight": (lambda m: Ensemble([m(), m()], [1.0, -1.0]), "weights to be a finite number >= 0"),
    "NaN weight": (lambda m: Ensemble([m(), m()], [1.0, np.nan]), "weights to be a finite number >= 0"),
    "no weight": (lambda m: Ensemble([m(), m()], [0.0, 0.0]), "at least one weight > 0"),
    "a word as weights": (lambda m: Ensemble([m()], "confident"), 'weights to be a list of numbers, "confidence"'),
    "a number as weights": (lambda m: Ensemble([m()], 1.0), 'weights to be a list of numbers, "confidence"'),
    "unknown way": (lambda m: Ensemble([m()], combine="logit"), "Did you mean 'logits'"),
    "a lambda": (lambda m: Member(m(), lambda x: x), "a registered function.*register_keras_serializable"),
    "no function": (lambda m: Member(m(), 3), "a registered function"),
    "member is no model": (lambda m: Member(None), "model to be a keras.Model"),
    "map of a member": (lambda m: Member(m(), classes=[0, 1]), "a mapping of the teacher's 3 classes"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_told_at_construction(mlp, case):
    build, message = BAD[case]
    with pytest.raises(ValueError, match=message) as caught:
        build(mlp)
    assert FORM.match(str(caught.value))


@pytest.mark.parametrize("compiled", [False, True])
def test_members_found_to_disagree_when_they_first_run(mlp, data, compiled):
    ensemble = Ensemble([Noisy(), mlp(classes=4), map_classes(Noisy(), [0, 1, 1])])
    with pytest.raises(ValueError, match=r"same number of classes.*outputs of shapes .*3.*4.*2") as caught:
        ensemble.predict(data[0], verbose=0) if compiled else ensemble(data[0])
    assert FORM.match(str(caught.value))


def test_a_student_of_other_classes_is_refused_at_construction(mlp):
    with pytest.raises(ValueError, match="outputs of the same shapes"):
        kd.Distiller(Ensemble([mlp(), mlp()]), mlp(classes=4), kd.losses.LogitsDistillation(4.0))


@pytest.mark.parametrize("wrap", [lambda ensemble: keras.Sequential([keras.Input((4,)), ensemble]), Counting])
def test_an_ensemble_inside_a_plain_model_would_answer_at_one_temperature_alone_and_is_refused(mlp, wrap):
    wrapped = wrap(Ensemble([mlp(), mlp()], name="two"))
    for use in (lambda: kd.Distiller(wrapped, mlp(4), "kd"), lambda: Ensemble([wrapped, mlp()])):
        with pytest.raises(
            ValueError, match="Expected a teacher of several models by itself. Received: Ensemble 'two'"
        ):
            use()


class Doubled(kd.teachers.Teacher):
    """A teacher of one's own: the logits at T are T times those of its model."""

    def __init__(self, model):
        super().__init__()
        self.model = model
        self.built = True

    def soft_targets(self, inputs):
        logits = self.model(inputs, training=False)
        return kd.answers.TemperedLogits(logits, lambda temperature: temperature * logits)


@pytest.mark.parametrize("temperature", [2.0, 8.0])
def test_a_teacher_of_ones_own_answers_at_the_temperature_of_the_loss(mlp, data, temperature):
    inner, student = mlp(), mlp(4)
    distiller = kd.Distiller(Doubled(inner), student, kd.losses.LogitsDistillation(temperature))
    distiller.compile(keras.optimizers.SGD(0.0))
    p, q = (softmax(np.array(model(data[0]), "float64") / T, -1) for model, T in ((inner, 1.0), (student, temperature)))
    loss = distiller.train_on_batch(data[0])[0]
    assert_allclose(loss, temperature**2 * (p * np.log(p / q)).sum(axis=-1).mean(), rtol=1e-4)
