"""Metrics of fidelity in `compile`: fed with the teacher's outputs, in training and in evaluation."""

import keras
import numpy as np
import pytest

import keras_distill as kd

X = np.random.default_rng(0).normal(size=(12, 4)).astype("float32")
Y = np.arange(12) % 3


def model(name):
    return keras.Sequential([keras.Input((4,)), keras.layers.Dense(3)], name=name)


def metrics():
    own = kd.metrics
    return ["accuracy", own.TeacherDivergence(name="kl"), own.TeacherDivergence("training", name="kl_hot")]


def distiller(**options):
    keras.utils.set_random_seed(1)
    made = kd.Distiller(model("teacher"), model("student"), kd.losses.LogitsDistillation(temperature=3.0))
    options = {"metrics": metrics(), "run_eagerly": True, **options}
    made.compile(keras.optimizers.SGD(0.0), "sparse_categorical_crossentropy", **options)
    return made


def expected_kl(trained, temperature):
    outputs = [each.predict(X, verbose=0) for each in (trained.teacher, trained.student)]
    return kd.metrics.teacher_divergence(*outputs, temperature=temperature)


@pytest.mark.parametrize("compiled", [False, True])
def test_they_see_the_teacher(compiled):
    trained = distiller(run_eagerly=not compiled)
    logs = trained.fit(X, Y, batch_size=5, validation_data=(X, Y), verbose=0).history
    names = ["accuracy", "kl", "kl_hot"]
    assert [name for name in logs if name in names] == names
    for prefix in ("", "val_"):
        assert logs[f"{prefix}kl"][0] == pytest.approx(expected_kl(trained, 1.0), rel=1e-5)
        assert logs[f"{prefix}kl_hot"][0] == pytest.approx(expected_kl(trained, 3.0), rel=1e-5)
    assert "agreement" not in logs


def test_they_follow_the_temperature_of_the_training():
    trained = distiller()
    trained.temperature = 7.0
    logs = trained.evaluate(X, Y, verbose=0, return_dict=True)
    assert logs["kl_hot"] == pytest.approx(expected_kl(trained, 7.0), rel=1e-5)


def test_sample_weights_count():
    weight = (np.arange(12) < 4).astype("float32")
    trained = distiller()
    logs = trained.evaluate(X, Y, sample_weight=weight, verbose=0, return_dict=True)
    first = [each.predict(X[:4], verbose=0) for each in (trained.teacher, trained.student)]
    assert logs["kl"] == pytest.approx(kd.metrics.teacher_divergence(*first), rel=1e-5)


def test_one_alone_and_with_agreement():
    trained = distiller(metrics=kd.metrics.TeacherDivergence(name="kl"), fidelity=True)
    assert [metric.name for metric in trained.fidelity_metrics] == ["agreement", "kl"]
    assert {"agreement", "kl"} <= trained.evaluate(X, Y, verbose=0, return_dict=True).keys()


def test_agreement_of_ones_own():
    logs = distiller(metrics=[kd.metrics.Agreement()]).evaluate(X, Y, verbose=0, return_dict=True)
    assert 0.0 < logs["agreement"] < 1.0


def test_without_labels():
    logs = distiller().fit(X, verbose=0).history
    assert "kl" in logs
    assert "accuracy" not in logs


def test_they_come_back_with_a_saved_distiller(tmp_path):
    trained = distiller(run_eagerly=False)
    trained.fit(X, Y, verbose=0)
    trained.save(tmp_path / "distiller.keras")
    loaded = keras.saving.load_model(tmp_path / "distiller.keras")
    before, after = (each.evaluate(X, Y, verbose=0, return_dict=True) for each in (trained, loaded))
    assert after == pytest.approx(before)


def test_in_a_dict_they_are_refused():
    with pytest.raises(ValueError, match="Expected fidelity metrics in a flat list. Received: 'kl' in a dict"):
        distiller(metrics={"dense": kd.metrics.TeacherDivergence(name="kl")})
