"""Methods inside the Distiller: by name, with labels, with adapters, on layers of any model."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from numpy.testing import assert_allclose, assert_array_equal

import keras_distill as kd


def convnet(width, name):
    layers = [keras.layers.Conv2D(width, 3, padding="same", activation="relu", name="map")]
    layers += [keras.layers.GlobalAveragePooling2D(name="embedding"), keras.layers.Dense(3, name="logits")]
    return keras.Sequential([keras.Input((6, 6, 1)), *layers], name=name)


@pytest.fixture
def pictures():
    generator = np.random.default_rng(0)
    return generator.normal(size=(32, 6, 6, 1)).astype("float32"), generator.integers(0, 3, 32)


def distil(losses, pictures, epochs=1, y=True, eager=True, **arguments):
    """Train step by step; that every method compiles is shown by the tests of the losses."""
    distiller = kd.Distiller(convnet(8, "teacher"), convnet(4, "student"), losses, **arguments)
    distiller.compile(keras.optimizers.Adam(0.01), "sparse_categorical_crossentropy", run_eagerly=eager)
    x, labels = pictures
    history = distiller.fit(x, labels if y else None, batch_size=16, epochs=epochs, shuffle=False, verbose=0)
    return distiller, history.history


@pytest.mark.slow
def test_losses_by_name(pictures):
    distiller, logs = distil(["dkd", kd.losses.RKD(), "at", "logit_std_kd"], pictures, eager=False)
    kinds = [kd.losses.DKD, kd.losses.RKD, kd.losses.AT, kd.losses.LogitStandardization]
    assert [type(loss) for loss in distiller.distillation_losses] == kinds
    assert {"dkd", "rkd", "at", "logit_std_kd", "dkd_temperature", "logit_std_kd_temperature"} <= logs.keys()
    assert distiller.distillation_losses[1].teacher_layer_name == "embedding"
    assert distiller.distillation_losses[2].student_layer_name == "map"
    assert sum(logs[name][0] for name in ("dkd", "rkd", "at", "logit_std_kd")) == pytest.approx(
        logs["distillation_loss"][0], rel=1e-5
    )
    again = kd.Distiller.from_config(distiller.get_config())
    assert [repr(loss) for loss in again.distillation_losses] == [repr(loss) for loss in distiller.distillation_losses]


def test_labels_reach_the_loss_that_needs_them(pictures):
    x, y = pictures
    distiller, _ = distil("dkd", pictures)
    v, z = distiller.teacher(x), distiller.student(x)
    wanted = np.mean(kd.losses.functional.dkd(v, z, y))
    assert_allclose(
        distiller.compute_loss(x, y), 0.5 * wanted + 0.5 * distiller.compute_loss(x, y, training=False), rtol=1e-5
    )
    with pytest.raises(ValueError, match=r"^Expected labels, which the loss 'dkd' needs\. Received: none\. Train with"):
        distil("dkd", pictures, y=False)


def test_without_the_hard_term_labels_still_reach_the_loss(pictures):
    distiller = kd.Distiller(convnet(8, "teacher"), convnet(4, "student"), "wsld")
    distiller.compile("sgd")
    logs = distiller.fit(*pictures, verbose=0).history
    assert logs["loss"] == logs["distillation_loss"] and "student_loss" not in logs


@pytest.mark.parametrize("method", ["fitnet", "vid", "reviewkd_hcl", "ctkd"])
def test_what_is_trained_along(method, pictures, tmp_path):
    distiller, _ = distil(method, pictures, epochs=2)
    before = [np.array(weight) for weight in distiller.objective.adapters[0].weights]
    distiller.fit(*pictures, epochs=1, batch_size=16, verbose=0)
    after = distiller.objective.adapters[0].weights
    trained = {id(variable) for variable in distiller.optimizer._trainable_variables}
    assert any(id(weight) in trained for weight in after)
    assert any(np.any(one != np.array(other)) for one, other in zip(before, after, strict=True))
    distiller.save(tmp_path / "d.keras")
    loaded = keras.models.load_model(tmp_path / "d.keras")
    for one, other in zip(after, loaded.objective.adapters[0].weights, strict=True):
        assert_array_equal(one, other)
    assert_allclose(loaded.compute_loss(*pictures), distiller.compute_loss(*pictures), rtol=1e-5)
    # It is the distiller's: the student that leaves is the one that came.
    assert distiller.student.count_params() == convnet(4, "student").count_params()
    assert not {id(weight) for weight in after} & {id(weight) for weight in distiller.student.weights}


def test_learned_temperature_rests_and_then_works_against_the_student(pictures):
    loss = kd.losses.CTKD(ramp_epochs=2)
    distiller, logs = distil(loss, pictures, epochs=4)
    temperatures = logs["temperature"]
    assert temperatures[0] == pytest.approx(1 + 20 / (1 + np.exp(-1)), rel=1e-6)  # The gradient's scale starts at 0.
    assert len(set(temperatures)) == 4
    adapter, (x, _) = distiller.objective.adapters[0], pictures
    v, z = distiller.teacher(x), distiller.student(x)

    def loss_at(raw):
        return float(np.mean(kd.losses.functional.kd(v, z, 1 + 20 / (1 + np.exp(-raw)))))

    raw = float(adapter.global_T.numpy())
    slope = (loss_at(raw + 1e-2) - loss_at(raw - 1e-2)) / 2e-2
    with tf.GradientTape() as tape:
        value = loss.compute_loss(v, z, adapter=adapter)
    assert_allclose(tape.gradient(value, adapter.global_T.value), -slope, rtol=2e-2)


def test_features_of_nested_and_subclassed_models(pictures):
    class Student(keras.Model):
        def __init__(self):
            super().__init__(name="student")
            self.body = convnet(4, "body")

        def call(self, x, training=None):
            return self.body(x, training=training)

    inner = convnet(8, "backbone")
    inputs = keras.Input((6, 6, 1))
    teacher, student = keras.Model(inputs, inner(inputs), name="teacher"), Student()
    student(pictures[0])
    loss = kd.losses.FeatureDistillation("mse", "backbone/map", "map", preactivation=True)
    distiller = kd.Distiller(teacher, student, loss, student_loss_weight=0.0)
    distiller.compile(keras.optimizers.SGD(0.0), "sparse_categorical_crossentropy")
    x, y = pictures
    logs = distiller.train_on_batch(x, y, return_dict=True)
    maps = [
        keras.ops.conv(x, body.get_layer("map").kernel, padding="same") + body.get_layer("map").bias
        for body in (inner, student.body)
    ]
    adapted = distiller.objective.adapters[0](maps[1])
    assert_allclose(logs["distillation_loss"], np.mean((maps[0] - adapted) ** 2), rtol=1e-4)


def test_extras_reach_the_loss_that_names_them(pictures):
    class Weighted(kd.losses.DistillationLoss):
        def per_sample(self, teacher_output, student_output, index):
            return keras.ops.cast(index, "float32")

    x, y = pictures
    batches = kd.data.indexed(x, y, batch_size=32, shuffle=False)
    distiller = kd.Distiller(convnet(8, "teacher"), convnet(4, "student"), Weighted(), student_loss_weight=0.1)
    distiller.compile("sgd", "sparse_categorical_crossentropy")
    logs = distiller.fit(batches, verbose=0).history
    assert logs["distillation_loss"] == [pytest.approx(15.5)]
    with pytest.raises(
        ValueError, match=r"^Expected index, which the loss 'weighted' needs\. Received: none\. Train on "
    ):
        distiller.fit(x, y, verbose=0)
    bad = tf.data.Dataset.from_tensors((x, y, np.ones(32, "float32"), np.arange(32)))
    with pytest.raises(ValueError, match="^Expected a dict as the fourth part of a batch"):
        distiller.fit(bad, verbose=0)


def test_a_teacher_of_several_models_is_asked_at_the_temperature_of_the_loss(pictures):
    x, _ = pictures
    members = [convnet(8, "one"), convnet(8, "two")]
    teacher, student = kd.teachers.Ensemble(members), convnet(4, "student")
    distiller = kd.Distiller(teacher, student, kd.losses.LogitsDistillation(4.0), student_loss_weight=0.0)
    distiller.compile(keras.optimizers.SGD(0.0))
    for temperature in (4.0, 1.5):
        distiller.temperature = temperature
        p = np.mean([keras.ops.softmax(member(x) / temperature) for member in members], axis=0)
        q = np.array(keras.ops.softmax(student(x) / temperature))
        wanted = temperature**2 * np.mean(np.sum(p * np.log(p / q), -1))
        assert_allclose(distiller.train_on_batch(x, return_dict=True)["loss"], wanted, rtol=1e-3)


def test_trust_decides_which_soft_targets_count(pictures, tmp_path):
    x, y = pictures
    for trust, keep in (
        (kd.teachers.Trust(contradicting="ignore"), lambda p: p.argmax(-1) == y),
        (kd.teachers.Trust(min_confidence=0.36), lambda p: p.max(-1) >= 0.36),
    ):
        distiller, _ = distil(kd.losses.LogitsDistillation(2.0), pictures, trust=trust)
        v, z = distiller.teacher(x), distiller.student(x)
        kept = keep(np.array(keras.ops.softmax(v)))
        assert 0 < kept.sum() < len(kept)
        values = np.where(kept, kd.losses.functional.kd(v, z, 2.0), 0.0)
        hard = distiller.compute_loss(x, y, training=False)
        assert_allclose(distiller.compute_loss(x, y), 0.5 * hard + 0.5 * values.mean(), rtol=1e-5)
        distiller.save(tmp_path / "d.keras")
        loaded = keras.models.load_model(tmp_path / "d.keras")
        assert_allclose(loaded.compute_loss(x, y), distiller.compute_loss(x, y), rtol=1e-5)
    with pytest.raises(ValueError, match="^Expected trust to be a Trust or None"):
        distil("kd", pictures, trust=0.5)
