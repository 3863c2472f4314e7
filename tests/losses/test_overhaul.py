"""The overhaul of feature distillation: margins in arbitrary precision, the partial distance, sources of margins."""

import keras
import mpmath
import numpy as np
import pytest
from loss_table import pair, value_and_gradient

import keras_distill as kd
from keras_distill.features.adapters import Parallel
from keras_distill.features.overhaul import MarginConnector, batch_norm_margin, margin_before_relu
from keras_distill.losses.feature_maps.overhaul import OFD, ofd

NAMES = {"teacher_layer_name": "teacher_map", "student_layer_name": "student_map"}


def partial(teacher, student, margin):
    """The loss of each sample and its gradient, in plain NumPy."""
    target = np.maximum(teacher, margin)
    counts = (student > target) | (target > 0)
    return np.sum((student - target) ** 2 * counts, axis=(1, 2, 3)), 2 * (student - target) * counts


def exact_margin(gamma, beta):
    with mpmath.workdps(50):
        sigma, beta = mpmath.mpf(abs(gamma)), mpmath.mpf(beta)
        negative = mpmath.ncdf(-beta / sigma)
        if negative <= mpmath.mpf("0.001"):
            return float(-3 * sigma)
        return float(beta - sigma * mpmath.npdf(beta / sigma) / negative)


@pytest.mark.parametrize("dtype, rtol", [("float64", 1e-12), ("float32", 1e-5)])
@pytest.mark.parametrize("shape", [(3, 5, 5, 4), (1, 1, 1, 1), (2, 3, 6, 2)])
def test_values(shape, dtype, rtol):
    teacher, student = pair(*shape, dtype=dtype)
    margin = -np.linspace(0.0, 1.0, shape[-1])
    value, gradient = value_and_gradient(OFD(margin, **NAMES), teacher, student)
    wanted = partial(teacher.astype("float64"), student.astype("float64"), margin)
    np.testing.assert_allclose(value, wanted[0].mean(), rtol=rtol)
    np.testing.assert_allclose(gradient, wanted[1] / shape[0], rtol=rtol, atol=1e-6 if dtype == "float32" else 1e-15)


@pytest.mark.parametrize(
    "teacher, student, wanted, slope",
    [
        (2.0, 1000.0, 998.0**2, 1996.0),
        (2.0, -1000.0, 1002.0**2, -2004.0),
        (0.0, -1.0, 0.0, 0.0),
        (0.0, 0.5, 0.25, 1.0),
        (-0.25, -0.25, 0.0, 0.0),
        (-9.0, -0.25, 0.0625, 0.5),
        (-9.0, -0.75, 0.0, 0.0),
    ],
)
def test_pieces(teacher, student, wanted, slope):
    teacher, student = np.full((1, 1, 1, 1), teacher, "float32"), np.full((1, 1, 1, 1), student, "float32")
    value, gradient = value_and_gradient(OFD([-0.5], **NAMES), teacher, student)
    assert (value, gradient.item()) == (wanted, slope)


@pytest.mark.parametrize("gamma", [1e-3, 0.3, -0.7, 1.0, 12.0])
@pytest.mark.parametrize("ratio", [-1e6, -40.0, -5.0, -0.5, 0.0, 0.5, 2.0, 3.0, 3.09, 3.0902, 3.0903, 4.0, 38.0, 1e6])
def test_margin(gamma, ratio):
    beta = ratio * abs(gamma)
    np.testing.assert_allclose(batch_norm_margin([gamma], [beta]), [exact_margin(gamma, beta)], rtol=1e-11)


def test_margin_of_a_constant_channel():
    assert batch_norm_margin([0.0, 0.0, 0.0], [-2.0, 0.0, 2.0]).tolist() == [-2.0, 0.0, 0.0]
    assert np.isfinite(batch_norm_margin([1e-300, 1e-300], [1e300, -1e300])).all()


def test_stages_and_scale():
    stages = [pair(2, size, size, 3, seed=size, dtype="float64") for size in (4, 2)]
    margins = [[-0.5, -1.0, 0.0], [-0.25, -0.75, -2.0]]
    teachers, students = (list(each) for each in zip(*stages, strict=True))
    names = {"teacher_layer_name": ["a", "b"], "student_layer_name": ["a", "b"]}
    single = [partial(*stage, np.array(margin))[0].mean() for stage, margin in zip(stages, margins, strict=True)]
    np.testing.assert_allclose(OFD(margins, **names).compute_loss(teachers, students), single[0] / 2 + single[1])
    loss = OFD(margins, scale=1e-3, stage_weights=[1.0, 3.0], **names)
    np.testing.assert_allclose(loss.compute_loss(teachers, students), 1e-3 * (single[0] + 3 * single[1]))


def test_connector_carries_the_margin():
    margin = [-0.5, -0.25, -1.0]
    loss = OFD(margin, **NAMES)
    adapter = loss.make_adapter((None, 4, 4, 3), (None, 4, 4, 3))
    adapter.build((None, 4, 4, 3))
    assert (
        isinstance(adapter, MarginConnector) and not adapter.margin.trainable and len(adapter.trainable_variables) == 3
    )
    adapter.margin.assign([-2.0, -2.0, -2.0])  # As a loaded file would.
    teacher, student = pair(2, 4, 4, 3)
    wanted = partial(teacher.astype("float64"), student.astype("float64"), -2.0)[0].mean()
    np.testing.assert_allclose(loss.compute_loss(teacher, student, adapter=adapter), wanted, rtol=1e-5)
    again = MarginConnector.from_config(adapter.get_config())
    again.build((None, 4, 4, 3))
    assert again.margin.numpy().tolist() == margin and again.width == 3


