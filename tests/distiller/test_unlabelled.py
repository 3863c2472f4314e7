"""Transfer sets without labels, or with some: the soft term from all, the hard term from the labelled."""

import keras
import numpy as np
import pytest

import keras_distill as kd

PARTLY = np.where(np.arange(96) % 3 == 0, -1, 0)


def models(mlp):
    keras.utils.set_random_seed(3)
    return mlp(16), mlp(4)


def trained(mlp, x, y, weight=0.5, **kwargs):
    """Return the weights of a student after one step of SGD, and the logs."""
    distiller = kd.Distiller(*models(mlp), kd.losses.LogitsDistillation(3.0), student_loss_weight=weight)
    compiled = kwargs or {"run_eagerly": True}
    distiller.compile("sgd", "sparse_categorical_crossentropy" if y is not None else None, **compiled)
    logs = distiller.fit(x, y, batch_size=96, verbose=0, shuffle=False).history
    return distiller.student.get_weights(), {name: values[-1] for name, values in logs.items()}


def assert_close(one, other):
    for first, second in zip(one, other, strict=True):
        np.testing.assert_allclose(first, second, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("jit_compile", [False, True])
def test_the_terms_of_a_partly_labelled_batch(mlp, data, jit_compile):
    x, y = data
    labels = np.where(PARTLY < 0, -1, y)
    _, logs = trained(mlp, x, labels, jit_compile=jit_compile)
    teacher, student = models(mlp)
    hard = keras.losses.SparseCategoricalCrossentropy(from_logits=True)(y[PARTLY == 0], student(x[PARTLY == 0]))
    soft = kd.losses.LogitsDistillation(3.0).compute_loss(teacher(x), student(x))
    np.testing.assert_allclose(logs["student_loss"], hard, rtol=1e-5)
    np.testing.assert_allclose(logs["distillation_loss"], soft, rtol=1e-5)
    np.testing.assert_allclose(logs["loss"], 0.5 * hard + 0.5 * soft, rtol=1e-5)


def test_nothing_labelled_trains_on_the_soft_term_by_its_weight(mlp, data):
    x, _ = data
    weights, logs = trained(mlp, x, np.full(96, -1), weight=0.25)
    assert logs["student_loss"] == 0.0
    np.testing.assert_allclose(logs["loss"], 0.75 * logs["distillation_loss"], rtol=1e-6)
    start = models(mlp)[1].get_weights()
    alone, _ = trained(mlp, x, None)
    assert_close([w - s for w, s in zip(weights, start, strict=True)],
                 [0.75 * (w - s) for w, s in zip(alone, start, strict=True)])  # fmt: skip


def test_an_unlabelled_sample_moves_as_a_labelled_one_without_hard_weight(mlp, data):
    x, y = data
    unlabelled, _ = trained(mlp, x, np.full(96, -1), weight=0.0)
    labelled, _ = trained(mlp, x, y, weight=0.0)
    assert_close(unlabelled, labelled)


@pytest.mark.parametrize("y", [None, np.full(96, -1)], ids=["no labels", "labels of -1"])
def test_a_loss_that_needs_labels_has_none(mlp, data, y):
    distiller = kd.Distiller(*models(mlp), "dkd")
    distiller.compile("sgd", "sparse_categorical_crossentropy")
    if y is None:
        with pytest.raises(
            ValueError, match=r"^Expected labels, which the loss 'dkd' needs\. Received: none\. .*fit\(x, y"
        ):
            distiller.fit(data[0], verbose=0)
    else:
        assert distiller.fit(data[0], y, verbose=0).history["loss"] == [0.0]


def test_mixed_batches_train(mlp, data):
    x, y = data
    distiller = kd.Distiller(*models(mlp), "kd")
    metrics = [keras.metrics.SparseCategoricalAccuracy(name="accuracy")]
    distiller.compile(keras.optimizers.Adam(0.03), "sparse_categorical_crossentropy", metrics=metrics)
    batches = kd.data.mix((x[:32], y[:32]), x[32:], ratio=0.75, batch_size=16, seed=0)
    history = distiller.fit(batches, epochs=6, shuffle=False, verbose=0).history
    assert len(batches) == 8
    assert history["loss"][-1] < 0.8 * history["loss"][0]
    assert history["accuracy"][-1] > history["accuracy"][0]


def test_both_see_the_view_and_the_inner_student_is_exported_without_it(mlp, data):
    x, _ = data
    teacher, student = models(mlp)
    noisy = keras.Sequential([keras.Input((4,)), keras.layers.GaussianNoise(0.5, seed=1), student])
    seen = []
    teacher_of = kd.Distiller.teacher_outputs

    class Watched(kd.Distiller):
        def teacher_outputs(self, x):
            seen.append(np.array(x))
            return teacher_of(self, x)

    distiller = Watched(teacher, noisy, "kd")
    distiller.compile("sgd", run_eagerly=True)
    before = student.get_weights()
    (view,) = next(iter(kd.data.mixup(x, batch_size=96, seed=2)))
    distiller.fit(kd.data.mixup(x, batch_size=96, seed=2), verbose=0)
    np.testing.assert_array_equal(seen[0], view)
    assert any((one != two).any() for one, two in zip(before, student.get_weights(), strict=True))
    assert "gaussian_noise" not in " ".join(layer.name for layer in student._flatten_layers())
    np.testing.assert_allclose(student(x, training=True), noisy(x, training=False), rtol=1e-6)
    assert not np.allclose(student(x, training=True), noisy(x, training=True))
