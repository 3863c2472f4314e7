"""What a training step computes, against closed forms in NumPy."""

import keras
import numpy as np
import pytest
from numpy.testing import assert_allclose

import keras_distill as kd


def softmax(z):
    z = z - z.max(-1, keepdims=True)
    return np.exp(z) / np.exp(z).sum(-1, keepdims=True)


def soft_loss(v, z, temperature):
    p, q = (softmax(np.asarray(logits, "float64") / temperature) for logits in (v, z))
    return temperature**2 * (p * (np.log(p) - np.log(q))).sum(-1)


def hard_loss(y, z):
    return -np.log(softmax(z))[np.arange(len(y)), y]


def says(model, x):
    return np.array(model(x))


def distil(
    teacher,
    student,
    data,
    *,
    temperature=4.0,
    hard=0.3,
    compile_loss="sparse_categorical_crossentropy",
    eager=True,
    **fit,
):
    """Take one step; compiled where asked, as `test_fit.py` shows that every mode gives the same student."""
    distiller = kd.Distiller(teacher, student, kd.losses.LogitsDistillation(temperature), student_loss_weight=hard)
    distiller.compile(keras.optimizers.SGD(0.1), compile_loss, run_eagerly=eager)
    history = distiller.fit(*data, batch_size=len(data[0]), verbose=0, shuffle=False, **fit)
    return distiller, {name: values[0] for name, values in history.history.items()}


def test_first_step_equals_the_closed_form(mlp, data):
    teacher, student = mlp(16), mlp(4)
    (x, y), v, z = data, says(teacher, data[0]), says(student, data[0])
    before = student.layers[-1].kernel.numpy()
    hidden = np.maximum(x @ student.layers[0].kernel.numpy() + student.layers[0].bias.numpy(), 0.0)
    _, logs = distil(teacher, student, data, eager=False)
    assert_allclose(logs["student_loss"], hard_loss(y, z).mean(), rtol=1e-5)
    assert_allclose(logs["distillation_loss"], soft_loss(v, z, 4.0).mean(), rtol=1e-5)
    assert_allclose(logs["loss"], 0.3 * logs["student_loss"] + 0.7 * logs["distillation_loss"], rtol=1e-6)
    assert logs["total_loss"] == logs["loss"]
    assert logs["temperature"] == 4.0
    # The gradient with respect to the logits: 0.3 (q - y) + 0.7 T (q_T - p_T), each a mean over the batch.
    gradient = 0.3 * (softmax(z) - np.eye(3)[y]) + 0.7 * 4.0 * (softmax(z / 4.0) - softmax(v / 4.0))
    assert_allclose(student.layers[-1].kernel.numpy(), before - 0.1 * hidden.T @ gradient / len(x), atol=1e-6)


def test_sample_weight_counts_in_both_terms(mlp, data):
    teacher, student = mlp(16), mlp(4)
    (x, y), v, z = data, says(teacher, data[0]), says(student, data[0])
    weight = np.random.default_rng(1).uniform(size=len(x)).astype("float32")
    _, logs = distil(teacher, student, data, sample_weight=weight)
    assert_allclose(logs["student_loss"], (weight * hard_loss(y, z)).mean(), rtol=1e-5)
    assert_allclose(logs["distillation_loss"], (weight * soft_loss(v, z, 4.0)).mean(), rtol=1e-5)


def test_class_weight_counts_in_both_terms(mlp, data):
    teacher, student = mlp(16), mlp(4)
    (_, y), v, z = data, says(teacher, data[0]), says(student, data[0])
    _, logs = distil(teacher, student, data, class_weight={0: 2.0, 1: 0.0, 2: 0.5})
    weight = np.array([2.0, 0.0, 0.5])[y]
    assert_allclose(logs["student_loss"], (weight * hard_loss(y, z)).mean(), rtol=1e-5)
    assert_allclose(logs["distillation_loss"], (weight * soft_loss(v, z, 4.0)).mean(), rtol=1e-5)


