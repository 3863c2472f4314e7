"""A student never notices whether its teacher's answers are live or stored."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from numpy.testing import assert_allclose, assert_array_equal

import keras_distill as kd
from keras_distill import targets
from keras_distill.teachers import Trust, as_teacher

DENSE = [name for name, method in kd.losses.METHODS.items() if method.family == "logits"]


def make_model(width, seed):
    keras.utils.set_random_seed(seed)
    layers = [keras.Input((4,)), keras.layers.Dense(width, activation="relu", name="hidden"), keras.layers.Dense(3)]
    return keras.Sequential(layers)


@pytest.fixture(scope="module")
def teacher():
    return make_model(16, 0)


@pytest.fixture(scope="module")
def dataset():
    x = np.random.default_rng(0).normal(size=(48, 4)).astype("float32")
    return tf.data.Dataset.from_tensor_slices((x, np.argmax(x[:, :3], -1))).batch(16)


@pytest.fixture(scope="module")
def folder(teacher, dataset, tmp_path_factory):
    """The folder of a dense store, with a layer, and of one of the two greatest classes."""
    folder = tmp_path_factory.mktemp("stores")
    targets.write(teacher, dataset, folder / "dense", dtype="float32", features=["hidden"])
    targets.write(teacher, dataset, folder / "top", dtype="float32", top_k=2, temperatures=(1.0, 4.0))
    return folder


@pytest.fixture(scope="module")
def dense(folder):
    return targets.open(folder / "dense")


@pytest.fixture(scope="module")
def top(folder):
    return targets.open(folder / "top")


def train(teacher, dataset, losses="kd", width=4, compile_loss="sparse_categorical_crossentropy", epochs=1, **options):
    compiled = {"fidelity": options.pop("fidelity", False), "run_eagerly": options.pop("eager", True)}
    distiller = kd.Distiller(teacher, make_model(width, 1), losses, student_loss_weight=0.3, **options)
    distiller.compile(keras.optimizers.Adam(0.01), compile_loss, **compiled)
    return distiller, distiller.fit(dataset, epochs=epochs, verbose=0).history


def assert_same(one, other):
    (one, logs), (other, other_logs) = one, other
    assert logs == other_logs
    for weights, other_weights in zip(one.get_weights(), other.get_weights(), strict=True):
        assert_array_equal(weights, other_weights)


def terms(teacher, data, losses, **options):
    """The soft terms of the first batch, as numbers."""
    distiller = kd.Distiller(teacher, make_model(4, 1), losses, **options)
    x, y, *rest = next(iter(data))
    outputs = distiller.teacher_outputs(x, rest[-1] if rest else {}), distiller.student_outputs(x, training=False)
    return {name: float(each) for name, each in distiller.objective.soft_terms(*outputs, None, labels=y).items()}


def test_every_loss_of_logits_has_the_same_value_to_the_bit(teacher, dense, dataset):
    live = terms(teacher, dataset, DENSE)
    assert terms(dense, dense.join(dataset), DENSE) == live
    assert len(live) == len(DENSE)


@pytest.mark.slow
def test_a_fixed_pipeline_trains_to_the_same_bits(teacher, dense, dataset):
    losses = ["kd", "dkd", "ctkd"]  # The last learns a temperature.
    live = train(teacher, dataset, losses, epochs=2, eager=False)
    assert_same(train(dense, dense.join(dataset), losses, epochs=2, eager=False), live)


def test_any_order_by_key_is_as_live(teacher, dense, dataset):
    order = np.random.default_rng(3).permutation(48)
    parts = (np.concatenate([np.asarray(each) for each in part])[order] for part in zip(*dataset, strict=True))
    shuffled = tf.data.Dataset.from_tensor_slices(tuple(parts)).batch(16)
    live, stored = terms(teacher, shuffled, "kd"), terms(dense, dense.join(shuffled, "any"), "kd")
    assert_allclose(stored["kd"], live["kd"], rtol=1e-6)  # The teacher was asked in other batches.


def test_features_out_of_the_store(teacher, dense, dataset):
    losses = [kd.losses.FeatureDistillation("mse", "hidden", "hidden"), kd.losses.get("kd")]
    live, stored = train(teacher, dataset, losses), train(dense, dense.join(dataset), losses)
    assert_same(stored, live)
    assert [each is None for each in stored[0].objective.adapters] == [False, True]  # From 4 units to the 16 stored.


@pytest.mark.parametrize("names, message", [(("auto", "auto"), "layers by name"), (("other", "hidden"), "hidden")])
def test_layers_that_are_not_stored(dense, names, message):
    with pytest.raises(ValueError, match=message):
        kd.Distiller(dense, make_model(4, 1), kd.losses.FeatureDistillation("mse", *names))


def test_trust_is_as_with_a_live_teacher(teacher, dense, dataset):
    trust = Trust(min_confidence=0.5, contradicting="replace", low_confidence="weigh")
    stored = terms(dense, dense.join(dataset), "kd", trust=trust)
    assert stored == terms(teacher, dataset, "kd", trust=trust) != terms(teacher, dataset, "kd")


def test_trust_refuses_the_greatest_alone(top, dataset):
    with pytest.raises(ValueError, match="soft targets of all classes where `trust` is given"):
        train(top, top.join(dataset), trust=Trust(min_confidence=0.5))


def test_agreement_needs_the_greatest_class_alone(teacher, top, dataset):
    live, _ = train(teacher, dataset, fidelity=True)
    stored, logs = train(top, top.join(dataset), fidelity=True)
    stored.student.set_weights(live.student.get_weights())
    found = stored.evaluate(top.join(dataset), verbose=0, return_dict=True)
    wanted = live.evaluate(dataset, verbose=0, return_dict=True)
    assert found.keys() == wanted.keys() and "agreement" in logs
    assert found["agreement"] == wanted["agreement"]
    assert_allclose(found["distillation_loss"], wanted["distillation_loss"], rtol=1e-5)  # The rest is one class.


def test_evaluation_on_labels_needs_no_soft_targets(dense, dataset):
    distiller, _ = train(dense, dense.join(dataset))
    assert "student_loss" in distiller.evaluate(dataset, verbose=0, return_dict=True)


@pytest.mark.parametrize("compile_loss", ["sparse_categorical_crossentropy", None])
def test_a_batch_without_soft_targets_names_the_way_to_get_them(dense, dataset, compile_loss):
    with pytest.raises(ValueError, match=r"store\.join\(dataset\)"):
        train(dense, dataset, compile_loss=compile_loss)


def test_classes_must_be_those_of_the_student(dense):
    student = keras.Sequential([keras.Input((4,)), keras.layers.Dense(5)])
    with pytest.raises(ValueError, match="outputs of the same shapes"):
        kd.Distiller(dense, student, "kd")


def test_compute_loss_takes_the_extras(dense, dataset):
    distiller, _ = train(dense, dense.join(dataset), compile_loss=None)
    x, _, _, extras = next(iter(dense.join(dataset)))
    wanted = kd.losses.get("kd").compute_loss(extras["soft_targets"]["values"], distiller.student(x))
    assert_allclose(distiller.compute_loss(x, extras=extras), wanted, rtol=1e-6)


def test_a_saved_distiller_knows_its_store_by_path_and_fingerprint(dense, dataset, tmp_path):
    distiller, _ = train(dense, dense.join(dataset))
    distiller.save(tmp_path / "d.keras")
    loaded = keras.models.load_model(tmp_path / "d.keras")
    assert loaded.get_config()["teacher"]["config"]["fingerprint"] == dense.fingerprint
    logs = [each.fit(dense.join(dataset), verbose=0).history for each in (distiller, loaded)]
    assert logs[0] == logs[1]


def test_a_store_and_its_path_are_teachers(dense, folder, tmp_path):
    for each in (dense, folder / "dense", str(folder / "dense")):
        assert as_teacher(each).store.fingerprint == dense.fingerprint
    with pytest.raises(ValueError, match="leave `outputs` out"):
        as_teacher(dense, outputs="probabilities")
    with pytest.raises(ValueError, match="manifest.json"):
        as_teacher(tmp_path)


def test_tokens_of_padded_sequences(tmp_path):
    keras.utils.set_random_seed(0)

    def model(width):
        layers = [keras.layers.Embedding(9, width, mask_zero=True), keras.layers.Dense(9)]
        return keras.Sequential([keras.Input((5,), dtype="int32"), *layers])

    tokens = np.array([[1, 2, 3, 0, 0], [4, 5, 6, 7, 8]] * 4, "int32")
    teacher, student = model(8), model(4)
    weights, logs = student.get_weights(), []
    store = targets.write(teacher, tokens, tmp_path / "tokens", top_k=9, dtype="float32", batch_size=8)
    for each, data in ((teacher, tf.data.Dataset.from_tensor_slices(tokens).batch(8)), (store, None)):
        student.set_weights(weights)
        distiller = kd.Distiller(each, student, kd.losses.LogitsDistillation(2.0))
        distiller.compile("sgd")
        data = store.join(tokens, batch_size=8) if data is None else data
        logs.append(distiller.fit(data, verbose=0).history["loss"][0])
    assert_allclose(logs[1], logs[0], rtol=1e-5)
