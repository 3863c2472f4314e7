"""Variational information distillation: the bound in closed form, pooling, learned variances, several layers."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from loss_table import pair

import keras_distill as kd
from keras_distill.features.adapters import Parallel
from keras_distill.features.variational import VariationalAdapter
from keras_distill.losses.feature_maps.variational import VID, vid

NAMES = {"teacher_layer_name": "teacher_map", "student_layer_name": "student_map"}


def pooled(x, size):
    """Average-pool `[B, H, W, C]` to `size x size`, cell by cell."""
    bounds = [(i * x.shape[1] // size, -(-(i + 1) * x.shape[1] // size)) for i in range(size)]
    return np.stack([np.stack([x[:, a:b, c:d].mean((1, 2)) for c, d in bounds], 1) for a, b in bounds], 1)


def bound(teacher, student, kernels, log_scale):
    """The loss of each sample in plain NumPy."""
    size = min(teacher.shape[1], student.shape[1])
    teacher, x = pooled(teacher, size), pooled(student, size)
    x = np.maximum(np.maximum(x @ kernels[0], 0) @ kernels[1], 0) @ kernels[2]
    variance = np.log1p(np.exp(log_scale)) + 1e-5
    return np.mean((x - teacher) ** 2 / variance + np.log(variance), axis=(1, 2, 3)) / 2


def arrays(adapter):
    """The kernels and the log-scale of an adapter, in float64."""
    kernels = [np.asarray(each.kernel.numpy(), "float64")[0, 0] for each in adapter.convolutions]
    return kernels, np.asarray(adapter.log_scale.numpy(), "float64")


def adapter_of(loss, teacher, student, dtype):
    made = loss.make_adapter(teacher.shape, student.shape)
    adapter = VariationalAdapter.from_config({**made.get_config(), "dtype": dtype})
    adapter.build(student.shape)
    # Otherwise all channels would have the same variance.
    adapter.log_scale.assign(adapter.log_scale + np.linspace(-1.0, 1.0, teacher.shape[-1]))
    return adapter


@pytest.mark.parametrize("dtype, rtol", [("float64", 1e-12), ("float32", 2e-5)])
@pytest.mark.parametrize(
    "teacher_shape, student_shape",
    [
        ((3, 6, 6, 5), (3, 6, 6, 4)),
        ((2, 3, 3, 7), (2, 7, 7, 2)),
        ((2, 7, 7, 3), (2, 4, 4, 3)),
        ((1, 1, 1, 1), (1, 1, 1, 1)),
    ],
)
def test_values(teacher_shape, student_shape, dtype, rtol):
    teacher, student = pair(*teacher_shape, dtype=dtype)[0], pair(*student_shape, seed=1, dtype=dtype)[1]
    loss = VID(0.5, **NAMES)
    adapter = adapter_of(loss, teacher, student, dtype)
    wanted = bound(teacher.astype("float64"), student.astype("float64"), *arrays(adapter))
    got = loss.compute_loss(teacher, student, adapter=adapter)
    np.testing.assert_allclose(got, wanted.mean(), rtol=rtol)


def test_gradient_of_the_variance():
    teacher, student = pair(4, 3, 3, 5, dtype="float64")
    adapter = adapter_of(VID(**NAMES), teacher, student, "float64")
    with tf.GradientTape() as tape:
        value = VID(**NAMES).compute_loss(teacher, student, adapter=adapter)
    kernels, log_scale = arrays(adapter)
    step = 1e-5 * np.eye(5)
    slopes = [
        (bound(teacher, student, kernels, log_scale + each) - bound(teacher, student, kernels, log_scale - each)).mean()
        for each in step
    ]
    np.testing.assert_allclose(tape.gradient(value, adapter.log_scale.value), np.array(slopes) / 2e-5, rtol=1e-6)


def test_the_best_variance_is_the_mean_squared_error():
    teacher, mean = pair(6, 4, 4, 3, dtype="float64")
    best = np.mean((teacher - mean) ** 2, axis=(0, 1, 2))
    values = [float(np.mean(vid(teacher, mean, factor * best))) for factor in (0.8, 1.0, 1.25)]
    assert values[1] < values[0] and values[1] < values[2]
    np.testing.assert_allclose(values[1], 0.5 + np.log(best).mean() / 2)


@pytest.mark.parametrize("variance", [1.1e-5, 1e-3, 0.05, 5.0, 1e4])
def test_initial_variance(variance):
    adapter = VariationalAdapter(3, variance)
    adapter.build((None, 2, 2, 4))
    np.testing.assert_allclose(adapter.variance, variance, rtol=1e-5)
    assert adapter.log_scale.dtype == "float32" and adapter.log_scale.trainable


def test_several_layers_add_up_each_with_its_own_adapter():
    shapes = [((2, 4, 4, 5), (2, 4, 4, 3)), ((2, 2, 2, 6), (2, 4, 4, 2))]
    teachers = [pair(*teacher)[0] for teacher, _ in shapes]
    students = [pair(*student, seed=2)[1] for _, student in shapes]
    loss = VID(teacher_layer_name=["a", "b"], student_layer_name=["a", "b"])
    adapter = loss.make_adapter([each.shape for each in teachers], [each.shape for each in students])
    adapter.build([each.shape for each in students])
    assert isinstance(adapter, Parallel) and [each.width for each in adapter.layers] == [5, 6]
    single = [
        float(loss.compute_loss(teacher, student, adapter=each))
        for teacher, student, each in zip(teachers, students, adapter.layers, strict=True)
    ]
    np.testing.assert_allclose(loss.compute_loss(teachers, students, adapter=adapter), sum(single), rtol=1e-6)


def test_zeros_and_large_values_stay_finite():
    adapter = VariationalAdapter(3, 1.1e-5)
    adapter.build((None, 4, 4, 2))
    loss = VID(**NAMES)
    for teacher in (np.zeros((1, 4, 4, 3), "float32"), np.full((1, 4, 4, 3), 1e4, "float32")):
        with tf.GradientTape() as tape:
            value = loss.compute_loss(teacher, np.zeros((1, 4, 4, 2), "float32"), adapter=adapter)
        gradients = tape.gradient(value, [each.value for each in adapter.trainable_variables])
        assert np.isfinite(value) and all(np.isfinite(each).all() for each in gradients)


def test_training_the_adapter_lowers_the_bound():
    teacher, student = pair(8, 4, 4, 6)[0], pair(8, 4, 4, 3, seed=1)[1]
    loss, optimizer = VID(**NAMES), keras.optimizers.Adam(0.05)
    adapter = loss.make_adapter(teacher.shape, student.shape)
    adapter.build(student.shape)
    values = []
    for _ in range(30):
        with tf.GradientTape() as tape:
            value = loss.compute_loss(teacher, student, adapter=adapter)
        optimizer.apply(
            tape.gradient(value, [each.value for each in adapter.trainable_variables]), adapter.trainable_variables
        )
        values.append(float(value))
    assert values[-1] < values[0] - 0.01


def test_bad_input():
    with pytest.raises(ValueError, match="initial_variance to be a finite number > 1e-05"):
        VID(1e-5)
    with pytest.raises(ValueError, match="features of the same shape"):
        vid(np.zeros((1, 2, 2, 3)), np.zeros((1, 2, 2, 4)), np.ones(3))
    with pytest.raises(ValueError, match="adapter, which the loss 'vid' needs"):
        VID(**NAMES).compute_loss(np.zeros((1, 2, 2, 3)), np.zeros((1, 2, 2, 3)))


@pytest.mark.parametrize("shape", [(3, 6, 4), (3, 4)])
def test_sequences_and_vectors_are_maps_of_one_column(shape):
    teacher, student = pair(*shape[:-1], 5, dtype="float64")[0], pair(*shape, seed=1, dtype="float64")[1]
    adapter = adapter_of(VID(0.5, **NAMES), teacher, student, "float64")
    maps = [features.reshape(3, -1, 1, features.shape[-1]) for features in (teacher, student)]
    got = VID(0.5, **NAMES).compute_loss(teacher, student, adapter=adapter)
    np.testing.assert_allclose(got, bound_of_maps(*maps, *arrays(adapter)).mean(), rtol=1e-12)


def bound_of_maps(teacher, student, kernels, log_scale):
    x = np.maximum(np.maximum(student @ kernels[0], 0) @ kernels[1], 0) @ kernels[2]
    variance = np.log1p(np.exp(log_scale)) + 1e-5
    return np.mean((x - teacher) ** 2 / variance + np.log(variance), axis=(1, 2, 3)) / 2


def sequence_model(width, inputs, hidden):
    hidden = keras.layers.Dense(width, name="hidden")(hidden)
    return keras.Model(inputs, keras.layers.Dense(3)(keras.layers.GlobalAveragePooling1D()(hidden)))


def test_padding_of_sequences_is_left_out():
    def model(width):
        inputs = keras.Input((None,))
        return sequence_model(width, inputs, keras.layers.Embedding(9, width, mask_zero=True)(inputs))

    tokens = np.array([[1, 2, 3, 4, 0, 0], [5, 6, 7, 8, 0, 0]])
    vid_loss = VID(0.001, teacher_layer_name="hidden", student_layer_name="hidden")
    distiller = kd.Distiller(model(5), model(3), vid_loss)
    distiller.compile("sgd", run_eagerly=True)

    def loss(tokens, **weights):
        labels = np.zeros(len(tokens))  # Keras drops weights without labels.
        return distiller.evaluate(tokens, labels, **weights, return_dict=True, verbose=0)["loss"]

    assert loss(tokens) == pytest.approx(loss(tokens[:, :4]), rel=1e-6)
    assert loss(tokens, sample_weight=np.array([1.0, 0.0])) == pytest.approx(loss(tokens[:1]) / 2, rel=1e-6)


@pytest.mark.parametrize("method", ["at", "ab", "ft", "nst"])
def test_losses_of_maps_name_what_they_take(method):
    inputs = keras.Input((6, 2))
    loss = kd.losses.get(method, teacher_layer_name="hidden", student_layer_name="hidden")
    with pytest.raises(
        ValueError, match=r"feature maps \[batch, height, width, channels\].*Received: teacher features"
    ):
        kd.Distiller(*(sequence_model(width, inputs, inputs) for width in (5, 3)), loss)