def test_one_hot_labels_equal_sparse_ones(mlp, data):
    x, y = data
    teacher, student = mlp(16), mlp(4)
    copy = keras.models.clone_model(student)
    copy.set_weights(student.get_weights())
    _, sparse = distil(teacher, student, (x, y))
    _, dense = distil(teacher, copy, (x, np.eye(3, dtype="float32")[y]), compile_loss="categorical_crossentropy")
    assert_allclose(sparse["loss"], dense["loss"], rtol=1e-6)
    for one, other in zip(student.get_weights(), copy.get_weights(), strict=True):
        assert_allclose(one, other, atol=1e-7)


@pytest.mark.parametrize("compile_loss", [None, "sparse_categorical_crossentropy"])
def test_without_labels_the_soft_targets_are_the_loss(mlp, data, compile_loss):
    teacher, student = mlp(16), mlp(4)
    v, z = says(teacher, data[0]), says(student, data[0])
    _, logs = distil(teacher, student, (data[0],), compile_loss=compile_loss)
    assert_allclose(logs["loss"], soft_loss(v, z, 4.0).mean(), rtol=1e-5)
    assert ("student_loss" in logs) == (compile_loss is not None)


def test_unlabelled_step_equals_a_labelled_one_of_no_hard_weight(mlp, data):
    teacher, student = mlp(16), mlp(4)
    copy = keras.models.clone_model(student)
    copy.set_weights(student.get_weights())
    distil(teacher, student, data, hard=0.0)
    distil(teacher, copy, (data[0],), hard=0.5, compile_loss=None)
    for one, other in zip(student.get_weights(), copy.get_weights(), strict=True):
        assert_allclose(one, other, atol=1e-7)


@pytest.mark.parametrize("head", ["softmax", None])
@pytest.mark.parametrize("teacher_head", ["softmax", None])
def test_softmax_heads_are_looked_under(mlp, data, head, teacher_head):
    linear_teacher, linear_student = mlp(16), mlp(4)
    teacher, student = mlp(16, head=teacher_head), mlp(4, head=head)
    teacher.set_weights([10 * w for w in linear_teacher.get_weights()])  # Far beyond what clipping would keep.
    linear_teacher.set_weights(teacher.get_weights())
    student.set_weights(linear_student.get_weights())
    settings = {"temperature": 2.0, "eager": head != teacher_head}
    _, logs = distil(teacher, student, data, **settings)
    _, expected = distil(linear_teacher, linear_student, data, **settings)
    assert_allclose([logs[n] for n in expected], [expected[n] for n in expected], rtol=1e-6)
    for one, other in zip(student.get_weights(), linear_student.get_weights(), strict=True):
        assert_allclose(one, other, atol=1e-7)


def test_regularization_of_the_student_is_part_of_the_loss(mlp, data):
    student = keras.Sequential(
        [keras.Input((4,)), keras.layers.Dense(3, kernel_regularizer=keras.regularizers.L2(0.5))]
    )
    penalty = 0.5 * np.square(student.layers[0].kernel.numpy()).sum()
    _, logs = distil(mlp(16), student, data)
    assert_allclose(logs["loss"], 0.3 * logs["student_loss"] + 0.7 * logs["distillation_loss"] + penalty, rtol=1e-5)


def test_padded_positions_add_nothing_to_either_term(data):
    def tagger(width):
        inputs = keras.Input((None,), dtype="int32")
        embedded = keras.layers.Embedding(10, width, mask_zero=True)(inputs)
        return keras.Model(inputs, keras.layers.Dense(3)(keras.layers.GRU(width, return_sequences=True)(embedded)))

    teacher, student = tagger(8), tagger(4)
    tokens = np.array([[1, 2, 3, 4], [5, 6, 0, 0]], "int32")
    labels = np.array([[0, 1, 2, 0], [1, 2, 0, 0]], "int32")
    v, z = np.array(teacher(tokens)), np.array(student(tokens))
    kept = tokens > 0
    _, logs = distil(teacher, student, (tokens, labels), eager=False)
    assert_allclose(logs["student_loss"], hard_loss(labels[kept], z[kept]).mean(), rtol=1e-5)
    assert_allclose(logs["distillation_loss"], soft_loss(v[kept], z[kept], 4.0).mean(), rtol=1e-5)