def normalised_model(name="model", width=4, **options):
    """A functional model with a plain stage and a residual one, their batch normalisations in the middle of things."""
    x = inputs = keras.Input((8, 8, 3))
    x = keras.layers.Conv2D(width, 3, padding="same", name="conv_1")(x)
    x = keras.layers.BatchNormalization(name="norm_1", **options)(x)
    shortcut = x = keras.layers.ReLU(name="relu_1")(x)
    x = keras.layers.Conv2D(width, 3, padding="same", name="conv_2")(x)
    x = keras.layers.BatchNormalization(name="norm_2", **options)(x)
    x = keras.layers.Add(name="add_2")([x, shortcut])
    x = keras.layers.Activation("relu", name="relu_2")(x)
    x = keras.layers.GlobalAveragePooling2D(name="pool")(x)
    return keras.Model(inputs, keras.layers.Dense(2, name="head")(x), name=name)


@pytest.mark.parametrize("name, norm", [("norm_1", 1), ("relu_1", 1), ("norm_2", 2), ("add_2", 2), ("relu_2", 2)])
def test_margins_of_a_teacher(name, norm):
    model = normalised_model()
    layer = model.get_layer(f"norm_{norm}")
    gamma, beta = pair(4, seed=norm)
    layer.gamma.assign(gamma)
    layer.beta.assign(beta)
    np.testing.assert_allclose(margin_before_relu(model, name, True), batch_norm_margin(gamma, beta), rtol=1e-12)


def test_margins_without_scale_or_offset():
    model = normalised_model(scale=False, center=False)
    np.testing.assert_allclose(margin_before_relu(model, "norm_1"), [-np.sqrt(2 / np.pi)] * 4)


def test_automatic_margins_come_from_the_models():
    teacher, student = normalised_model("teacher"), normalised_model("student", width=2)
    teacher.get_layer("norm_2").gamma.assign([0.5, 1.0, 2.0, 4.0])
    loss = OFD(teacher_layer_name=["norm_1", "relu_2"], student_layer_name=["norm_1", "relu_2"])
    loss.validate_model_compatibility(teacher, student)
    adapter = loss.make_adapter([(None, 8, 8, 4)] * 2, [(None, 8, 8, 2)] * 2)
    assert isinstance(adapter, Parallel)
    adapter.build([(None, 8, 8, 2)] * 2)
    wanted = -np.sqrt(2 / np.pi) * np.array([0.5, 1.0, 2.0, 4.0])
    np.testing.assert_allclose(adapter.layers[1].margin, wanted, rtol=1e-6)
    assert loss.get_config()["margin"] == "auto"


def test_margins_are_saved_with_the_distiller(tmp_path):
    teacher = normalised_model("teacher")
    teacher.get_layer("norm_1").gamma.assign([0.5, 1.0, 2.0, 4.0])
    loss = OFD(teacher_layer_name="norm_1", student_layer_name="norm_1")
    distiller = kd.Distiller(teacher, normalised_model("student", width=2), loss)
    assert len(distiller.trainable_variables) == len(distiller.student.trainable_variables) + 3
    distiller.save(tmp_path / "distiller.keras")
    again = keras.models.load_model(tmp_path / "distiller.keras")
    wanted = -np.sqrt(2 / np.pi) * np.array([0.5, 1.0, 2.0, 4.0])
    np.testing.assert_allclose(again.objective.adapters[0].margin, wanted, rtol=1e-6)


@pytest.mark.parametrize("name, preactivation", [("conv_1", True), ("relu_1", False), ("pool", True), (None, True)])
def test_no_batch_normalisation_to_take_the_margin_from(name, preactivation):
    loss = OFD(teacher_layer_name=name, student_layer_name=name, preactivation=preactivation)
    with pytest.raises(ValueError, match="BatchNormalization.*Give the margins as numbers"):
        loss.validate_model_compatibility(normalised_model("teacher"), normalised_model("student"))


def test_bad_input():
    for margin in (None, "none", [], 3.0):
        with pytest.raises(ValueError, match="margin to be 'auto' or a list of floats"):
            OFD(margin)
    with pytest.raises(ValueError, match="-margin to be a finite number >= 0"):
        OFD([-1.0, 0.5])
    maps = np.zeros((1, 2, 2, 3), "float32")
    with pytest.raises(ValueError, match="a loss that knows the models"):
        OFD(**NAMES).compute_loss(maps, maps)
    with pytest.raises(ValueError, match="3 margins, one for each channel"):
        OFD([-1.0, -1.0], **NAMES).make_adapter(maps.shape, maps.shape)
    with pytest.raises(ValueError, match="1 lists of margins, one for each layer"):
        OFD([[-1.0], [-1.0]], **NAMES).compute_loss(maps, maps)
    with pytest.raises(ValueError, match="features of the same shape"):
        ofd(maps, maps[..., :1], -1.0)