def test_sample_weight_of_sequences_multiplies_its_samples():
    def tagger(width):
        return keras.Sequential([keras.Input((3,)), keras.layers.Embedding(10, width), keras.layers.Dense(3)])

    teacher, student = tagger(8), tagger(4)
    tokens, labels = np.arange(6).reshape(2, 3), np.array([[0, 1, 2], [2, 1, 0]])
    v, z, weight = np.array(teacher(tokens)), np.array(student(tokens)), np.array([2.0, 0.5], "float32")
    _, logs = distil(teacher, student, (tokens, labels), sample_weight=weight)
    soft = soft_loss(v, z, 4.0)
    assert_allclose(logs["distillation_loss"], (weight[:, None] * soft).mean(), rtol=1e-5)
    hard = hard_loss(labels.ravel(), z.reshape(-1, 3)).reshape(2, 3)
    assert_allclose(logs["student_loss"], (weight[:, None] * hard).mean(), rtol=1e-5)


def test_several_losses_are_weighted_and_logged_by_name(mlp, data):
    losses = [
        kd.losses.LogitsDistillation(3.0),
        kd.losses.LogitsDistillation(2.0),
        kd.losses.FeatureDistillation("mse", "hidden", "hidden"),
        kd.losses.LogitMatching(),
    ]
    teacher, student = mlp(8), mlp(8)
    x, y = data
    v, z = says(teacher, x), says(student, x)
    hidden = [says(keras.Model(m.inputs[0], m.get_layer("hidden").output), x) for m in (teacher, student)]
    distiller = kd.Distiller(teacher, student, losses, [1.0, 0.5, 2.0, 0.0], student_loss_weight=0.25)
    distiller.compile("sgd", "sparse_categorical_crossentropy", metrics=["accuracy"])
    logs = distiller.fit(x, y, batch_size=96, verbose=0).history
    assert list(logs) == [
        *("loss", "student_loss", "distillation_loss", "total_loss"),
        *("logits_distillation", "logits_distillation_1", "feature_distillation", "logit_matching"),
        *("temperature", "logits_distillation_temperature", "logits_distillation_1_temperature", "accuracy"),
    ]
    values = [soft_loss(v, z, 3.0).mean(), soft_loss(v, z, 2.0).mean(), np.square(hidden[0] - hidden[1]).mean()]
    assert_allclose([logs[name][0] for name in list(logs)[4:7]], values, rtol=1e-4)
    assert_allclose(logs["distillation_loss"][0], values[0] + 0.5 * values[1] + 2.0 * values[2], rtol=1e-4)
    assert logs["logits_distillation_1_temperature"] == [2.0]


def test_each_output_of_several_has_its_terms(data):
    def model(width):
        inputs = {"a": keras.Input((4,), name="a"), "b": keras.Input((2,), name="b")}
        joined = keras.layers.Dense(width)(keras.layers.Concatenate()(list(inputs.values())))
        outputs = {
            "digit": keras.layers.Dense(3, name="digit")(joined),
            "sign": keras.layers.Dense(2, name="sign")(joined),
        }
        return keras.Model(inputs, outputs)

    teacher, student = model(16), model(4)
    x, y = {"a": data[0], "b": data[0][:, :2]}, {"digit": data[1], "sign": (data[0][:, 0] > 0).astype("int32")}
    v, z = teacher.predict(x, verbose=0), student.predict(x, verbose=0)
    distiller = kd.Distiller(teacher, student, kd.losses.LogitsDistillation(2.0))
    distiller.compile(
        "sgd",
        {"digit": "sparse_categorical_crossentropy", "sign": "sparse_categorical_crossentropy"},
        metrics={"digit": ["accuracy"], "sign": ["accuracy"]},
    )
    logs = {k: v[0] for k, v in distiller.fit(x, y, batch_size=96, verbose=0).history.items()}
    assert_allclose(logs["distillation_loss"], sum(soft_loss(v[k], z[k], 2.0).mean() for k in y), rtol=1e-5)
    assert_allclose(logs["student_loss"], sum(hard_loss(y[k], z[k]).mean() for k in y), rtol=1e-5)
    assert_allclose(logs["digit_loss"], hard_loss(y["digit"], z["digit"]).mean(), rtol=1e-5)
    assert {"digit_accuracy", "sign_accuracy"} <= logs.keys()
